"""Scans on a simulated beamline with a live service, each disturbed in its own way.

Run as a program, because the client library of Channel Access reads its environment once a process::

    python scan_scenarios.py FOLDER SCENARIO ...

It prints one JSON object a scenario: what was seen at the disturbance, the documents in short, the service's books and
the ledger of the result file.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import epics
import h5py
from bluesky.preprocessors import plan_mutator
from bluesky.utils import Msg, RunEngineInterrupted, single_gen
from event_model import DocumentNames, schema_validators

from devices.errors import LiveServiceError
from service.config import Settings
from service.processes import Running, start_live, start_sim
from service.session import beamline_names, build_session, close_channels, point_at

SPEED = 100.0
EXPOSURE_S = 10.0
CORRUPT_FRAME = 15
"""Of every series; only one scenario goes that far."""
MID_EXPOSURE_S = 0.05
"""Wall seconds after the trigger message: the exposure takes 0.1 s of them."""


FAR_UM = 1900.0
"""Some 15 s of the stage's time."""


class Rig:
    """A session on a running simulation, with what a scenario needs to look into it."""

    def __init__(self, folder: Path, sim: Running, live: Running) -> None:
        self.folder, self.sim, self.live_process = folder, sim, live
        point_at(sim, live)
        names = beamline_names(Settings(), detector="eig1m", live_prefix=live.ready["prefix"])
        self.session = build_session(names, log=folder / "session.log")
        self.engine, self.live, self.stage = (self.session[name] for name in ("RE", "live", "stage"))
        self.beamline = self.session["beamline"]
        self.detector, self.shutter = self.beamline.detector, self.beamline.shutter
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self.engine.subscribe(lambda name, doc: self.documents.append((name, doc)))
        self.triggers = 0
        self.at_trigger: dict[int, Callable[[], None]] = {}
        self.engine.msg_hook = self._hook

    def _hook(self, msg: Msg) -> None:
        if msg.command == "trigger" and msg.obj is self.detector:
            act = self.at_trigger.get(self.triggers)
            self.triggers += 1
            if act is not None:
                threading.Timer(MID_EXPOSURE_S, act).start()

    def plan(self, columns: int = 3, rows: int = 3, **changes: Any) -> Any:
        """Give the scan of the scenarios."""
        stops = (0.0, 10.0 * (columns - 1), 0.0, 10.0 * (rows - 1), 10.0)
        exposure = changes.pop("exposure", EXPOSURE_S)
        return self.session["ensemble_scan"]([self.detector, self.live], self.stage, *stops, exposure, **changes)

    def run(self, plan: Any, after_pause: Callable[[], object] | None = None) -> dict[str, Any]:
        """Run a plan to its end and tell what there is to see."""
        self.documents.clear()
        self.triggers = 0
        facts: dict[str, Any] = {"error": None, "paused": None}
        try:
            self.engine(plan)
        except RunEngineInterrupted:
            facts["paused"] = self.state()
            (after_pause or self.engine.resume)()
        except Exception as error:  # noqa: BLE001 - the test asserts which
            facts["error"] = [type(error).__name__, str(error)]
        self.at_trigger.clear()
        return facts | self.outcome()

    def state(self) -> dict[str, Any]:
        """Tell where detector, shutter and service stand."""
        cam = self.detector.cam
        return {
            "shutter": self.shutter.status.get(use_monitor=False),
            "armed": int(cam.armed.get(use_monitor=False)),
            "acquire": int(cam.acquire.get(use_monitor=False)),
            "paused": int(self.live.paused.get(use_monitor=False)) if self.live_process.alive else None,
        }

    def outcome(self) -> dict[str, Any]:
        """Tell documents, books and ledger of the last run."""
        return {
            **self.documents_in_short(),
            "end": self.state(),
            "voids": [[void.frame, void.point, void.reason] for void in self.detector.voids],
            **(self.books() if self.live_process.alive else {}),
        }

    def documents_in_short(self) -> dict[str, Any]:
        """Validate every document and give the events by stream."""
        streams: dict[str, str] = {}
        events: dict[str, list[dict[str, Any]]] = {}
        for name, doc in self.documents:
            schema_validators[DocumentNames[name]].validate(doc)
            if name == "descriptor":
                assert doc["name"] not in streams.values(), f"second descriptor of {doc['name']}"
                streams[doc["uid"]] = doc["name"]
            if name == "event":
                events.setdefault(streams[doc["descriptor"]], []).append({"seq_num": doc["seq_num"], **doc["data"]})
        stop = self.documents[-1][1] if self.documents and self.documents[-1][0] == "stop" else {}
        start = self.documents[0][1] if self.documents else {}
        return {"start": start, "events": events, "exit_status": stop.get("exit_status")}

    def books(self) -> dict[str, Any]:
        """Wait until the service has closed the series; give its counts and the ledger of the result file."""
        deadline = time.monotonic() + 30.0
        while (state := self.live.state.get(use_monitor=False)) not in ("complete", "incomplete", "failed"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"service stays {state}")
            time.sleep(0.02)
        counts = {
            name: getattr(self.live.frames, name).get(use_monitor=False) for name in ("received", "gated", "missing")
        }
        series = int(self.live.series.get(use_monitor=False))
        ledger: list[list[Any]] = []
        path = self.folder / f"series_{series}.nxs"
        if path.exists():
            with h5py.File(path) as file:
                group = file["entry/frames"]
                words = list(group["verdict"].attrs["names"])
                rows = zip(*(group[name][()].tolist() for name in ("frame", "verdict", "point", "x", "y")), strict=True)
                ledger = [[frame, words[verdict], point, x, y] for frame, verdict, point, x, y in rows]
        return {"state": state, "counts": counts, "ledger": ledger}

    def put(self, name: str, value: Any) -> Callable[[], None]:
        """Give a write to a PV by another client."""
        return lambda: epics.caput(name, value)


def plain(rig: Rig) -> Iterator[dict[str, Any]]:
    """Nobody disturbs."""
    # A margin of 0.4 s of real time: a machine that stalls for less must not run an exposure into an injection.
    yield rig.run(rig.plan(sample="au-sio2", margin=40.0))


def pause(rig: Rig) -> Iterator[dict[str, Any]]:
    """Pause in the middle of an exposure and resume."""
    rig.at_trigger[4] = lambda: rig.engine.request_pause(defer=False)
    yield rig.run(rig.plan())


def abort(rig: Rig) -> Iterator[dict[str, Any]]:
    """Pause in the middle of an exposure of 4 s and abort; then scan again, twice."""
    for _ in range(2):
        rig.at_trigger[1] = lambda: rig.engine.request_pause(defer=False)
        yield rig.run(rig.plan(exposure=100.0), rig.engine.abort)
    yield rig.run(rig.plan(2, 1))


def dump(rig: Rig) -> Iterator[dict[str, Any]]:
    """Lose the beam during an exposure, and have it back a little later."""

    def lose() -> None:
        epics.caput("25A:SIM:BeamDump", 1)
        threading.Timer(0.5, rig.put("25A:SIM:BeamDump", 0)).start()

    rig.at_trigger[2] = lose
    yield rig.run(rig.plan(2, 2))


def shutter(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody else close the shutter during an exposure."""
    rig.at_trigger[1] = rig.put("25A:FS:Cmd", 0)
    yield rig.run(rig.plan(2, 2))


def hopeless(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody close the shutter in every exposure."""
    rig.at_trigger.update(dict.fromkeys(range(10), rig.put("25A:FS:Cmd", 0)))
    yield rig.run(rig.plan(2, 2, max_repeats=2))


def disarmed(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody else stop the detector."""
    rig.at_trigger[1] = rig.put("25A:EIG1M:cam1:Acquire", 0)
    yield rig.run(rig.plan(2, 2))


def moved(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody else stop the stage on its way."""

    def stop_far_move(msg: Msg) -> None:
        if msg.command == "set" and msg.args == (FAR_UM,):
            threading.Timer(0.1, rig.put("25A:PIEZO:X.STOP", 1)).start()

    rig.engine.msg_hook = stop_far_move
    try:
        plan = rig.session["ensemble_scan"](
            [rig.detector, rig.live], rig.stage, -FAR_UM, FAR_UM, 0.0, 0.0, 2 * FAR_UM, EXPOSURE_S
        )
        yield rig.run(plan)
    finally:
        rig.engine.msg_hook = rig._hook


def somebody_triggers(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody else trigger the detector."""
    rig.at_trigger[1] = rig.put("25A:EIG1M:cam1:Trigger", 1)
    yield rig.run(rig.plan(3, 3))


def every_message(rig: Rig) -> Iterator[dict[str, Any]]:
    """Pause and resume after each message of a scan, one run a message."""
    for message in range(1000):
        facts = _run_with_pause(rig, message)
        yield facts
        if facts["paused"] is None:
            return


def few_messages(rig: Rig) -> Iterator[dict[str, Any]]:
    """Pause and resume after some messages of a scan."""
    for message in range(4, 54, 12):
        yield _run_with_pause(rig, message)


def corrupt(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have a frame damaged on its way from the detector."""
    yield rig.run(rig.plan(CORRUPT_FRAME + 1, 1))


def refused(rig: Rig) -> Iterator[dict[str, Any]]:
    """Tell the service a point that it does not take, then one that it does."""
    told = []
    for frame in (2**32, 0):
        try:
            rig.live.book(series=1, frame=frame, point=0, x_um=0.0, y_um=0.0)
            told.append("")
        except LiveServiceError as error:
            told.append(str(error))
    yield {"told": told}


def service_dies(rig: Rig) -> Iterator[dict[str, Any]]:
    """End the live service during an exposure."""
    rig.detector.frame_margin_s = 1.0 - EXPOSURE_S * (1.0 - 1.0 / SPEED)
    rig.at_trigger[1] = rig.live_process.process.kill
    yield rig.run(rig.plan(2, 2))


def _run_with_pause(rig: Rig, message: int) -> dict[str, Any]:
    # Outermost, so that the messages of the session's own preprocessors count too.
    rig.engine.preprocessors.append(lambda plan: _paused_after(plan, message))
    try:
        return rig.run(rig.plan(2, 1))
    finally:
        rig.engine.preprocessors.pop()


def _paused_after(plan: Any, message: int) -> Any:
    seen = 0

    def insert(_: Msg) -> tuple[None, Any]:
        nonlocal seen
        seen += 1
        return (None, single_gen(Msg("pause"))) if seen == message + 1 else (None, None)

    return plan_mutator(plan, insert)


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        plain,
        pause,
        abort,
        dump,
        shutter,
        hopeless,
        disarmed,
        moved,
        somebody_triggers,
        every_message,
        few_messages,
        corrupt,
        refused,
        service_dies,
    )
}


@contextmanager
def running(folder: Path) -> Iterator[Rig]:
    """Have a simulation, a service and a session on them."""
    sim = start_sim(folder, speed=SPEED, faults=[f"corrupt:{CORRUPT_FRAME}"])
    settings = ["reconstruction.enabled=false", "stream.drain_s=0.2", "screening.settle_frames=1"]
    live = start_live(folder, stream=sim.ready["stream"], settings=settings)
    try:
        yield Rig(folder, sim, live)
    finally:
        close_channels()
        live.stop()
        sim.stop()


def main() -> None:
    """Run the scenarios named on the command line."""
    folder, *names = sys.argv[1:]
    with running(Path(folder)) as rig:
        for name in names:
            for number, facts in enumerate(SCENARIOS[name](rig)):
                print(json.dumps({"scenario": name, "number": number, **facts}, default=str), flush=True)


if __name__ == "__main__":
    main()
