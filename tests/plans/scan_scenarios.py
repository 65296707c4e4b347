"""Scans on a simulated beamline with a live service, each disturbed in its own way.

Run as a program, because the client library of Channel Access reads its environment once a process::

    python scan_scenarios.py FOLDER SCENARIO ...

It prints one JSON object a scenario: what was seen at the disturbance, the documents in short, the service's books and
the ledger of the result file. Each disturbance waits for the exposure it is meant for, or is made by the simulation at
a moment of that exposure: none depends on how fast this machine is.
"""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import epics
from rig import EXPOSURE_S, LONG_S, PATIENCE_S, SPEED, Rig, running, tell

from devices import presence
from devices.errors import LiveServiceError

CORRUPT_FRAME = 15
"""Of every series; only one scenario goes that far."""
FAR_UM = 1900.0
SLOW_UM_S = 25.0
"""So that a move of `FAR_UM` takes over a second."""


def plain(rig: Rig) -> Iterator[dict[str, Any]]:
    """Nobody disturbs."""
    yield rig.run(rig.plan(sample="au-sio2"))


def pause(rig: Rig) -> Iterator[dict[str, Any]]:
    """Pause in the middle of an exposure and resume."""
    rig.at_point[1] = rig.during(rig.pause)
    yield rig.run(rig.plan(2, 1, exposure=LONG_S))


def abort(rig: Rig) -> Iterator[dict[str, Any]]:
    """Pause in the middle of an exposure and abort; then scan again, twice."""
    for _ in range(2):
        rig.at_point[1] = rig.during(rig.pause)
        yield rig.run(rig.plan(exposure=LONG_S), rig.engine.abort)
    yield rig.run(rig.plan(2, 1))


def dump(rig: Rig) -> Iterator[dict[str, Any]]:
    """Lose the beam during an exposure, and have it back a little later."""
    rig.at_point[2] = rig.upset("beam 50")
    yield rig.run(rig.plan(2, 2))


def injected(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have an injection begin in the middle of an exposure, and another later, as the countdown says."""
    rig.at_point[1] = rig.upset("injection")
    yield rig.run(rig.plan(2, 2))


def shutter(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody else close the shutter during an exposure."""
    rig.at_point[1] = rig.upset("shutter")
    yield rig.run(rig.plan(2, 2))


def hopeless(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody close the shutter in every exposure."""
    rig.at_point[0] = rig.upset("shutter x3")
    yield rig.run(rig.plan(2, 2, max_repeats=2))


def disarmed(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody else stop the detector."""
    rig.at_point[1] = rig.upset("stop")
    yield rig.run(rig.plan(2, 2))


def moved(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody else stop the stage on its way."""
    axis = rig.stage.x
    stopped = threading.Event()

    def stop_far_move(_number: int, msg: Any) -> None:
        if msg.command == "set" and msg.obj is rig.stage.departure and msg.args == ((FAR_UM, 0.0),):
            axis.motor_is_moving.subscribe(stop, run=False)

    def stop(*, value: int, **_: object) -> None:
        if value and not stopped.is_set():
            stopped.set()
            threading.Thread(target=epics.caput, args=("25A:PIEZO:X.STOP", 1)).start()

    velocity = axis.velocity.get()
    rig.at_message = stop_far_move
    try:
        axis.set(-FAR_UM).wait(PATIENCE_S)
        axis.velocity.put(SLOW_UM_S, wait=True)
        plan = rig.session["ensemble_scan"](
            [rig.detector, rig.live], rig.stage, -FAR_UM, FAR_UM, 0.0, 0.0, 2 * FAR_UM, EXPOSURE_S
        )
        yield rig.run(plan)
    finally:
        rig.at_message = lambda _number, _msg: None
        axis.motor_is_moving.clear_sub(stop)
        axis.velocity.put(velocity, wait=True)


def somebody_triggers(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have somebody else trigger the detector."""
    rig.at_point[1] = rig.upset("trigger")
    yield rig.run(rig.plan(3, 3))


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


def lost(rig: Rig) -> Iterator[dict[str, Any]]:
    """Have a frame not come although nobody is away."""
    rig.detector.frame_margin_s = 1.0 - EXPOSURE_S
    rig.at_point[1] = lambda: rig.detector.cam.special_trigger_button.__dict__.update(put=lambda *_, **__: None)
    try:
        yield rig.run(rig.plan(2, 2))
    finally:
        del rig.detector.cam.special_trigger_button.__dict__["put"]


def service_dies(rig: Rig) -> Iterator[dict[str, Any]]:
    """End the live service during an exposure."""
    presence.AWAY_TIMEOUT_S = 1.0
    rig.at_point[1] = rig.during(rig.kill_live)
    yield rig.run(rig.plan(2, 1, exposure=LONG_S))


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        plain,
        pause,
        abort,
        dump,
        injected,
        shutter,
        hopeless,
        disarmed,
        moved,
        somebody_triggers,
        corrupt,
        refused,
        lost,
        service_dies,
    )
}


def main() -> None:
    """Run the scenarios named on the command line."""
    folder, *names = sys.argv[1:]
    with running(Path(folder), speed=SPEED, faults=(f"corrupt:{CORRUPT_FRAME}",)) as rig:
        for name in names:
            tell(name, SCENARIOS[name](rig))


if __name__ == "__main__":
    main()
