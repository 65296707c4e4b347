"""A session on a simulated beamline with a live service, and what a scenario needs to disturb and to look into it."""

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
from bluesky.utils import Msg, RunEngineInterrupted
from document_rules import check_run
from ophyd import EpicsSignal, EpicsSignalRO

from devices.waiting import put_completed
from service.config import Settings
from service.processes import Running, start_live, start_sim
from service.session import beamline_names, build_session, close_channels, point_at

SPEED = 100.0
EXPOSURE_S = 10.0
LONG_S = 100.0
"""An exposure of a second: time for a person to do something in the middle of it, even on a busy machine."""
PATIENCE_S = 60.0
NO_INJECTIONS = ("--first-injection", "1e9")
ENDED = ("complete", "incomplete", "failed", "idle")
"""A series without a frame leaves the service idle."""
SETTINGS = ("reconstruction.enabled=false", "stream.drain_s=0.2", "screening.settle_frames=1")


class Warnings(logging.Handler):
    """Keeps what the devices warn of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        logging.getLogger("devices").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.said.append(record.getMessage())


class Rig:
    """A session on a running simulation.

    Parameters
    ----------
    folder : Path
    sim, live : Running
    """

    def __init__(
        self, folder: Path, sim: Running, live: Running, restart: dict[str, Any], data_source: str = "none"
    ) -> None:
        self.folder, self.sim, self.live_process = folder, sim, live
        self._restart = restart
        point_at(sim, live)
        names = beamline_names(Settings(), detector="eig1m", live_prefix=live.ready["prefix"])
        self.session = build_session(names, log=folder / "session.log", data_source=data_source)
        self.engine, self.live, self.stage = (self.session[name] for name in ("RE", "live", "stage"))
        self.beamline = self.session["beamline"]
        self.detector, self.shutter = self.beamline.detector, self.beamline.shutter
        self._upset = EpicsSignal("25A:SIM:Upset", name="upset", string=True)
        self._exposing = EpicsSignalRO("25A:SIM:Exposing", name="exposing", auto_monitor=True)
        for signal in (self._upset, self._exposing):
            signal.wait_for_connection(timeout=PATIENCE_S)
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self.engine.subscribe(lambda name, doc: self.documents.append((name, doc)))
        self.at_point: dict[int, Callable[[], object]] = {}
        self.at_message: Callable[[int, Msg], object] = lambda _number, _msg: None
        self.warnings = Warnings()
        self._numbers = itertools.count()
        self.engine.msg_hook = self._hook

    def _hook(self, msg: Msg) -> None:
        self.at_message(next(self._numbers), msg)
        if msg.command == "trigger" and msg.obj is self.detector:
            act = self.at_point.pop(self.detector.point.get()["point"], None)
            if act is not None:
                act()

    # -- disturbing ------------------------------------------------------------------------------------------------

    def upset(self, text: str) -> Callable[[], None]:
        """Have the simulation upset the exposure that comes next, in its middle (see `sim.upsets`)."""

        def ask() -> None:
            if not put_completed(self._upset, text, PATIENCE_S):
                raise TimeoutError(f"the simulation must take {text!r}")

        return ask

    def during(self, act: Callable[[], object]) -> Callable[[], None]:
        """Do something as soon as the exposure that comes next has begun."""

        def watch() -> None:
            begun, told = threading.Event(), []

            def hear(*, value: int, **_: object) -> None:
                if value >= 0 and not told:
                    told.append(value)
                    begun.set()

            def run() -> None:
                try:
                    if begun.wait(PATIENCE_S):
                        act()
                finally:
                    self._exposing.clear_sub(hear)

            self._exposing.subscribe(hear, run=False)
            threading.Thread(target=run, daemon=True).start()

        return watch

    def pause(self) -> None:
        """Ask for a pause at once, as Ctrl-C twice does."""
        self.engine.request_pause(defer=False)

    def kill_sim(self) -> None:
        """SIGKILL."""
        self.sim.process.kill()
        self.sim.process.wait(PATIENCE_S)

    def revive_sim(self) -> None:
        """Start the simulation again on its old ports."""
        ready = self.sim.ready
        stream = ready["stream"].rpartition(":")[2]
        options = ["--ca-port", str(ready["ca_server_port"]), "--stream-port", stream]
        self.sim = start_sim(self.folder, **self._restart["sim"], options=[*self._restart["options"], *options])

    def kill_live(self) -> None:
        """SIGKILL."""
        self.live_process.process.kill()
        self.live_process.process.wait(PATIENCE_S)

    def revive_live(self) -> None:
        """Start the service again on its old ports and folder."""
        port = f"pvs.port={self.live_process.ready['ca_server_port']}"
        self.live_process = start_live(
            self.folder, stream=self.sim.ready["stream"], settings=[*self._restart["live"], port]
        )

    # -- running ---------------------------------------------------------------------------------------------------

    def plan(self, columns: int = 3, rows: int = 3, **changes: Any) -> Any:
        """Give the scan of the scenarios."""
        stops = (0.0, 10.0 * (columns - 1), 0.0, 10.0 * (rows - 1), 10.0)
        exposure = changes.pop("exposure", EXPOSURE_S)
        return self.session["ensemble_scan"]([self.detector, self.live], self.stage, *stops, exposure, **changes)

    def run(self, plan: Any, after_pause: Callable[[], object] | None = None, *, books: bool = True) -> dict[str, Any]:
        """Run a plan to its end and tell what there is to see; without the books of a series that nobody ends."""
        self.documents.clear()
        self.warnings.said.clear()
        self._numbers = itertools.count()
        facts: dict[str, Any] = {"error": None, "paused": None}
        begun = time.monotonic()
        try:
            try:
                self.engine(plan)
            except RunEngineInterrupted:
                facts["paused"] = self.state()
                (after_pause or self.engine.resume)()
        except Exception as error:  # noqa: BLE001 - the test asserts which
            facts["error"] = [type(error).__name__, str(error)]
        facts["ended"] = time.monotonic()
        facts["seconds"] = facts["ended"] - begun
        self.at_point.clear()
        return facts | self.outcome(books=books)

    # -- looking ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Tell where detector, shutter and service stand."""
        if not self.sim.alive:
            return {}
        cam = self.detector.cam
        return {
            "shutter": self.shutter.status.get(use_monitor=False, connection_timeout=PATIENCE_S),
            "armed": int(cam.armed.get(use_monitor=False, connection_timeout=PATIENCE_S)),
            "acquire": int(cam.acquire.get(use_monitor=False, connection_timeout=PATIENCE_S)),
            "paused": int(self.live.paused.get(use_monitor=False)) if self.live_process.alive else None,
        }

    def outcome(self, *, books: bool = True) -> dict[str, Any]:
        """Tell documents, books and ledger of the last run."""
        return {
            "series": int(self.detector.series.get()),
            **check_run(self.documents),
            "end": self.state(),
            "warnings": list(self.warnings.said),
            "voids": [[void.frame, void.point, void.reason] for void in self.detector.voids],
            **(self.books() if books and self.live_process.alive else {}),
        }

    def books(self) -> dict[str, Any]:
        """Wait until the service has closed the series; give its counts and the ledger of the result file."""
        deadline = time.monotonic() + PATIENCE_S
        while (state := self.live.state.get(use_monitor=False)) not in ENDED:
            if time.monotonic() > deadline:
                return {"state": state, "counts": {}, "ledger": [], "result": ""}
            time.sleep(0.02)
        counts = {
            name: getattr(self.live.frames, name).get(use_monitor=False) for name in ("received", "gated", "missing")
        }
        path = self.result()
        return {"state": state, "counts": counts, "ledger": ledger_of(path), "result": str(path or "")}

    def result(self) -> Path | None:
        """Give the newest result file of the service's series."""
        series = int(self.live.series.get(use_monitor=False))
        found = [self.folder / f"series_{series}.nxs", *self.folder.glob(f"series_{series}_*.nxs")]
        found = [path for path in found if path.exists()]
        return max(found, key=lambda path: path.stat().st_mtime) if found else None


def ledger_of(path: Path | None) -> list[list[Any]]:
    """Read frame, verdict, point, x and y of every row of a result file."""
    if path is None:
        return []
    with h5py.File(path) as file:
        group = file["entry/frames"]
        words = list(group["verdict"].attrs["names"])
        rows = zip(*(group[name][()].tolist() for name in ("frame", "verdict", "point", "x", "y")), strict=True)
        return [[frame, words[verdict], point, x, y] for frame, verdict, point, x, y in rows]


@contextmanager
def running(
    folder: Path,
    *,
    speed: float = SPEED,
    faults: tuple[str, ...] = (),
    options: tuple[str, ...] = NO_INJECTIONS,
    settings: tuple[str, ...] = (),
    truth: bool = False,
    files: bool = False,
) -> Iterator[Rig]:
    """Have a simulation, a service and a session on them; by default without injections, which come by the clock.

    With `files` the detector writes files as well, from which the service takes what it lacks at the end of a series.
    """
    told: dict[str, Any] = {"speed": speed, "faults": list(faults), "truth": folder / "truth" if truth else None}
    if files:
        settings = (*settings, f"spool.detector_files={folder}/detector/series_$id_master.h5")
    restart = {"sim": told, "options": options, "live": [*SETTINGS, *settings]}
    sim = start_sim(folder, **told, options=options)
    live = start_live(folder, stream=sim.ready["stream"], settings=restart["live"])
    rig = None
    try:
        rig = Rig(folder, sim, live, restart, "filewriter" if files else "none")
        yield rig
    finally:
        close_channels()
        for process in (rig.live_process, rig.sim) if rig else (live, sim):
            process.stop()


def tell(name: str, facts: Iterator[dict[str, Any]]) -> None:
    """Print one JSON object a run of a scenario."""
    for number, one in enumerate(facts):
        print(json.dumps({"scenario": name, "number": number, **one}, default=str), flush=True)
