"""Exposures that differ from point to point: one series for each, since frames of one sum must be alike."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from plans.trajectory import ScanPoint

MOST_EXPOSURES = 20
"""Different exposures of one scan: each takes an arming of its own, some seconds."""

Exposures = float | Sequence[float] | Callable[[float, float], float]
"""s: one for all points, one a point in their order, or a function of x and y in um."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Points that are exposed alike.

    Attributes
    ----------
    exposure_s : float
    points : tuple of ScanPoint
        In the order of the scan.
    """

    exposure_s: float
    points: tuple[ScanPoint, ...]


def batches(points: Iterable[ScanPoint], exposure: Exposures) -> list[Batch]:
    """Sort points by their exposure, the shortest first; the order within one exposure stays.

    The detector takes its count time when it is armed, and the service compares the totals of a series with each other,
    so points with different exposures cannot share a series.

    Parameters
    ----------
    points : iterable of ScanPoint
        All points of the scan: a sequence of exposures is taken by their index.
    exposure : float, sequence of float or callable
        s.

    Raises
    ------
    ValueError
        When an exposure is not above 0, their number does not fit, or too many differ.

    Examples
    --------
    >>> from plans.shapes import listed_points
    >>> made = batches(listed_points([(0, 0), (50, 0), (10, 0)]), lambda x, y: 60.0 if x < 30 else 20.0)
    >>> [(one.exposure_s, [p.index for p in one.points]) for one in made]
    [(20.0, [1]), (60.0, [0, 2])]
    """
    points = list(points)
    found: dict[float, list[ScanPoint]] = {}
    for point, seconds in zip(points, _each(points, exposure), strict=True):
        # To the millisecond: what a function computes must not make a series of every rounding error.
        found.setdefault(round(seconds, 3), []).append(point)
    if len(found) > MOST_EXPOSURES:
        raise ValueError(
            f"exposures of a scan must be at most {MOST_EXPOSURES} different ones, got {len(found)}; each is a series "
            "of its own: round them"
        )
    return [Batch(exposure_s=seconds, points=tuple(found[seconds])) for seconds in sorted(found)]


def _each(points: Sequence[ScanPoint], exposure: Exposures) -> list[float]:
    if callable(exposure):
        given = [float(exposure(point.x_um, point.y_um)) for point in points]
    elif isinstance(exposure, Sequence):
        if len(exposure) != len(points):
            raise ValueError(
                f"exposures must be one for each of the {len(points)} points, got {len(exposure)}; give a single "
                "number for all points alike"
            )
        given = [float(seconds) for seconds in exposure]
    else:
        given = [float(exposure)] * len(points)
    for point, seconds in zip(points, given, strict=True):
        if not (math.isfinite(seconds) and round(seconds, 3) > 0.0):
            raise ValueError(f"exposure must be above 0 s, got {seconds} s for point {point.index}")
    return given
