"""One data set through the real service: a simulated sender of independent frames, `xedm live`, a result file."""

import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import NotReachedError, UserError
from service.processes import Running, start, start_live
from service.reproduce.paper import RUNS, PaperRun

_ENDED = ("complete", "incomplete", "failed")
_POLL_S = 0.5
_START_TIMEOUT_S = 120.0
_WRITING_S = 60.0
_NOTE = "acquired.json"
_NOTED = ("detector", "frames", "seed", "packing", "spread_nm", "workers")

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

    Raises
    ------
    UserError
        When a process does not start, the sender fails or the service does not end the series.
    """
    words = ["--detector", order.detector, "--sample", order.run.sample, "--frames", str(order.frames)]
    words += ["--seed", str(order.seed), "--packing", f"{order.packing:g}", "--workers", str(order.workers)]
    words += ["--spread-nm", f"{order.spread_nm:g}"]
    words += ["--truth", str(folder / "truth"), "--with-parent"]
    sender = start("simulated sender", ["-m", "sim.stream_run", *words], folder / "sender.log", _START_TIMEOUT_S)
    try:
        live = start_live(folder, stream=sender.ready["stream"], settings=_settings(order))
        try:
            begun = time.monotonic()
            status = _wait(live, sender, order.frames, progress)
            acquired = Acquired(
                order=order,
                folder=folder,
                result=Path(status["result"]),
                status=status,
                seconds=time.monotonic() - begun,
            )
            _note(acquired)
            return acquired
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
        "pvs.enabled=false",
        *order.settings,
    ]


def _wait(live: Running, sender: Running, frames: int, progress: Progress) -> dict[str, Any]:
    """Follow the series to its final file."""
    quiet_since, seen = time.monotonic(), -1
    while True:
        status = _status(live)
        received = int(status["counts"]["received"])
        progress(received, frames)
        if status["state"] in _ENDED:
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


def _status(live: Running) -> dict[str, Any]:
    url = f"{live.ready['http']}/status"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own loopback
            status: dict[str, Any] = json.load(answer)
            return status
    except OSError as error:
        raise NotReachedError(f"live service must answer at {url}, got {error} (log: {live.log})") from None
