"""A coarse and fast look at a chip: where is sample, where silicon, and which area is worth a scan."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.stage import PiezoStage
from devices.storage_ring import MARGIN_S, StorageRing
from plans.estimate import time_estimate
from plans.metadata import scan_metadata
from plans.plan_type import Plan
from plans.sample_map import WORTH, SampleMap
from plans.series_run import MAX_REPEATS, Bench, Shot, series_run
from plans.shapes import Corner
from plans.trajectory import Raster, snake_raster

STEP_UM = 60.0
EXPOSURE_S = 1.0
SILICON_BELOW, EMPTY_BELOW = 0.3, 0.6
"""Parts of the total of a place with sample: the service's own first and third cut."""
QUICK_SCATTER = 0.3
"""Variance of what one quick frame says of the places about it, see `SampleMap.learn`."""
FINER = 6
"""The window is drawn on a grid so many times finer than the survey."""
COMPANY = 0.05
SIGNS = {"sample": "#", "empty": ".", "silicon": "x", "edge": "/", "unknown": "?"}
_WORTH = {
    "sample": WORTH["accepted"],
    "edge": WORTH["streak"],
    "empty": WORTH["background"],
    "silicon": WORTH["low_intensity"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyMap:
    """What a survey has found; `str()` draws it.

    Attributes
    ----------
    rectangle : tuple of float
        x_start, x_stop, y_start, y_stop as asked for, um; a stop may lie less than a step behind the last place.
    x_um, y_um : tuple of float
        Columns and rows of the survey.
    kinds : tuple of tuple of str
        By row and column: `sample`, `empty` (membrane without particles), `silicon`, `edge` (a streak: edge or dust) or
        `unknown`.
    totals : tuple of tuple of int
        Photons, -1 where unknown.
    reference : float
        Total of a place with sample, NaN when nothing is known.
    """

    rectangle: tuple[float, float, float, float]
    x_um: tuple[float, ...]
    y_um: tuple[float, ...]
    kinds: tuple[tuple[str, ...], ...]
    totals: tuple[tuple[int, ...], ...]
    reference: float

    @property
    def step_um(self) -> tuple[float, float]:
        """Distance of two places along x and y, um; that of the other axis where there is one place only."""
        steps = [abs(places[1] - places[0]) if len(places) > 1 else 0.0 for places in (self.x_um, self.y_um)]
        return steps[0] or steps[1] or STEP_UM, steps[1] or steps[0] or STEP_UM

    def counts(self) -> dict[str, int]:
        """How many places are of each kind."""
        flat = [kind for row in self.kinds for kind in row]
        return {kind: flat.count(kind) for kind in SIGNS if kind in flat}

    def teach(self, seen: SampleMap) -> None:
        """Tell a map of the sample what the survey has found."""
        for y, row in zip(self.y_um, self.kinds, strict=True):
            for x, kind in zip(self.x_um, row, strict=True):
                if kind in _WORTH:
                    seen.learn(x, y, _WORTH[kind], QUICK_SCATTER)

    def areas(self) -> list[list[Corner]]:
        """Convex areas with sample, the largest first, each a polygon for ``ensemble_scan(polygon=...)``.

        The border runs half way between a place with sample and one without, within the rectangle of the survey.

        Returns
        -------
        list of list of (x, y)
            um; empty when there is no sample.
        """
        from scipy.ndimage import label
        from scipy.spatial import ConvexHull

        seen = SampleMap(length_um=max(self.step_um))
        self.teach(seen)
        if not len(seen):
            return []
        x_start, x_stop, y_start, y_stop = self.rectangle
        fine_x, fine_y = _finer(x_start, x_stop, self.step_um[0]), _finer(y_start, y_stop, self.step_um[1])
        worth = np.array([[seen.promise(x, y) for x in fine_x] for y in fine_y]) > 0.5
        parts, number = label(worth)
        found = []
        for part in range(1, number + 1):
            rows, columns = np.nonzero(parts == part)
            centers = np.stack([fine_x[columns], fine_y[rows]], axis=1)
            # Cells have a size: so a single row of them encloses an area, too.
            half = 0.5 * np.array([_spacing(fine_x, self.step_um[0]), _spacing(fine_y, self.step_um[1])])
            corners = np.concatenate([centers + half * sign for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1))])
            hull = ConvexHull(self._clipped(corners, half))
            found.append((hull.volume, [(float(x), float(y)) for x, y in np.round(hull.points[hull.vertices], 3)]))
        return [polygon for _, polygon in sorted(found, key=lambda one: -one[0])]

    def _clipped(self, corners: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corners within what was surveyed; a survey of a single row is as high as its cells."""
        x_start, x_stop, y_start, y_stop = self.rectangle
        low, high = np.sort([[x_start, y_start], [x_stop, y_stop]], axis=0)
        flat = high - low == 0.0
        return np.clip(corners, low - np.where(flat, half, 0.0), high + np.where(flat, half, 0.0))

    def __str__(self) -> str:
        """A letter a place, y upward, then what they mean and the proposed areas."""
        upward = sorted(zip(self.y_um, self.kinds, strict=True), reverse=True)
        rightward = np.argsort(self.x_um)
        lines = [f"{y:8.0f}  {' '.join(SIGNS[row[i]] for i in rightward)}" for y, row in upward]
        counts = ", ".join(f"{SIGNS[kind]} {kind} {number}" for kind, number in self.counts().items())
        lines.append(f"    y/um  x from {min(self.x_um):g} to {max(self.x_um):g} um; {counts}")
        areas = self.areas()
        if not areas:
            lines.append("no place with sample")
        for number, corners in enumerate(areas):
            (x_low, y_low), (x_high, y_high) = np.min(corners, axis=0), np.max(corners, axis=0)
            lines.append(
                f"area {number}: {len(corners)} corners within x {x_low:.0f} to {x_high:.0f}, y {y_low:.0f} to "
                f"{y_high:.0f} um"
            )
        return "\n".join(lines)


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
    step: float | tuple[float, float] = STEP_UM,
    exposure: float = EXPOSURE_S,
    *,
    reference: float | None = None,
    ring: StorageRing | None = None,
    sample: str | None = None,
    margin: float = MARGIN_S,
    max_repeats: int = MAX_REPEATS,
    tell: Callable[[str], object] = print,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Look at a chip coarsely and fast, map its windows from the live totals, and propose areas to scan.

    The map is told (`tell`), returned, and kept for `last_survey()` and `adaptive_scan`.

    Parameters
    ----------
    detectors, stage, x_start, x_stop, y_start, y_stop
        As for `ensemble_scan`.
    step : float or tuple of float
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
    >>> RE(ensemble_scan([eig1m, live], stage, polygon=last_survey().areas()[0], exposure=57))  # doctest: +SKIP
    """
    bench = Bench(detectors=detectors, stage=stage, ring=ring, margin_s=margin, max_repeats=max_repeats)
    x_step, y_step = step if isinstance(step, tuple) else (step, step)
    raster = snake_raster((x_start, x_stop, x_step), (y_start, y_stop, y_step))
    bench.check(exposure, raster)
    estimate = time_estimate(len(raster), exposure, ring=bench.machine, margin=margin)
    tell(str(estimate))
    arguments = {
        "detectors": [device.name for device in detectors],
        "stage": stage.name,
        "x_start": x_start,
        "x_stop": x_stop,
        "y_start": y_start,
        "y_stop": y_stop,
        "step": [x_step, y_step],
        "exposure": exposure,
        "reference": reference,
        "margin": margin,
        "max_repeats": max_repeats,
        "sample": sample,
    }
    metadata = scan_metadata("survey", raster, stage, exposure, arguments) | {"time_estimate_s": estimate.total_s}
    shots: list[Shot] = []
    yield from series_run(bench, raster, exposure, most=len(raster), md=metadata | dict(md or {}), learn=shots.append)
    found = map_of((x_start, x_stop, y_start, y_stop), raster, shots, reference)
    if "unknown" not in found.counts():
        _newest[:] = [found]
    tell(str(found))
    return found


def map_of(
    rectangle: tuple[float, float, float, float],
    raster: Raster,
    shots: Sequence[Shot],
    reference: float | None = None,
) -> SurveyMap:
    """Make a map of a survey's exposures.

    Parameters
    ----------
    rectangle : tuple of float
        x_start, x_stop, y_start, y_stop, um.
    raster : Raster
        Its places.
    shots : sequence of Shot
    reference : float, optional
        Total of a place with sample; found from the totals without it.
    """
    if reference is None:
        reference = reference_total([shot.total for shot in shots if shot.verdict != "streak"])
    rows, columns = raster.shape
    kinds = [["unknown"] * columns for _ in range(rows)]
    totals = [[-1] * columns for _ in range(rows)]
    for shot in shots:
        if shot.total >= 0:
            kinds[shot.point.row][shot.point.column] = _kind(shot, reference)
            totals[shot.point.row][shot.point.column] = shot.total
    return SurveyMap(
        rectangle=rectangle,
        x_um=raster.x_um,
        y_um=raster.y_um,
        kinds=tuple(tuple(row) for row in kinds),
        totals=tuple(tuple(row) for row in totals),
        reference=reference,
    )


def _kind(shot: Shot, reference: float) -> str:
    if shot.total < SILICON_BELOW * reference:
        return "silicon"
    if shot.verdict == "streak":
        return "edge"
    return "empty" if shot.total < EMPTY_BELOW * reference else "sample"


def reference_total(totals: Sequence[int]) -> float:
    """Total of a place with sample: the middle of the brightest totals that have company.

    A few frames brighter than all others hit dust or an edge. When all totals are alike there is no telling silicon
    from sample.

    Parameters
    ----------
    totals : sequence of int

    Returns
    -------
    float
        NaN without a total.

    Examples
    --------
    >>> reference_total([10, 11, 10, 44, 46, 99, 101, 100, 300])
    100.0
    """
    known = np.sort(np.array([total for total in totals if total > 0], float))
    if not known.size:
        return float("nan")
    company = np.searchsorted(known, known, side="right") - np.searchsorted(known, known / 1.25, side="left")
    brightest = known[np.flatnonzero(company >= min(max(2.0, COMPANY * known.size), company.max()))[-1]]
    return float(np.median(known[(known >= brightest / 1.25) & (known <= brightest)]))


def _finer(start: float, stop: float, step: float) -> NDArray[np.float64]:
    low, high = min(start, stop), max(start, stop)
    return np.linspace(low, high, 1 + math.ceil(FINER * (high - low) / step)) if high > low else np.array([low])


def _spacing(fine: NDArray[np.float64], step: float) -> float:
    return float(fine[1] - fine[0]) if len(fine) > 1 else step
