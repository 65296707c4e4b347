"""Time lost a point beyond exposure and motion: our scan, Bluesky's grid_scan without a camera, and arm-per-point.

python tests/benchmarks/bench_scan.py [--columns 10] [--rows 6] [--exposure 1.0]

One run, in real time (speed 1), with the same motors on the same simulated IOCs:

- `grid_scan`: bluesky's own, `snake_axes=True`, no camera: motion and documents only;
- `ensemble_scan`: armed once, one software trigger a point, completion by the frame's arrival at the live service;
- `SingleTrigger`: ophyd's, armed anew for every point, within the same grid_scan.

Time a point is from one event to the next. Taken off are the exposure, the motion (distance over the controller's
speed, and its settling), and, for the scan with triggers, the time from writing the trigger to the begin of the
exposure as the simulated detector has it: its driver looks for triggers every 0.1 s. The last line is JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

from bluesky import plans as bp
from ophyd import Component, EpicsSignalRO
from ophyd.areadetector.detectors import DetectorBase
from ophyd.areadetector.trigger_mixins import SingleTrigger

from devices.eiger_cam import EigerCam
from sim.axis import CONTROLLER_SPEED_UM_S, SETTLE_S
from sim.truth import read_books

sys.path.insert(0, str(Path(__file__).parents[1] / "plans"))
from rig import Rig, running

STEP_UM = 10.0
MOTION_S = STEP_UM / CONTROLLER_SPEED_UM_S + SETTLE_S
WANTED, AIM = 1.5, 1.2


class ArmedEachTime(SingleTrigger, DetectorBase):
    """The Eiger as ophyd's `SingleTrigger` uses it: Acquire for every point."""

    cam = Component(EigerCam, "cam1:", kind="omitted")


def event_times(rig: Rig, plan: Any) -> list[float]:
    """Run a plan; return the moments of its primary events (monotonic s)."""
    times: list[float] = []
    primary: set[str] = set()

    def hear(name: str, doc: dict[str, Any]) -> None:
        if name == "descriptor" and doc["name"] == "primary":
            primary.add(doc["uid"])
        elif name == "event" and doc["descriptor"] in primary:
            times.append(time.monotonic())

    rig.engine(plan, hear)
    return times


def clock_offset() -> float:
    """Monotonic time at which the simulated clock (speed 1) stood at 0; the quickest of ten answers."""
    clock = EpicsSignalRO("25A:SIM:Time", name="clock")
    clock.wait_for_connection(timeout=10)
    answers = []
    for _ in range(10):
        asked = time.monotonic()
        shown = float(clock.get())
        told = time.monotonic()
        answers.append((told - asked, 0.5 * (asked + told) - shown))
    return min(answers)[1]


def lost(times: list[float], taken_off: list[float]) -> list[float]:
    """Seconds lost from each event to the next."""
    return [late - early - off for early, late, off in zip(times, times[1:], taken_off, strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Seconds a point of our scan.

    Attributes
    ----------
    lost
        Beyond exposure, motion and the driver's poll.
    poll
        From writing the trigger to the begin of the exposure.
    opening
        The shutter's blades, from Opening to Open.
    arrival
        From the end of the exposure until this process knows that the live service has judged the frame: drawing it,
        packing it, the stream, decoding, scoring, and the service's PVs.
    """

    lost: list[float]
    poll: list[float]
    opening: list[float]
    arrival: list[float]


class Ear:
    """Moments at which a signal told a value."""

    def __init__(self, signal: Any) -> None:
        self._signal = signal
        self.heard: list[tuple[Any, float]] = []

    def __enter__(self) -> Self:
        self._signal.subscribe(self._hear, run=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._signal.clear_sub(self._hear)

    def _hear(self, *, value: Any, **_: object) -> None:
        self.heard.append((value, time.monotonic()))

    def moments(self, *values: Any) -> list[float]:
        """When one of these values was told."""
        return [moment for value, moment in self.heard if value in values]


def ensemble(rig: Rig, columns: int, rows: int, exposure_s: float) -> Ours:
    """Run our scan once."""
    points = columns * rows
    button = rig.detector.cam.special_trigger_button
    written: list[float] = []
    put = button.put

    def noted(*words: Any, **options: Any) -> None:
        written.append(time.monotonic())
        put(*words, **options)

    button.put = noted
    try:
        place = (0, STEP_UM * (columns - 1), 0, STEP_UM * (rows - 1), STEP_UM)
        with Ear(rig.live.last.frame) as frames, Ear(rig.shutter.status) as blades:
            plan = rig.session["ensemble_scan"]([rig.detector, rig.live], rig.stage, *place, exposure_s)
            times = event_times(rig, plan)
    finally:
        del button.put
    zero = clock_offset()
    rig.books()  # the truth is there when the service has seen the end
    starts = read_books(rig.folder / "truth", int(rig.detector.series.get()))["start_s"]
    begun = [zero + start for start in starts]
    assert len(times) == points == len(begun), "an exposure was void: run it again"
    poll = [start - asked for start, asked in zip(begun, written, strict=True)]
    seen = frames.moments(*range(points))
    return Ours(
        lost=lost(times, [exposure_s + MOTION_S + one for one in poll[1:]]),
        poll=poll,
        opening=[late - early for early, late in zip(blades.moments("Opening"), blades.moments("Open"), strict=False)],
        arrival=[moment - start - exposure_s for start, moment in zip(begun, seen, strict=True)],
    )


def grid(rig: Rig, detectors: list[Any], columns: int, rows: int) -> list[float]:
    """Return the moments of the events of bluesky's own scan."""
    y_x = (rig.stage.y, 0, STEP_UM * (rows - 1), rows, rig.stage.x, 0, STEP_UM * (columns - 1), columns)
    return event_times(rig, bp.grid_scan(detectors, *y_x, snake_axes=True))


def arm_per_point(rig: Rig, columns: int, rows: int, exposure_s: float) -> list[float]:
    """Return seconds lost a point when every point arms."""
    camera = ArmedEachTime("25A:EIG1M:", name="camera")
    cam = camera.cam
    cam.write(cam.manual_trigger, 0)
    cam.write(cam.num_triggers, 1)
    cam.write(cam.acquire_time, exposure_s)
    times = grid(rig, [camera], columns, rows)
    return lost(times, [exposure_s + MOTION_S] * len(times))


def measure(columns: int, rows: int, exposure_s: float) -> dict[str, Any]:
    """Measure all three on one simulation."""
    with tempfile.TemporaryDirectory() as place, running(Path(place), speed=1.0, truth=True) as rig:
        for axis in (rig.stage.x, rig.stage.y):
            axis.set(0.0).wait(30)
        rig.engine.preprocessors.clear()
        rig.engine.msg_hook = None
        grid(rig, [], 3, 1)  # whatever is slow the first time
        ensemble(rig, 2, 1, 0.2)
        before = lost(grid(rig, [], columns, rows), [MOTION_S] * columns * rows)
        ours = ensemble(rig, columns, rows, exposure_s)
        after = lost(grid(rig, [], columns, rows), [MOTION_S] * columns * rows)
        single = arm_per_point(rig, columns, rows, exposure_s)
    return {
        "points": columns * rows,
        "exposure_s": exposure_s,
        "motion_ms": round(1e3 * MOTION_S, 1),
        "grid_scan_ms": in_ms(before + after),
        "ensemble_scan_ms": in_ms(ours.lost),
        "shutter_opening_ms": in_ms(ours.opening),
        "frame_arrival_ms": in_ms(ours.arrival),
        "driver_poll_ms": in_ms(ours.poll),
        "single_trigger_ms": in_ms(single),
        "ratio": round(median(ours.lost) / median(before + after), 2),
    }


def in_ms(seconds: list[float]) -> dict[str, float]:
    """Median and spread."""
    ordered = sorted(seconds)
    return {
        "median": round(1e3 * median(ordered), 1),
        "p10": round(1e3 * ordered[len(ordered) // 10], 1),
        "p90": round(1e3 * ordered[(9 * len(ordered)) // 10], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--exposure", type=float, default=1.0, help="of each point, s")
    options = parser.parse_args()
    found = measure(options.columns, options.rows, options.exposure)
    print(f"{'time lost a point beyond exposure and motion':<52}{'median':>9}{'p10':>8}{'p90':>8}  ms")
    for name, words in (
        ("grid_scan_ms", "bluesky grid_scan(snake_axes=True), no camera"),
        ("ensemble_scan_ms", "ensemble_scan, the driver's poll taken off"),
        ("shutter_opening_ms", "  of it: the blades of the shutter open"),
        ("frame_arrival_ms", "  of it: end of the exposure to frame judged"),
        ("driver_poll_ms", "taken off: the driver looks for triggers every 0.1 s"),
        ("single_trigger_ms", "ophyd SingleTrigger, armed for every point"),
    ):
        print(f"{words:<52}{found[name]['median']:>9}{found[name]['p10']:>8}{found[name]['p90']:>8}")
    print(f"ensemble_scan loses {found['ratio']} times what grid_scan does; wanted {WANTED} at most, aim {AIM}")
    print(json.dumps(found))
    return int(found["ratio"] > WANTED)


if __name__ == "__main__":
    sys.exit(main())
