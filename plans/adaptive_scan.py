"""The scan that looks at the live verdicts: it goes where sample is, and ends when there is enough."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from devices.stage import PiezoStage
from devices.storage_ring import MARGIN_S, StorageRing
from plans.ensemble_scan import BEAM_UM
from plans.metadata import scan_metadata
from plans.plan_type import Plan
from plans.sample_map import WORTH, SampleMap
from plans.series_run import MAX_REPEATS, Bench, PointOutcome, series_run
from plans.shapes import Corner, polygon_points
from plans.survey import last_survey
from plans.survey_map import SurveyMap
from plans.tell import Tell, say
from plans.trajectory import ScanPoint, Trajectory, both_axes, snake_raster

PROMISES = (0.7, 0.5, 0.3, 0.2)
"""The scan takes the places that promise as much as this first, then those of the next, and none that promises less."""
ALIKE_STEPS = 4.0
"""Over so many steps places are alike, see `SampleMap`."""

Area = SurveyMap | Sequence[Corner] | tuple[float, float, float, float]


def adaptive_scan(
    detectors: Sequence[Any],
    stage: PiezoStage,
    area: Area | None = None,
    step: float | Sequence[float] | None = None,
    exposure: float | None = None,
    *,
    frames: int | None = None,
    resolution: float | None = None,
    beam: Sequence[float] = BEAM_UM,
    ring: StorageRing | None = None,
    sample: str | None = None,
    margin: float = MARGIN_S,
    max_repeats: int = MAX_REPEATS,
    tell: Tell = None,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Scan where the live verdicts say that sample is, until there are enough frames or the image is sharp enough.

    The area is gone through in a snake. A place whose neighbours were silicon or empty membrane is left out, so a row
    is left where it runs on to silicon; what was left out is come back to as soon as its other neighbours speak for it.
    A point is repeated when its frame was gated or damaged. The scan ends with `frames` accepted frames, at
    `resolution`, or when no place is left that promises anything.

    Parameters
    ----------
    detectors : sequence
        As for `ensemble_scan`; the live service must be running.
    stage : PiezoStage
    area : SurveyMap, polygon or rectangle, optional
        The map of a survey (its whole rectangle is scanned, and what it found is used), corners (x, y) in um, or
        ``(x_start, x_stop, y_start, y_stop)`` in um. The last survey of this session when not given.
    step : float or pair of float, optional
        Distance of two points, um; the size of the beam when not given.
    exposure : float
        Of each point, s.
    frames : int, optional
        Accepted frames that are wanted.
    resolution : float, optional
        Half-period that the live image must reach, m.
    beam, ring, sample, margin, max_repeats, tell, md
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
    >>> RE(survey([eig1m, live], stage, -300, 300, -300, 300))  # doctest: +SKIP
    >>> RE(adaptive_scan([eig1m, live], stage, step=10, exposure=57, frames=500))  # doctest: +SKIP
    """
    bench = Bench(detectors=detectors, stage=stage, ring=ring, margin_s=margin, max_repeats=max_repeats)
    area = last_survey() if area is None else area
    x_step, y_step = both_axes(beam if step is None else step)
    trajectory = _trajectory(area, (x_step, y_step))
    if exposure is None:
        raise ValueError("exposure must be given in s; for example exposure=60")
    _check_aims(frames, resolution)
    bench.check(exposure, trajectory)
    estimate = bench.estimate(min(len(trajectory), frames or len(trajectory)), exposure)
    say(f"At least, unless it ends earlier: {estimate}", tell)
    arguments = bench.arguments(
        sample,
        area="survey" if isinstance(area, SurveyMap) else _plain(area),
        step=[x_step, y_step],
        exposure=exposure,
        frames=frames,
        resolution=resolution,
    )
    metadata = scan_metadata("adaptive_scan", trajectory, stage, exposure, arguments)
    metadata["time_estimate_s"] = estimate.total_s
    guide = Guide(list(trajectory), length_um=ALIKE_STEPS * math.sqrt(x_step * y_step), frames=frames,
                  resolution_m=resolution)  # fmt: skip
    if isinstance(area, SurveyMap):
        area.teach(guide.seen)
    uid = yield from series_run(
        bench, guide.points(), exposure, most=len(trajectory), md=metadata | dict(md or {}), learn=guide.learn
    )
    say(guide.outcome(), tell)
    return uid


class Guide:
    """Says which point comes next, from what has been seen so far.

    Parameters
    ----------
    points : sequence of ScanPoint
        All there are, in the order of the scan.
    length_um : float
        See `SampleMap`.
    frames : int or None
        Accepted frames that are wanted.
    resolution_m : float or None
        Resolution that is wanted.
    """

    def __init__(
        self, points: Sequence[ScanPoint], *, length_um: float, frames: int | None, resolution_m: float | None
    ) -> None:
        self.seen = SampleMap(length_um)
        self.taken: set[int] = set()
        self._points, self._frames, self._resolution_m = points, frames, resolution_m
        self._accepted, self._resolution = 0, math.nan

    def points(self) -> Iterator[ScanPoint]:
        """Points in the order in which they are worth it; ends when there is enough, or none is worth it any more."""
        for least in PROMISES:
            before = -1
            while before != len(self.taken):
                before = len(self.taken)
                for point in self._points:
                    if self.enough():
                        return
                    if point.index not in self.taken and self.seen.promise(point.x_um, point.y_um) >= least:
                        self.taken.add(point.index)
                        yield point

    def learn(self, outcome: PointOutcome) -> None:
        """Take note of what the service said of a point."""
        if (worth := WORTH.get(outcome.verdict)) is not None:
            self.seen.learn(outcome.point.x_um, outcome.point.y_um, worth)
        self._accepted, self._resolution = outcome.accepted, outcome.resolution_m

    def enough(self) -> bool:
        """Whether what was wanted has been reached."""
        if self._frames is not None and self._accepted >= self._frames:
            return True
        return self._resolution_m is not None and self._resolution <= self._resolution_m  # false for NaN

    def outcome(self) -> str:
        """Say how it ended, and what was spared."""
        text = f"{len(self.taken)} of {len(self._points)} points were exposed, {self._accepted} frames accepted"
        if math.isfinite(self._resolution):
            text += f", resolution {1e9 * self._resolution:.2f} nm"
        if (self._frames is not None or self._resolution_m is not None) and not self.enough():
            text += "; what was wanted is not reached, but no point is left that promises sample: scan another area"
        return text


def _trajectory(area: Area, step: tuple[float, float]) -> Trajectory:
    if isinstance(area, SurveyMap):
        return _rectangle(area.rectangle, step)
    if len(area) == 4 and all(isinstance(side, int | float) for side in area):
        return _rectangle(area, step)  # type: ignore[arg-type]
    return polygon_points(area, step)  # type: ignore[arg-type]


def _rectangle(sides: tuple[float, float, float, float], step: tuple[float, float]) -> Trajectory:
    x_start, x_stop, y_start, y_stop = sides
    return snake_raster((x_start, x_stop, step[0]), (y_start, y_stop, step[1]))


def _plain(area: Collection[Any]) -> list[Any]:
    return [list(item) if isinstance(item, tuple | list) else item for item in area]


def _check_aims(frames: int | None, resolution: float | None) -> None:
    if frames is not None and frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    if resolution is not None and not 0.0 < resolution < 1e-6:
        raise ValueError(f"resolution must be above 0 and below 1e-6 m, got {resolution}; 4 nm is 4e-9")
