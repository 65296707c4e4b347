"""The scan of X-ray ensemble diffraction microscopy: one exposure a point over a membrane with many particles."""

from collections.abc import Mapping, Sequence
from typing import Any

from devices.stage import TOLERANCE_UM, PiezoStage
from devices.storage_ring import MARGIN_S, StorageRing
from plans.dwell import Batch, Exposures, batches
from plans.metadata import scan_metadata
from plans.plan_type import Plan
from plans.series_run import MAX_REPEATS, Bench, series_run
from plans.shapes import Corner, listed_points, near_any, polygon_points
from plans.tell import Tell, say
from plans.trajectory import Trajectory, both_axes, snake_raster

BEAM_UM = (6.0, 18.0)
"""Size of the beam on the sample, x and y (the paper's section 2.2); the step when none is given: then the places lie
side by side, each hit once, none left out."""


def ensemble_scan(
    detectors: Sequence[Any],
    stage: PiezoStage,
    x_start: float | None = None,
    x_stop: float | None = None,
    y_start: float | None = None,
    y_stop: float | None = None,
    step: float | Sequence[float] | None = None,
    exposure: Exposures | None = None,
    *,
    polygon: Sequence[Corner] | None = None,
    points: Sequence[Corner] | None = None,
    beam: Sequence[float] = BEAM_UM,
    skip: Sequence[int] = (),
    done: Sequence[Corner] = (),
    ring: StorageRing | None = None,
    sample: str | None = None,
    margin: float = MARGIN_S,
    max_repeats: int = MAX_REPEATS,
    tell: Tell = None,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Scan a membrane in a snake, one exposure a point, one valid event a point.

    The area is a rectangle, a polygon or a list of points. The detector is armed once. Each exposure waits until it
    fits before the next top-up injection, is made with the stage checked to be where it was sent, and is repeated when
    anything spoilt it. However the scan ends, the shutter is closed and the detector disarmed.

    Parameters
    ----------
    detectors : sequence
        One `Eiger` and whatever else shall be read at every point, for example ``[eig1m, live]``.
    stage : PiezoStage
    x_start, x_stop, y_start, y_stop : float, optional
        A rectangle, um, stops included.
    step : float or pair of float, optional
        Distance of two points, um; (x, y) when they differ. The size of the beam when not given.
    exposure : float, sequence of float or callable
        Of each point, s: one for all, one a point in the order of the scan, or a function of x and y (um). Where they
        differ, points with the same exposure make a run and a series of their own, the shortest exposure first.
    polygon : sequence of (x, y), optional
        Corners in um, instead of the rectangle; points on the border belong to it.
    points : sequence of (x, y), optional
        The points themselves, um, in the order to take them, instead of the rectangle.
    beam : pair of float
        Size of the beam on the sample along x and y, um.
    skip : sequence of int
        Indices of points to leave out, counted from 0 in the order of the scan.
    done : sequence of (x, y)
        Places that have a valid exposure already, um (``done_points(result)`` reads them from a result file); points
        there are left out, the others keep their indices.
    ring : StorageRing, optional
        Whose countdown gates; the detector's own by default.
    sample : str, optional
        Name for the metadata.
    margin : float
        Kept free between the end of an exposure and the next injection, s.
    max_repeats : int
        How often a point is repeated before the scan gives up.
    tell : callable, optional
        Is told how long the scan will take, before it starts; by default it is printed.
    md : mapping, optional
        More metadata for the run.

    Returns
    -------
    str or tuple of str
        Unique id of the run, or of the runs when exposures differ.

    Raises
    ------
    ValueError
        Before anything moves, for an area, step or exposure that cannot be, or when no point is left.
    ophyd.utils.LimitError
        Before anything moves, when a point is outside the stage's limits.
    PointError
        When a point got no valid exposure.

    Examples
    --------
    >>> RE(ensemble_scan([eig1m, live], stage, 0, 190, 0, 190, 10, 60))  # doctest: +SKIP
    >>> RE(ensemble_scan([eig1m, live], stage, polygon=[(0, 0), (170, 0), (150, 90)], exposure=57))  # doctest: +SKIP
    """
    bench = Bench(detectors=detectors, stage=stage, ring=ring, margin_s=margin, max_repeats=max_repeats)
    x_step, y_step = both_axes(beam if step is None else step)
    trajectory = _trajectory((x_start, x_stop, y_start, y_stop), polygon, points, (x_step, y_step))
    if exposure is None:
        raise ValueError("exposure must be given in s; for example exposure=60")
    left_out = _left_out(trajectory, skip, done)
    made = [
        Batch(exposure_s=batch.exposure_s, points=kept)
        for batch in batches(trajectory, exposure)
        if (kept := tuple(point for point in batch.points if point.index not in left_out))
    ]
    if not made:
        raise ValueError(
            f"points must be left to expose, got {len(trajectory)} of which all are skipped or done; nothing is to do"
        )
    for batch in made:
        bench.check(batch.exposure_s, trajectory)
    arguments = bench.arguments(
        sample,
        x_start=x_start,
        x_stop=x_stop,
        y_start=y_start,
        y_stop=y_stop,
        step=None if points is not None else [x_step, y_step],
        polygon=None if polygon is None else [list(corner) for corner in polygon],
        points=None if points is None else [list(place) for place in points],
        skip=sorted(skip),
    )
    estimates = [bench.estimate(len(batch.points), batch.exposure_s) for batch in made]
    for estimate in estimates:
        say(str(estimate), tell)
    uids = []
    for number, (batch, estimate) in enumerate(zip(made, estimates, strict=True)):
        metadata = scan_metadata(
            "ensemble_scan", trajectory, stage, batch.exposure_s, arguments | {"exposure": batch.exposure_s}
        )
        metadata |= {
            "num_points": len(batch.points),
            "num_intervals": len(batch.points) - 1,
            "points_left_out": len(left_out),
            "time_estimate_s": estimate.total_s,
        }
        if len(made) > 1:
            metadata["series_of_scan"] = [number + 1, len(made)]
        run = series_run(bench, batch.points, batch.exposure_s, most=len(batch.points), md=metadata | dict(md or {}))
        uids.append((yield from run))
    return uids[0] if len(uids) == 1 else tuple(uids)


def _trajectory(
    rectangle: tuple[float | None, float | None, float | None, float | None],
    polygon: Sequence[Corner] | None,
    points: Sequence[Corner] | None,
    step: tuple[float, float],
) -> Trajectory:
    given = [
        name
        for name, is_given in (
            ("a rectangle", any(side is not None for side in rectangle)),
            ("polygon", polygon is not None),
            ("points", points is not None),
        )
        if is_given
    ]
    if len(given) != 1:
        raise ValueError(
            "the area must be one of a rectangle (x_start, x_stop, y_start, y_stop), polygon and points, got "
            f"{' and '.join(given) or 'none of them'}"
        )
    if polygon is not None:
        return polygon_points(polygon, step)
    if points is not None:
        return listed_points(points)
    x_start, x_stop, y_start, y_stop = rectangle
    if x_start is None or x_stop is None or y_start is None or y_stop is None:
        raise ValueError(f"a rectangle must have x_start, x_stop, y_start and y_stop in um, got {rectangle}")
    return snake_raster((x_start, x_stop, step[0]), (y_start, y_stop, step[1]))


def _left_out(trajectory: Trajectory, skip: Sequence[int], done: Sequence[Corner]) -> set[int]:
    """Indices of the points that are not to be exposed."""
    if unknown := sorted(index for index in skip if not 0 <= index < len(trajectory)):
        raise ValueError(
            f"skip must hold indices of points, from 0 to {len(trajectory) - 1}, got {unknown[:5]}; they count in the "
            "order of the scan"
        )
    points = list(trajectory)
    are_done = near_any([(point.x_um, point.y_um) for point in points], done, TOLERANCE_UM)
    return set(skip) | {point.index for point, is_done in zip(points, are_done, strict=True) if is_done}
