"""Kill the service with SIGKILL at random moments of a paced series, and hold what is left against the truth."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from service.checkpoint import read_newest
from service.ledger_file import read_ledger
from service.processes import Running, start, start_live

PATIENCE_S = 240.0


@dataclass
class Outcome:
    """What was seen.

    Attributes
    ----------
    ready_s : list of float
        From the start of each life of the service to its ready line.
    lost, bound : int
        Frames missing at the end, and how many could be by what /status had said before each kill.
    wrong : list of str
        Every output that could not be read or was not what it must be.
    """

    kills: int = 0
    frames: int = 0
    lost: int = 0
    bound: int = 0
    ready_s: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    recovered: int = 0
    exact: bool = False
    exact_after_recovery: bool = False
    balanced: bool = False


def status_of(live: Running) -> dict:
    with urllib.request.urlopen(f"{live.ready['http']}/status", timeout=30) as answer:
        return json.load(answer)


def truth_sum(truth: Path, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and exclusions over some frame numbers, from the pool and nothing of the service."""
    known = np.load(truth, allow_pickle=False)
    total = np.zeros(known["valid"].shape, np.uint64)
    excluded = np.zeros(known["valid"].shape, np.uint32)
    top = np.iinfo(known["pool"].dtype).max
    for place, times in zip(*np.unique(known["order"][frames], return_counts=True), strict=True):
        pixels = known["pool"][place]
        hot = (pixels >= top - 1) & known["valid"]
        total += np.where(hot | ~known["valid"], 0, pixels).astype(np.uint64) * np.uint64(times)
        excluded += hot.astype(np.uint32) * np.uint32(times)
    return total, excluded


def is_exact(result: Path, truth: Path) -> bool:
    """Whether both sums of a result file are those of its own list of frames."""
    with h5py.File(result) as file:
        frames, verdicts = file["entry/frames/frame"][()], file["entry/frames/verdict"][()]
        for verdict, group in ((0, "sum"), (3, "background")):
            total, excluded = truth_sum(truth, frames[verdicts == verdict])
            if not np.array_equal(file[f"entry/{group}/data"][()], total):
                return False
            if not np.array_equal(file[f"entry/{group}/excluded"][()], excluded):
                return False
    return True


def check_outputs(folder: Path) -> list[str]:
    """Open everything a killed service left under a final name; return what cannot be."""
    wrong = []
    for path in [*folder.glob("*.nxs"), *folder.glob("*_master.h5"), *folder.glob("*_data_*.h5")]:
        try:
            with h5py.File(path) as file:
                file.visititems(lambda _name, _item: None)
        except OSError as error:
            wrong.append(f"{path.name}: {error}")
    for path in folder.glob("*.checkpoint"):
        found = read_newest(path)
        if found is None or found[2]:
            wrong.append(f"{path.name}: {found}")
    for path in folder.glob("*.ledger"):
        try:
            read_ledger(path)
        except Exception as error:  # noqa: BLE001 - any is a finding
            wrong.append(f"{path.name}: {error}")
    return wrong


def run_series(
    folder: Path, *, kills: int, frames: int, rate: float, spool: bool, seed: int, life_s: float = 3.0, say=print
) -> Outcome:
    """One series of small frames with `kills` SIGKILLs, each within `life_s` of a start; returns what was seen."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    out, outcome = folder / "out", Outcome(frames=frames)
    sender = start(
        "sender",
        [
            *("-m", "sim.throughput", "--detector", "eig1m", "--level", "sparse", "--pool", "4", "--cascade"),
            *("--frames", str(frames), "--rate", str(rate), "--seed", str(seed)),
            *("--truth", str(folder / "truth.npz"), "--files", str(folder / "files")),
        ],
        folder / "sender.log",
        PATIENCE_S,
    )
    settings = ["reconstruction.enabled=false", "stream.drain_s=1", "stream.idle_timeout_s=20"]
    settings += [f"spool.enabled={str(spool).lower()}", "recovery.checkpoint_every_s=2", "spool.frames_per_file=100"]
    try:
        for life in range(kills + 1):
            begun = time.monotonic()
            live = start_live(out, stream=sender.ready["stream"], settings=settings)
            outcome.ready_s.append(time.monotonic() - begun)
            if life < kills:
                while not life and not status_of(live)["ledger_through"]:
                    time.sleep(0.02)  # a header that dies with the service takes its whole series along
                time.sleep(rng.uniform(0.0, life_s))
                seen, asked = status_of(live), time.monotonic()
                if seen["state"] in ("complete", "incomplete", "failed"):
                    break
                os.kill(live.process.pid, signal.SIGKILL)
                live.process.wait(10)
                outcome.kills += 1
                outcome.bound += at_risk(seen) + on_the_way(rate, asked)
                outcome.wrong += [f"after kill {life}: {what}" for what in check_outputs(out)]
        status = wait_for_end(live)
        outcome.lost = status["counts"]["missing"]
        outcome.balanced = status["balanced"]
        result = Path(status["result"])
        live.stop()
    finally:
        sender.stop()
    if outcome.lost > outcome.bound:
        outcome.wrong.append(f"{outcome.lost} frames lost, at most {outcome.bound} could be by /status")
    outcome.exact = is_exact(result, folder / "truth.npz")
    outcome.wrong += check_outputs(out)
    found = recover(result, folder / "files" / "series_1_master.h5")
    if isinstance(found, str):
        outcome.wrong.append(found)
    else:
        outcome.recovered = count_in(found["recovered"])
        whole = not found["missing"] and not found["unresolved"]
        outcome.exact_after_recovery = whole and is_exact(result, folder / "truth.npz")
    say(outcome)
    return outcome


def at_risk(status: dict) -> int:
    """How many frames the service says it would lose if it were killed now."""
    return int(status["at_risk"]["since_checkpoint"] + status["at_risk"]["receive_queue"])


def on_the_way(rate: float, since: float) -> int:
    """How many frames can have come since a moment of the monotonic clock."""
    return int(rate * (time.monotonic() - since) + 1)


def count_in(ranges: list[list[int]]) -> int:
    """How many numbers ranges with both ends included hold."""
    return sum(last - first + 1 for first, last in ranges)


def recover(result: Path, master: Path) -> dict | str:
    """Run `xedm recover`; return what it found, or what went wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "recover", str(result), "--no-image", "--json", "--from", str(master)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    if done.returncode:
        return f"recover ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-300:]}"
    return json.loads(done.stdout.splitlines()[-1])


def wait_for_end(live: Running) -> dict:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status = status_of(live)
        if status["state"] in ("complete", "incomplete", "failed"):
            return status
        if time.monotonic() > deadline:
            raise TimeoutError(f"series must end within {PATIENCE_S:g} s, got {status['state']}: {status['counts']}")
        time.sleep(0.2)
