"""The scan of X-ray ensemble diffraction microscopy: one exposure a point over a membrane with many particles."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import FailedStatus, Msg

from devices.eiger import Eiger
from devices.errors import PointError
from devices.exposure import SeriesPlan
from devices.stage import PiezoStage
from devices.storage_ring import MARGIN_S, StorageRing
from plans.metadata import scan_metadata
from plans.top_up import check_fits, gate
from plans.trajectory import Raster, ScanPoint, snake_raster

Plan = Generator[Msg, Any, Any]
MAX_REPEATS = 20


def ensemble_scan(
    detectors: Sequence[Any],
    stage: PiezoStage,
    x_start: float,
    x_stop: float,
    y_start: float,
    y_stop: float,
    step: float | tuple[float, float],
    exposure: float,
    *,
    ring: StorageRing | None = None,
    sample: str | None = None,
    margin: float = MARGIN_S,
    max_repeats: int = MAX_REPEATS,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Raster over a membrane in a snake, one exposure a point, one valid event a point.

    The detector is armed once. Each exposure waits until it fits before the next top-up injection, is made with the
    stage checked to be where it was sent, and is repeated when anything spoilt it. However the scan ends, the shutter
    is closed and the detector disarmed.

    Parameters
    ----------
    detectors : sequence
        One `Eiger` and whatever else shall be read at every point, for example ``[eig1m, live]``.
    stage : PiezoStage
    x_start, x_stop, y_start, y_stop : float
        The rectangle, um, stops included.
    step : float or tuple of float
        Distance of two points, um; (x, y) when they differ.
    exposure : float
        Of each point, s.
    ring : StorageRing, optional
        Whose countdown gates; the detector's own by default.
    sample : str, optional
        Name for the metadata.
    margin : float
        Kept free between the end of an exposure and the next injection, s.
    max_repeats : int
        How often a point is repeated before the scan gives up.
    md : mapping, optional
        More metadata for the run.

    Returns
    -------
    str
        Unique id of the run.

    Raises
    ------
    ValueError
        Before anything moves, for a rectangle, step or exposure that cannot be.
    ophyd.utils.LimitError
        Before anything moves, when a corner is outside the stage's limits.
    PointError
        When a point got no valid exposure.

    Examples
    --------
    >>> RE(ensemble_scan([eig1m, live], stage, 0, 190, 0, 190, 10, 60))  # doctest: +SKIP
    """
    x_step, y_step = step if isinstance(step, tuple) else (step, step)
    raster = snake_raster((x_start, x_stop, x_step), (y_start, y_stop, y_step))
    detector = the_eiger(detectors)
    machine = ring if ring is not None else detector.ring
    series = SeriesPlan(exposure_s=exposure, points=len(raster), spare=len(raster) + 2 * max_repeats)
    check_fits(machine, exposure, margin)
    check_reach(stage, raster)
    arguments = {
        "detectors": [device.name for device in detectors],
        "stage": stage.name,
        "x_start": x_start,
        "x_stop": x_stop,
        "y_start": y_start,
        "y_stop": y_stop,
        "step": [x_step, y_step],
        "exposure": exposure,
        "margin": margin,
        "max_repeats": max_repeats,
    }
    metadata = scan_metadata(raster, stage, exposure, sample, arguments) | dict(md or {})
    devices = _distinct([*detectors, stage.x, stage.y])

    @bpp.stage_decorator(detectors)
    @bpp.run_decorator(md=metadata)
    def scan() -> Plan:
        # Declared once: repeated after a pause, it would make a second descriptor.
        yield from bpp.rewindable_wrapper(bps.declare_stream(*devices, name="primary"), rewindable=False)
        for point in raster:
            yield from _point(devices, detector, stage, machine, point, exposure, margin, max_repeats)

    def close() -> Plan:
        yield from bps.abs_set(detector.shutter, "close", wait=True)

    yield from bps.prepare(detector, series, wait=True)
    return (yield from named_failures(bpp.finalize_wrapper(scan(), close())))


def the_eiger(detectors: Sequence[Any]) -> Eiger:
    """Return the one detector that makes the exposures.

    Raises
    ------
    ValueError
        When there is none, or more than one.
    """
    found = [device for device in detectors if isinstance(device, Eiger)]
    if len(found) != 1:
        names = ", ".join(str(getattr(device, "name", device)) for device in detectors) or "nothing"
        raise ValueError(f"detectors must hold exactly one Eiger, got {names}; for example [eig1m, live]")
    return found[0]


def check_reach(stage: PiezoStage, raster: Raster) -> None:
    """Refuse a raster with a corner that the stage cannot reach.

    Raises
    ------
    ophyd.utils.LimitError
        From the axis.
    StageError
        When an axis does not count in um.
    """
    for axis, places in ((stage.x, raster.x_um), (stage.y, raster.y_um)):
        axis.check_units()
        for place in (min(places), max(places)):
            axis.check_value(place)


def named_failures(plan: Plan) -> Plan:
    """Raise what a device said went wrong, instead of bluesky's wrapper around it."""
    try:
        return (yield from plan)
    except FailedStatus as failure:
        cause = failure.__cause__
        raise (cause if isinstance(cause, Exception) else failure) from None


def _point(
    devices: Sequence[Any],
    detector: Eiger,
    stage: PiezoStage,
    ring: StorageRing,
    point: ScanPoint,
    exposure_s: float,
    margin_s: float,
    max_repeats: int,
) -> Plan:
    """Expose one point until it is valid, then emit its event."""
    for _ in range(max_repeats + 1):
        yield from bps.checkpoint()
        yield from _expose(detector, stage, ring, point, exposure_s, margin_s)
        # From here to the event nothing is replayed: an exposure that was read belongs to one event, however often the
        # run is paused. One that is voided by a pause before it is read reads as not valid and is repeated below.
        valid = yield from bpp.rewindable_wrapper(_save_if_valid(devices, detector), rewindable=False)
        if valid:
            return
    reasons = ", ".join(void.reason for void in detector.voids if void.point == point.index)
    raise PointError(
        f"point {point.index} at ({point.x_um:g}, {point.y_um:g}) um must have a valid exposure within {max_repeats} "
        f"repeats, got {reasons or 'no time before the injections'}; see what disturbs the beam, then start again"
    )


def _expose(
    detector: Eiger, stage: PiezoStage, ring: StorageRing, point: ScanPoint, exposure_s: float, margin_s: float
) -> Plan:
    """Everything that a pause may make happen twice."""
    yield from bps.abs_set(detector.point, {"point": point.index, "x_um": point.x_um, "y_um": point.y_um}, wait=True)
    yield from bps.mv(stage.x, point.x_um, stage.y, point.y_um)
    yield from gate(ring, exposure_s, margin_s, overhead_s=detector.overhead_s)
    yield from bps.trigger(stage, group="in position", wait=True)
    yield from bps.trigger(detector, group="exposure", wait=True)


def _save_if_valid(devices: Sequence[Any], detector: Eiger) -> Plan:
    """Read the exposure, which keeps it, and emit its event; void ones go to a stream of their own."""
    reading = yield Msg("read", detector)
    for _ in range(len(detector.voided.waiting)):
        yield from bps.trigger(detector.voided, wait=True)
        yield from _event([detector.voided], "voided")
    # A simulation of the plan answers nothing; then the point counts as taken.
    if reading is not None and not reading[detector.valid.name]["value"]:
        return False
    yield from _event(devices, "primary")
    return True


def _event(devices: Sequence[Any], stream: str) -> Plan:
    yield from bps.create(name=stream)
    for device in devices:
        yield from bps.read(device)
    yield from bps.save()


def _distinct(devices: Sequence[Any]) -> list[Any]:
    """Each device once; an axis goes when its whole stage is there."""
    kept: list[Any] = []
    for device in devices:
        if device not in kept and getattr(device, "parent", None) not in kept:
            kept.append(device)
    return kept
