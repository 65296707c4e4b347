"""Exposures of an empty place, which the live service sums as background."""

from collections.abc import Mapping, Sequence
from typing import Any

from devices.stage import PiezoStage
from devices.storage_ring import MARGIN_S, StorageRing
from plans.metadata import scan_metadata
from plans.plan_type import Plan
from plans.series_run import MAX_REPEATS, Bench, series_run
from plans.shapes import Corner, listed_points
from plans.tell import Tell, say


def background_scan(
    detectors: Sequence[Any],
    stage: PiezoStage,
    places: Sequence[Corner],
    exposure: float,
    count: int = 1,
    *,
    ring: StorageRing | None = None,
    sample: str | None = None,
    margin: float = MARGIN_S,
    max_repeats: int = MAX_REPEATS,
    tell: Tell = None,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Expose places without sample; the live service is told to take this series as background.

    Among sample the service knows a background frame by its total. In a series of nothing else there is no total to
    compare with, so the scan says what the series is for (`Purpose`): every frame that hit neither silicon nor an edge
    is then summed as background.

    Parameters
    ----------
    detectors, stage
        As for `ensemble_scan`.
    places : sequence of (x, y)
        Empty places on the membrane, um.
    exposure : float
        Of each frame, s; the scan's, so that the two compare frame by frame.
    count : int
        How often the places are gone through.
    ring, sample, margin, max_repeats, tell, md
        As for `ensemble_scan`.

    Returns
    -------
    str
        Unique id of the run.

    Raises
    ------
    ValueError, ophyd.utils.LimitError, PointError
        As `ensemble_scan`.

    Examples
    --------
    >>> RE(background_scan([eig1m, live], stage, [(12, 40), (14, 44)], 57, count=5))  # doctest: +SKIP
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    bench = Bench(detectors=detectors, stage=stage, ring=ring, margin_s=margin, max_repeats=max_repeats)
    points = listed_points(list(places) * count)
    bench.check(exposure, points)
    estimate = bench.estimate(len(points), exposure)
    say(str(estimate), tell)
    arguments = bench.arguments(sample, places=[list(place) for place in places], exposure=exposure, count=count)
    metadata = scan_metadata("background_scan", points, stage, exposure, arguments)
    metadata["time_estimate_s"] = estimate.total_s
    run = series_run(bench, points, exposure, most=len(points), md=metadata | dict(md or {}), purpose="background")
    return (yield from run)
