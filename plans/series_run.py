"""One Bluesky run that is one series of the detector: each point exposed until it is valid, one event each."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import FailedStatus, Msg

from devices.eiger import Eiger
from devices.errors import PointError
from devices.exposure import SeriesPlan
from devices.stage import PiezoStage
from devices.storage_ring import MARGIN_S, StorageRing
from plans.estimate import TimeEstimate, time_estimate
from plans.plan_type import Plan
from plans.top_up import check_fits, gate, room_needed_s
from plans.trajectory import ScanPoint, Trajectory

MAX_REPEATS = 20
NEAR_UM = 25.0
"""A few widths of the beam: on its way to a point so near the stage may go with the shutter open."""
WAY_S = 2.0
"""Nothing is made ready on the way when an injection is so near that the gate might close before the point."""
PURPOSE_TIMEOUT_S = 10.0
VETOED = ("gated", "corrupt")
"""Verdicts after which a point is as good as not exposed."""
_NO_RUN = "no run"


@dataclass(frozen=True, slots=True, kw_only=True)
class PointOutcome:
    """What the live service says of the exposure that was kept for a point.

    Attributes
    ----------
    point : ScanPoint
    verdict : str
        The category; `pending` for the first frames of a series, empty when nobody answers (a plan that is only looked
        at).
    total : int
        Photons on the frame, -1 when not known.
    accepted : int
        Frames in the sum so far.
    resolution_m : float
        Of the newest image, NaN before there is one.
    """

    point: ScanPoint
    verdict: str
    total: int
    accepted: int
    resolution_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The devices of a scan and its manners.

    Attributes
    ----------
    detectors : sequence
        One `Eiger` and whatever else is read at every point.
    stage : PiezoStage
    ring : StorageRing or None
        Whose countdown gates; the detector's own when None.
    margin_s : float
        Kept free between the end of an exposure and the next injection.
    max_repeats : int
        How often a point is repeated before the scan gives up.
    """

    detectors: Sequence[Any]
    stage: PiezoStage
    ring: StorageRing | None = None
    margin_s: float = MARGIN_S
    max_repeats: int = MAX_REPEATS
    detector: Eiger = field(init=False)

    def __post_init__(self) -> None:
        """Find the one detector that makes the exposures.

        Raises
        ------
        ValueError
            When there is none, or more than one, or the stage is no stage.
        """
        object.__setattr__(self, "detector", the_eiger(self.detectors))
        if not hasattr(self.stage, "departure"):
            name = getattr(self.stage, "name", self.stage)
            raise ValueError(
                f"stage must be the sample stage with its axes, got {name}; for example stage, not stage.x"
            )

    @property
    def machine(self) -> StorageRing:
        """Whose countdown gates."""
        return self.ring if self.ring is not None else self.detector.ring

    @property
    def read_at_points(self) -> list[Any]:
        """Each device once; an axis goes when its whole stage is there."""
        kept: list[Any] = []
        for device in [*self.detectors, self.stage.x, self.stage.y]:
            if device not in kept and getattr(device, "parent", None) not in kept:
                kept.append(device)
        return kept

    def arguments(self, sample: str | None, **own: Any) -> dict[str, Any]:
        """Return a plan's arguments for its metadata, of plain types: those of all scans, and its `own`."""
        return {
            "detectors": [device.name for device in self.detectors],
            "stage": self.stage.name,
            **own,
            "margin": self.margin_s,
            "max_repeats": self.max_repeats,
            "sample": sample,
        }

    def estimate(self, points: int, exposure_s: float) -> TimeEstimate:
        """Predict how long so many points take."""
        return time_estimate(points, exposure_s, ring=self.machine, margin=self.margin_s)

    def check(self, exposure_s: float, trajectory: Trajectory) -> None:
        """Refuse, before anything moves, an exposure that never fits and a place that cannot be reached.

        Raises
        ------
        ValueError
            For the exposure.
        ophyd.utils.LimitError
            For a place outside the stage's limits.
        StageError
            When an axis does not count in um.
        """
        check_fits(self.machine, exposure_s, self.margin_s)
        for axis, places in ((self.stage.x, trajectory.x_um), (self.stage.y, trajectory.y_um)):
            axis.check_units()
            for place in (min(places), max(places)):
                axis.check_value(place)


def series_run(
    bench: Bench,
    points: Iterable[ScanPoint],
    exposure_s: float,
    *,
    most: int,
    md: Mapping[str, Any],
    learn: Callable[[PointOutcome], object] | None = None,
    purpose: str = "sample",
) -> Plan:
    """Arm, expose each point until it is valid, disarm; however it ends, the shutter is closed.

    Parameters
    ----------
    bench : Bench
    points : iterable of ScanPoint
        May be computed as the scan goes on: the next one is asked for when the one before has been judged. Of a
        sequence the stage goes to the next one as soon as an exposure is over, while its frame is on its way.
    exposure_s : float
    most : int
        How many points there are at most.
    md : mapping
        Metadata of the run.
    learn : callable, optional
        Is told the `PointOutcome` of every point.
    purpose : {"sample", "background"}
        What the live service shall take the frames for.

    Returns
    -------
    str
        Unique id of the run.

    Raises
    ------
    PointError
        When a point got no valid exposure.
    """
    detector, devices = bench.detector, bench.read_at_points
    series = SeriesPlan(exposure_s=exposure_s, points=most, spare=most + 2 * bench.max_repeats)

    @bpp.stage_decorator(bench.detectors)
    @bpp.run_decorator(md=dict(md))
    def scan() -> Plan:
        if purpose != "sample":
            yield from declare_purpose(detector, purpose)
        # Declared once: repeated after a pause, it would make a second descriptor. And at the start: the engine loses a
        # message during which it is paused when it has to wait in it, as for the description of a device.
        yield from bpp.rewindable_wrapper(_declare(detector, devices), rewindable=False)
        # What is not known before the verdict, the points of a scan that learns, cannot be gone to meanwhile.
        known = points if isinstance(points, Sequence) else ()
        before = None
        for point, following in zip_longest(points, known[1:]):
            yield from _point(bench, devices, (before, point, following), exposure_s, learn)
            before = point if known else None

    def close() -> Plan:
        yield from bps.abs_set(detector.shutter, "close", wait=True)

    yield from bps.prepare(detector, series, wait=True)
    return (yield from named_failures(bpp.finalize_wrapper(scan(), close())))


def _declare(detector: Eiger, devices: Sequence[Any]) -> Plan:
    yield from bps.declare_stream(detector.voided, name="voided")
    yield from bps.declare_stream(*devices, name="primary")


def declare_purpose(detector: Eiger, purpose: str) -> Plan:
    """Tell the live service what the frames of the series that has just been armed are for.

    Raises
    ------
    bluesky.utils.FailedStatus
        When the service does not show within `PURPOSE_TIMEOUT_S` that it has taken it.
    """
    yield from bps.abs_set(detector.live.purpose, purpose, timeout=PURPOSE_TIMEOUT_S, wait=True)


def the_eiger(detectors: Sequence[Any]) -> Eiger:
    """Return the one detector that makes the exposures.

    Raises
    ------
    ValueError
        When there is none, or more than one.
    """
    if not isinstance(detectors, Sequence):
        name = getattr(detectors, "name", detectors)
        raise ValueError(  # noqa: TRY004 - one kind of error for every argument that is wrong
            f"detectors must be a list with one Eiger, got {name}; for example [{name}, live]"
        )
    found = [device for device in detectors if isinstance(device, Eiger)]
    if len(found) != 1:
        names = ", ".join(str(getattr(device, "name", device)) for device in detectors) or "nothing"
        raise ValueError(f"detectors must hold exactly one Eiger, got {names}; for example [eig1m, live]")
    return found[0]


def named_failures(plan: Plan) -> Plan:
    """Raise what a device said went wrong, instead of bluesky's wrapper around it."""
    try:
        return (yield from plan)
    except FailedStatus as failure:
        cause = failure.__cause__
        raise (cause if isinstance(cause, Exception) else failure) from None


def _point(
    bench: Bench,
    devices: Sequence[Any],
    points: tuple[ScanPoint | None, ScanPoint, ScanPoint | None],
    exposure_s: float,
    learn: Callable[[PointOutcome], object] | None,
) -> Plan:
    """Expose one point until it is valid, then emit its event; of the one that follows only the move is begun.

    `points` are the one that the stage has left for this one, if it has, this one, and the one that follows, if known.
    """
    detector, (before, point, following) = bench.detector, points
    still = [device for device in devices if bench.stage in (device, device.parent)]
    rest = [device for device in devices if device not in (*still, detector)]
    vetoed: list[str] = []
    for repeat in range(bench.max_repeats + 1):
        yield from bps.checkpoint()
        yield from _expose(bench, point, exposure_s, on_the_way=_are_near(before, point) and repeat == 0)
        yield from _leave(bench, still, following, exposure_s, near=_are_near(point, following))
        # From here to the event nothing is replayed: an exposure that was read belongs to one event, however often the
        # run is paused. One that is voided by a pause before it is read reads as not valid and is repeated below.
        outcome = yield from bpp.rewindable_wrapper(_save_if_valid(detector, rest, point), rewindable=False)
        if outcome is not None and outcome.verdict not in VETOED:
            if learn is not None:
                learn(outcome)
            return
        if outcome is not None:
            vetoed.append(f"{outcome.verdict} by the live service")
        yield from bps.wait(group="leaving")  # for nothing: it comes back
    reasons = ", ".join([void.reason for void in detector.voids if void.point == point.index] + vetoed)
    raise PointError(
        f"point {point.index} at ({point.x_um:g}, {point.y_um:g}) um must have a valid exposure within "
        f"{bench.max_repeats} repeats, got {reasons or 'no time before the injections'}; see what disturbs the beam, "
        "then start again"
    )


def _are_near(one: ScanPoint | None, other: ScanPoint | None) -> bool:
    """Whether both are there, and the stage may go from one to the other with the shutter open."""
    if one is None or other is None:
        return False
    return math.hypot(one.x_um - other.x_um, one.y_um - other.y_um) <= NEAR_UM


def note_of(point: ScanPoint) -> dict[str, Any]:
    """Return what the detector is told of a point."""
    return {"point": point.index, "x_um": point.x_um, "y_um": point.y_um}


def _expose(bench: Bench, point: ScanPoint, exposure_s: float, *, on_the_way: bool) -> Plan:
    """Everything that a pause may make happen twice."""
    detector, stage = bench.detector, bench.stage
    waiting = gate(bench.machine, exposure_s, bench.margin_s, overhead_s=detector.overhead_s)
    yield from bps.abs_set(detector.point, note_of(point), wait=True)
    if on_the_way:
        yield from waiting  # what is left of the way is no time in which an injection could come nearer
    yield from bps.mv(stage.x, point.x_um, stage.y, point.y_um)
    if not on_the_way:
        yield from waiting
    # As themselves: bluesky's wrappers around its stubs take half a millisecond for each. The stage answers at once.
    yield Msg("trigger", stage)
    yield Msg("trigger", detector, group="exposure")


def _leave(bench: Bench, still: Sequence[Any], following: ScanPoint | None, exposure_s: float, *, near: bool) -> Plan:
    """Begin the point's event with where the stage stands, send it on after the exposure, and wait for the frame.

    On the way to a near point the shutter opens for it. After a pause all this is repeated: the event is begun anew.
    """
    detector = bench.detector

    def leave() -> Plan:
        for device in still:
            yield from bps.read(device)
        yield from bps.trigger(detector.over, group="exposure over", wait=True)
        if following is not None:
            yield from bps.abs_set(bench.stage.departure, (following.x_um, following.y_um), group="leaving")
            if near:
                needed = room_needed_s(bench.machine, exposure_s, bench.margin_s, detector.overhead_s) + WAY_S
                yield from bps.abs_set(detector.ready, {**note_of(following), "needed_s": needed}, group="ready")
        yield from bps.wait(group="exposure")

    yield from bps.create(name="primary")
    yield from _or_drop(leave())


def _save_if_valid(detector: Eiger, devices: Sequence[Any], point: ScanPoint) -> Plan:
    """Read the exposure, which keeps it, and save the event begun; void ones go to a stream of their own.

    Returns
    -------
    PointOutcome or None
        None, and no event, when the exposure is void. A frame that the service has vetoed has no event either.
    """

    def read() -> Plan:
        reading = yield Msg("read", detector)
        # A simulation of the plan answers nothing; then the point counts as taken.
        if reading is not None and not reading[detector.valid.name]["value"]:
            return None
        outcome = yield from _look(detector, point)
        if outcome.verdict not in VETOED:
            for device in devices:
                yield from bps.read(device)
        return outcome

    outcome = yield from _or_drop(read())
    yield from bps.drop() if outcome is None or outcome.verdict in VETOED else bps.save()
    for _ in range(len(detector.voided.waiting)):
        yield from bps.trigger(detector.voided, wait=True)
        yield from event([detector.voided], "voided")
    return outcome


def _or_drop(plan: Plan) -> Plan:
    """Drop the event begun when a plan fails: no other event, of the baseline say, could begin."""
    return bpp.contingency_wrapper(plan, except_plan=lambda _: bps.drop())


def _look(detector: Eiger, point: ScanPoint) -> Plan:
    """What the service says of the newest frame; it shows nothing newer, since one frame is under way at a time."""
    live = detector.live
    if not live.last.verdict.connected:  # the detector does without the service, or says what it lacks
        return PointOutcome(point=point, verdict="", total=-1, accepted=0, resolution_m=math.nan)
    verdict = yield from _value(live.last.verdict, "")
    total = yield from _value(live.last.total, -1)
    accepted = yield from _value(live.frames.accepted, 0)
    resolution = yield from _value(live.resolution, math.nan)
    return PointOutcome(
        point=point, verdict=str(verdict), total=int(total), accepted=int(accepted), resolution_m=float(resolution)
    )


def _value(signal: Any, default: Any) -> Plan:
    """Read a signal; `default` in a simulation of the plan, which answers nothing.

    As `bps.rd` does it, but without the half millisecond that bluesky's wrapper around each of its stubs takes, and
    outside of every run: a point's event is being put together, and this does not belong to it.
    """
    reading = yield Msg("read", signal, run=_NO_RUN)
    return default if reading is None else reading[signal.name]["value"]


def event(devices: Sequence[Any], stream: str) -> Plan:
    """Read devices into one event, without triggering anything."""
    yield from bps.create(name=stream)
    for device in devices:
        yield from bps.read(device)
    yield from bps.save()
