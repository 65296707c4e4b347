"""What a survey has found: a map of the chip, and the areas on it that are worth a scan."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plans.sample_map import WORTH, SampleMap
from plans.series_run import PointOutcome
from plans.shapes import Corner
from plans.trajectory import Raster

SILICON_BELOW, EMPTY_BELOW = 0.3, 0.6
"""Parts of the total of a place with sample: the service's own first and third cut."""
QUICK_SCATTER = 0.3
"""Variance of what one quick frame says of the places about it, see `SampleMap.learn`."""
FINER = 5
"""Areas are drawn on a grid so many times finer than the survey."""
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
    areas : tuple of polygons
        Areas with sample, the largest first, each a tuple of corners (x, y) in um for ``ensemble_scan(polygon=...)``.
        The border runs about half way between a place with sample and one without, within the rectangle.
    """

    rectangle: tuple[float, float, float, float]
    x_um: tuple[float, ...]
    y_um: tuple[float, ...]
    kinds: tuple[tuple[str, ...], ...]
    totals: tuple[tuple[int, ...], ...]
    reference: float
    areas: tuple[tuple[Corner, ...], ...]

    def counts(self) -> dict[str, int]:
        """How many places are of each kind."""
        flat = [kind for row in self.kinds for kind in row]
        return {kind: flat.count(kind) for kind in SIGNS if kind in flat}

    def teach(self, seen: SampleMap) -> None:
        """Tell a map of the sample what the survey has found."""
        _teach(seen, self.x_um, self.y_um, self.kinds)

    def __str__(self) -> str:
        """A letter a place, y upward, then what they mean and the proposed areas."""
        upward = sorted(zip(self.y_um, self.kinds, strict=True), reverse=True)
        rightward = np.argsort(self.x_um)
        lines = [f"{y:8.0f}  {' '.join(SIGNS[row[i]] for i in rightward)}" for y, row in upward]
        counts = ", ".join(f"{SIGNS[kind]} {kind} {number}" for kind, number in self.counts().items())
        lines.append(f"    y/um  x from {min(self.x_um):g} to {max(self.x_um):g} um; {counts}")
        if not self.areas:
            lines.append("no place with sample")
        for number, corners in enumerate(self.areas):
            (x_low, y_low), (x_high, y_high) = np.min(corners, axis=0), np.max(corners, axis=0)
            lines.append(
                f"area {number}: {len(corners)} corners within x {x_low:.0f} to {x_high:.0f}, y {y_low:.0f} to "
                f"{y_high:.0f} um"
            )
        return "\n".join(lines)


def map_of(
    rectangle: tuple[float, float, float, float],
    raster: Raster,
    outcomes: Sequence[PointOutcome],
    reference: float | None = None,
) -> SurveyMap:
    """Make a map of a survey's exposures.

    Parameters
    ----------
    rectangle : tuple of float
        x_start, x_stop, y_start, y_stop, um.
    raster : Raster
        Its places.
    outcomes : sequence of PointOutcome
    reference : float, optional
        Total of a place with sample; found from the totals without it.
    """
    if reference is None:
        reference = reference_total([outcome.total for outcome in outcomes if outcome.verdict != "streak"])
    rows, columns = raster.shape
    kinds = [["unknown"] * columns for _ in range(rows)]
    totals = [[-1] * columns for _ in range(rows)]
    for outcome in outcomes:
        if outcome.total >= 0:
            kinds[outcome.point.row][outcome.point.column] = _kind(outcome, reference)
            totals[outcome.point.row][outcome.point.column] = outcome.total
    frozen = tuple(tuple(row) for row in kinds)
    return SurveyMap(
        rectangle=rectangle,
        x_um=raster.x_um,
        y_um=raster.y_um,
        kinds=frozen,
        totals=tuple(tuple(row) for row in totals),
        reference=reference,
        areas=_areas(rectangle, raster, frozen),
    )


def _areas(
    rectangle: tuple[float, float, float, float], raster: Raster, kinds: tuple[tuple[str, ...], ...]
) -> tuple[tuple[Corner, ...], ...]:
    """Contours of where a frame is rather accepted than not, the largest first; holes in them are left out."""
    from skimage.measure import approximate_polygon, find_contours

    steps = _steps(raster)
    seen = SampleMap(length_um=max(steps))
    _teach(seen, raster.x_um, raster.y_um, kinds)
    if not len(seen):
        return ()
    low, high = np.sort([rectangle[::2], rectangle[1::2]], axis=0)
    flat = 0.5 * (high == low) * np.array(steps)  # a survey of one row is as high as its step
    low, high = low - flat, high + flat
    fine_x, fine_y = _finer(low[0], high[0], steps[0]), _finer(low[1], high[1], steps[1])
    cell = np.array([fine_x[1] - fine_x[0], fine_y[1] - fine_y[0]])
    # Nothing is promised outside, so that contours close.
    promises = np.pad([[seen.promise(x, y) for x in fine_x] for y in fine_y], 1)
    found = []
    for contour in find_contours(promises, 0.5):
        corners = (approximate_polygon(contour, 0.5)[:-1, ::-1] - 1.0) * cell + (fine_x[0], fine_y[0])
        corners = np.clip(corners, low, high)
        x, y = corners.T
        # Contours run one way around what is high, the other way around holes in it.
        area = 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))
        if area > 1e-6:
            found.append((area, tuple((float(x), float(y)) for x, y in np.round(corners, 1))))
    return tuple(polygon for _, polygon in sorted(found, key=lambda one: -one[0]))


def _teach(seen: SampleMap, x_um: Sequence[float], y_um: Sequence[float], kinds: Sequence[Sequence[str]]) -> None:
    for y, row in zip(y_um, kinds, strict=True):
        for x, kind in zip(x_um, row, strict=True):
            if kind in _WORTH:
                seen.learn(x, y, _WORTH[kind], QUICK_SCATTER)


def _steps(raster: Raster) -> tuple[float, float]:
    """Distance of two places along x and y, um; that of the other axis where there is one place only."""
    x, y = (abs(places[1] - places[0]) if len(places) > 1 else 0.0 for places in (raster.x_um, raster.y_um))
    return x or y or 1.0, y or x or 1.0


def _kind(outcome: PointOutcome, reference: float) -> str:
    if outcome.total < SILICON_BELOW * reference:
        return "silicon"
    if outcome.verdict == "streak":
        return "edge"
    return "empty" if outcome.total < EMPTY_BELOW * reference else "sample"


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


def _finer(low: float, high: float, step: float) -> NDArray[np.float64]:
    return np.linspace(low, high, 1 + math.ceil(FINER * (high - low) / step))
