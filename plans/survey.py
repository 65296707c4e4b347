"""A coarse and fast look at a chip: where is sample, where silicon, and which area is worth a scan."""

from collections.abc import Mapping, Sequence
from typing import Any

from devices.stage import PiezoStage
from devices.storage_ring import MARGIN_S, StorageRing
from plans.metadata import scan_metadata
from plans.plan_type import Plan
from plans.series_run import MAX_REPEATS, Bench, PointOutcome, series_run
from plans.survey_map import SurveyMap, map_of
from plans.tell import Tell, say
from plans.trajectory import both_axes, snake_raster

STEP_UM = 60.0
EXPOSURE_S = 1.0
_newest: list[SurveyMap] = []


def last_survey() -> SurveyMap:
    """Return what the last survey of this session has found.

    Raises
    ------
    ValueError
        When there has been none.
    """
    if not _newest:
        raise ValueError("a survey must come first, got none in this session; run survey(...), or give the area")
    return _newest[-1]


def survey(
    detectors: Sequence[Any],
    stage: PiezoStage,
    x_start: float,
    x_stop: float,
    y_start: float,
    y_stop: float,
    step: float | Sequence[float] = STEP_UM,
    exposure: float = EXPOSURE_S,
    *,
    reference: float | None = None,
    ring: StorageRing | None = None,
    sample: str | None = None,
    margin: float = MARGIN_S,
    max_repeats: int = MAX_REPEATS,
    tell: Tell = None,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Look at a chip coarsely and fast, map its windows from the live totals, and propose areas to scan.

    The map is told (`tell`), returned, and kept for `last_survey()` and `adaptive_scan`.

    Parameters
    ----------
    detectors, stage, x_start, x_stop, y_start, y_stop
        As for `ensemble_scan`.
    step : float or pair of float
        Distance of two places, um; half a window or less.
    exposure : float
        Of each place, s.
    reference : float, optional
        Total of a place with sample at this exposure; found from the survey's own totals without it, which takes some
        places with sample.
    ring, sample, margin, max_repeats, tell, md
        As for `ensemble_scan`.

    Returns
    -------
    SurveyMap

    Raises
    ------
    ValueError, ophyd.utils.LimitError, PointError
        As `ensemble_scan`.

    Examples
    --------
    >>> RE(survey([eig1m, live], stage, -300, 300, -300, 300))  # doctest: +SKIP
    >>> RE(ensemble_scan([eig1m, live], stage, polygon=last_survey().areas[0], exposure=57))  # doctest: +SKIP
    """
    bench = Bench(detectors=detectors, stage=stage, ring=ring, margin_s=margin, max_repeats=max_repeats)
    x_step, y_step = both_axes(step)
    raster = snake_raster((x_start, x_stop, x_step), (y_start, y_stop, y_step))
    bench.check(exposure, raster)
    estimate = bench.estimate(len(raster), exposure)
    say(str(estimate), tell)
    arguments = bench.arguments(
        sample,
        x_start=x_start,
        x_stop=x_stop,
        y_start=y_start,
        y_stop=y_stop,
        step=[x_step, y_step],
        exposure=exposure,
        reference=reference,
    )
    metadata = scan_metadata("survey", raster, stage, exposure, arguments) | {"time_estimate_s": estimate.total_s}
    outcomes: list[PointOutcome] = []
    yield from series_run(
        bench, raster, exposure, most=len(raster), md=metadata | dict(md or {}), learn=outcomes.append
    )
    found = map_of((x_start, x_stop, y_start, y_stop), raster, outcomes, reference)
    if "unknown" not in found.counts():
        _newest[:] = [found]
    say(str(found), tell)
    return found
