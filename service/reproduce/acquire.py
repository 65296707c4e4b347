"""One data set through the real service: a simulated sender of independent frames, `xedm live`, a result file."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import NotReachedError, UserError
from service.http_client import status_of
from service.processes import Running, start, start_live
from service.reproduce.paper import RUNS, PaperRun
from service.status import ENDED

_POLL_S = 0.5
_START_TIMEOUT_S = 120.0
_WRITING_S = 60.0
_SCAN_SPEED = {"au-sio2": 600.0, "nv-lp": 20.0}
"""Simulated seconds a second: the faster, the more of a top-up period is kept free against the session's latency."""
_NOTE = "acquired.json"
_NOTED = ("detector", "frames", "seed", "packing", "spread_nm", "workers", "scan")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to acquire.

    Attributes
    ----------
    run : PaperRun
    detector : str
    frames : int
    seed : int
    packing : float
        Part of space that the particles fill; 0: no structure between them.
    spread_nm : float
        Standard deviation of the particles' diameters, nm.
    workers : int
        Threads that draw frames.
    scan : bool
        Through the whole beamline with its motors and a RunEngine, instead of the stream alone.
    settings : tuple of str
        `section.key=value` for the service.
    """

    run: PaperRun
    detector: str
    frames: int
    seed: int
    packing: float = 0.0
    spread_nm: float = 0.0
    workers: int = 1
    scan: bool = False
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """A finished data set.

    Attributes
    ----------
    order : Order
    folder : Path
    result : Path
        The service's result file.
    status : dict
        The service's last status.
    seconds : float
        From the first frame to the final file.
    """

    order: Order
    folder: Path
    result: Path
    status: dict[str, Any]
    seconds: float

    @property
    def truth(self) -> Path:
        """Folder of what a perfect receiver must find."""
        return self.folder / "truth"

    @property
    def series(self) -> int:
        """Number of the series."""
        return int(self.status["series"])

    @property
    def books(self) -> Path:
        """The simulation's books of the series."""
        return self.truth / f"series_{self.series}.json"


def acquire(order: Order, folder: Path, progress: Progress) -> Acquired:
    """Send and receive one series; both processes have ended when this returns.

    With `order.scan` at most one in a process, because Channel Access finds its servers only once.

    Raises
    ------
    UserError
        When a process does not start, the sender fails or the service does not end the series.
    """
    acquired = _by_scan(order, folder, progress) if order.scan else _by_stream(order, folder, progress)
    _note(acquired)
    return acquired


def _by_scan(order: Order, folder: Path, progress: Progress) -> Acquired:
    """Simulated IOCs, stage and top-up, `ensemble_scan` in a RunEngine, service."""
    from service.demo import DemoOptions, scan, start_demo

    across = math.ceil(math.sqrt(order.frames))
    down = math.ceil(order.frames / across)

    def count_points(name: str, document: dict[str, Any]) -> None:
        if name == "event" and "live_frame" in document["data"]:
            progress(int(document["seq_num"]), across * down)

    options = DemoOptions(
        detector=order.detector,
        sample=order.run.sample,
        points=(across, down),
        seed=order.seed,
        speed=_SCAN_SPEED[order.run.sample],
        exposure_s=order.run.exposure_s,
        packing=order.packing,
        spread_nm=order.spread_nm,
    )
    demo = start_demo(options, folder, _settings(order))
    try:
        begun = time.monotonic()
        scan(demo, count_points)
        status = demo.wait_until_ended(lambda _: None, _START_TIMEOUT_S + _WRITING_S)
        return _acquired(order, folder, status, time.monotonic() - begun)
    finally:
        demo.stop()


def _acquired(order: Order, folder: Path, status: dict[str, Any], seconds: float) -> Acquired:
    return Acquired(order=order, folder=folder, result=Path(status["result"]), status=status, seconds=seconds)


def _by_stream(order: Order, folder: Path, progress: Progress) -> Acquired:
    """A sender of frames without motors or clock, and the service."""
    words = ["--detector", order.detector, "--sample", order.run.sample, "--frames", str(order.frames)]
    words += ["--seed", str(order.seed), "--packing", f"{order.packing:g}", "--workers", str(order.workers)]
    words += ["--spread-nm", f"{order.spread_nm:g}"]
    words += ["--truth", str(folder / "truth"), "--with-parent"]
    sender = start("simulated sender", ["-m", "sim.stream_run", *words], folder / "sender.log", _START_TIMEOUT_S)
    try:
        settings = ["pvs.enabled=false", *_settings(order)]
        live = start_live(folder, stream=sender.ready["stream"], settings=settings)
        try:
            begun = time.monotonic()
            status = _wait(live, sender, order.frames, progress)
            return _acquired(order, folder, status, time.monotonic() - begun)
        finally:
            live.stop()
    finally:
        sender.stop()


def acquired_before(folder: Path) -> Acquired:
    """Take a finished data set up again, to measure it anew.

    Raises
    ------
    UserError
        When the folder holds none.
    """
    note = folder / _NOTE
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        order = Order(**facts["order"] | {"run": RUNS[facts["order"]["run"]], "settings": tuple(facts["settings"])})
        return Acquired(
            order=order,
            folder=folder,
            result=folder / facts["result"],
            status=facts["status"],
            seconds=float(facts["seconds"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"folder must hold a data set that was finished, got none in {folder}: {error}") from None


def _note(acquired: Acquired) -> None:
    """Write what `acquired_before` reads."""
    order = acquired.order
    facts = {
        "order": {name: getattr(order, name) for name in _NOTED} | {"run": order.run.sample},
        "settings": list(order.settings),
        "result": acquired.result.name,
        "seconds": acquired.seconds,
        "status": acquired.status,
    }
    (acquired.folder / _NOTE).write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _settings(order: Order) -> Sequence[str]:
    diameter = order.run.model.outer_diameter_m
    return [
        f"reconstruction.object_diameter_m={diameter:g}",
        "reconstruction.at_frames=[]",  # the last image only: the time of the earlier ones belongs to the sender
        f"reconstruction.seed={order.seed}",
        *order.settings,
    ]


def _wait(live: Running, sender: Running, frames: int, progress: Progress) -> dict[str, Any]:
    """Follow the series to its final file."""
    quiet_since, seen = time.monotonic(), -1
    while True:
        status = status_of(live)
        received = int(status["counts"]["received"])
        progress(received, frames)
        if status["state"] in ENDED:
            if not status["result"]:
                raise UserError(f"series must leave a result file, got none (log: {live.log})")
            return status
        if sender.process.poll():
            raise UserError(f"the simulated sender ended with code {sender.process.returncode} (log: {sender.log})")
        now = time.monotonic()
        if received != seen:
            quiet_since, seen = now, received
        patience = float(status["ends_within_s"]) + _START_TIMEOUT_S + _WRITING_S
        if now - quiet_since > patience:
            raise NotReachedError(
                f"series must end within {patience:g} s after its last frame, it is still {status['state']} "
                f"with {received} of {frames} frames (log: {live.log})"
            )
        time.sleep(_POLL_S)
