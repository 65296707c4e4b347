"""The whole live path: frames over a socket into `xedm live`, page and preview watched, on the same two cores.

    python tests/benchmarks/bench_socket.py [--level dense] [--rate 133] [--seconds 60] [--cascade] [--images]

A sender of pooled frames (`sim.throughput`) paces them; the service runs as users run it. Afterwards the sum is
compared with the sender's own, bit for bit. The last line is JSON.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "soak"))

import h5py
import kills
import numpy as np

from service.http_client import status_of
from service.processes import Running, start, start_live
from service.status import ENDED

LOOK_EVERY_S = 1.0
POOL_TIMEOUT_S = 300.0
FROM_FRAME = 1000
SETTLED_S = 60.0
"""Memory growth counts from here on: the median of the minute then begun against that of the last one."""


def start_sender(folder: Path, level: str, dtype: str, frames: int, rate: float, more: list[str]) -> Running:
    """Start the sender and wait until its pool is made."""
    words = ["-m", "sim.throughput", "--level", level, "--dtype", dtype, "--frames", str(frames), "--rate", str(rate)]
    return start("sender", [*words, "--truth", str(folder / "truth.npz"), *more], folder / "sender.log", POOL_TIMEOUT_S)


@contextlib.contextmanager
def paced(
    folder: Path, level: str, rate: float, frames: int, more: list[str], settings: list[str]
) -> Iterator[tuple[Running, Running]]:
    """Run a sender of uint32 frames and a service that receives them; give both."""
    sender = start_sender(folder, level, "uint32", frames, rate, more)
    live = start_live(folder / "live", stream=sender.ready["stream"], settings=[*settings, "stream.drain_s=2"])
    try:
        yield sender, live
    finally:
        sender.stop()
        live.stop()


def final_status(live: Running) -> dict[str, Any]:
    """Wait until the series has ended; the sender's pace says when."""
    while (status := status_of(live))["state"] not in ENDED:
        time.sleep(0.5)
    return status


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def descriptors(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def cpu_s(pid: int) -> float:
    """Return the processor seconds of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / 100


def exact(result: Path, truth: Path) -> bool:
    """Whether the sum equals the sender's own over the frames that were accepted."""
    known = np.load(truth, allow_pickle=False)
    if "pool" in known:
        return kills.is_exact(result, truth)
    with h5py.File(result) as file:
        frames, verdicts = file["entry/frames/frame"][()], file["entry/frames/verdict"][()]
        total, excluded = file["entry/sum/data"][()], file["entry/sum/excluded"][()]
    labels, counts = np.unique(known["label"][frames[verdicts == 0]], return_counts=True)
    if dict(zip(labels, counts, strict=True)) != {
        name: int((known["label"] == name).sum()) for name in labels.tolist()
    }:
        return False  # only whole classes can be compared with sums by label
    wanted = sum(known[f"sum_{name}"] for name in labels)
    hot = sum(known[f"excluded_{name}"] for name in labels)
    return bool(np.array_equal(total, wanted) and np.array_equal(excluded, hot))


def run(
    level: str, dtype: str, rate: float, frames: int, more: list[str], *, images: bool = False
) -> dict[str, object]:
    """Send and receive one series, with its images if wanted; return what was seen."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sender = start_sender(folder, level, dtype, frames, rate, more)
        imaging = ["object_diameter_m=55e-9"] if images else ["enabled=false"]
        settings = [f"reconstruction.{setting}" for setting in imaging] + ["stream.drain_s=2"]
        live = start_live(folder / "live", stream=sender.ready["stream"], settings=settings)
        try:
            seen, looks, page = watch(live, sender)
            memory = [(look.at_s, look.memory_mb) for look in looks]
            running = [look for look in looks if look.received > FROM_FRAME]
        finally:
            sender.stop()
            used = cpu_s(live.process.pid)
            live.stop()
        sent = (
            json.loads(sender.lines[-1]) if sender.lines else json.loads(sender.process.stdout.read().splitlines()[-1])
        )
        first, last = settled_memory(memory)
        row: dict[str, object] = {
            "level": level,
            "type": dtype,
            "MB": round(sender.ready["mb_a_frame"], 2),
            "asked_hz": rate,
            "sent_hz": sent["rate_hz"],
            "frames": frames,
            "state": seen["state"],
            "missing": seen["counts"]["missing"],
            "balanced": seen["balanced"],
            "counts": {name: count for name, count in seen["counts"].items() if count},
            "exact": exact(Path(seen["result"]), folder / "truth.npz"),
            "most_behind": page["behind"],
            "service_cpu_ms": round(1e3 * used / frames, 2),
            **({"images": page["images"]} if images else {}),
            "memory_mb": round(last),
            "memory_most_mb": round(max(mb for _, mb in memory)),
            "memory_growth_percent": round(100 * (last / first - 1), 2),
            "growth_from_1000_percent": round(100 * (last / median(one.memory_mb for one in running[:30]) - 1), 2),
            "descriptors": [min(one.descriptors for one in running), max(one.descriptors for one in running)],
            "memory_course_mb": [round(mb) for _, mb in memory[:: max(1, len(memory) // 40)]],
        }
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        return row


def settled_memory(memory: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the median memory of the minute after the first, and of the last; of shorter runs, of thirds."""
    span = min(SETTLED_S, memory[-1][0] / 3)
    early = [mb for at, mb in memory if span < at <= 2 * span]
    late = [mb for at, mb in memory if at > memory[-1][0] - span]
    return median(early), median(late)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment."""

    at_s: float
    received: int
    memory_mb: float
    descriptors: int


def watch(live: Running, sender: Running) -> tuple[dict, list[Look], dict[str, Any]]:
    """Look at the page as a browser does until the series has ended; images are [frames, seconds, what came of it]."""
    begun, looks, most = time.monotonic(), [], {"behind": 0, "images": []}
    while True:
        status = status_of(live)
        most["behind"] = max(most["behind"], status["behind"])
        image = status["reconstruction"]
        seen = [image["frames"], image["seconds"], image["state"]]
        if image["state"] in ("done", "failed") and seen not in most["images"]:
            most["images"].append(seen)
        pid = live.process.pid
        looks.append(Look(time.monotonic() - begun, status["counts"]["received"], memory_mb(pid), descriptors(pid)))
        if status["state"] in ENDED:
            return status, looks, most
        if sender.process.poll() not in (None, 0):
            raise RuntimeError(f"sender ended early, see {sender.log.read_text()[-500:]}")
        with contextlib.suppress(urllib.error.HTTPError):  # before the first frame there is none
            urllib.request.urlopen(f"{live.ready['http']}/preview.jpg", timeout=30).read()
        time.sleep(LOOK_EVERY_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="dense", choices=("sparse", "medium", "dense"))
    parser.add_argument("--type", default="uint32", choices=("uint16", "uint32"))
    parser.add_argument("--rate", type=float, default=133.0, help="frames a second, 0: as fast as they are taken")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--frames", type=int, help="instead of --seconds")
    parser.add_argument("--cascade", action="store_true", help="silicon, streaks and background as in the paper's run")
    parser.add_argument("--images", action="store_true", help="au-sio2, with reconstruction as in every run")
    parser.add_argument("--detector", default="eig16m", choices=("eig1m", "eig16m"))
    options = parser.parse_args()
    frames = options.frames or round(options.seconds * (options.rate or 100.0))
    more = ["--detector", options.detector, *(["--cascade"] if options.cascade else [])]
    more += ["--sample", "au-sio2"] if options.images else []
    print(json.dumps(run(options.level, options.type, options.rate, frames, more, images=options.images)))


if __name__ == "__main__":
    main()
