"""Scan areas that are no rectangle: a polygon, and points listed one by one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plans.trajectory import SLACK, ScanPoint, snake_raster

Corner = tuple[float, float]
"""x and y of a corner or a point, um."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSet:
    """Points in the order of exposure, on no full rectangle.

    Attributes
    ----------
    points : tuple of ScanPoint
    shape_name : str
        What the metadata calls it.
    """

    points: tuple[ScanPoint, ...]
    shape_name: str

    @property
    def x_um(self) -> tuple[float, ...]:
        """Position of each point along x, um."""
        return tuple(point.x_um for point in self.points)

    @property
    def y_um(self) -> tuple[float, ...]:
        """Position of each point along y, um."""
        return tuple(point.y_um for point in self.points)

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[ScanPoint]:
        """Points in the order of exposure."""
        return iter(self.points)


def listed_points(places: Sequence[Corner]) -> PointSet:
    """Points at given places, in the order given.

    Parameters
    ----------
    places : sequence of (x, y)
        um.

    Raises
    ------
    ValueError
        When there is none, or a place is not two finite numbers.

    Examples
    --------
    >>> [(point.index, point.x_um) for point in listed_points([(0, 5), (20, 5)])]
    [(0, 0.0), (1, 20.0)]
    """
    pairs = _pairs(places, "points")
    if not pairs:
        raise ValueError("points must be at least one (x, y) in um, got none")
    found = (ScanPoint(index=i, row=0, column=i, x_um=x, y_um=y) for i, (x, y) in enumerate(pairs))
    return PointSet(points=tuple(found), shape_name="list")


def polygon_points(corners: Sequence[Corner], step: tuple[float, float]) -> PointSet:
    """Raster points inside a polygon or on its border, row by row, every second row backwards.

    The raster begins at the smallest x and the smallest y of the corners, so that a polygon that is a rectangle has the
    points of that rectangle.

    Parameters
    ----------
    corners : sequence of (x, y)
        At least three, um, in order around the polygon; the last one is joined to the first.
    step : (float, float)
        Distance of two points along x and along y, um.

    Raises
    ------
    ValueError
        When the corners enclose nothing, or no point lies inside.

    Examples
    --------
    >>> [(p.x_um, p.y_um) for p in polygon_points([(0, 0), (20, 0), (0, 20)], (10, 10))]
    [(0.0, 0.0), (10.0, 0.0), (20.0, 0.0), (10.0, 10.0), (0.0, 10.0), (0.0, 20.0)]
    """
    pairs = _pairs(corners, "polygon")
    if len(pairs) < 3 or _area(pairs) == 0.0:
        raise ValueError(
            f"polygon must have at least three corners (x, y) in um that enclose an area, got {pairs}; for a single "
            "row of points give a rectangle"
        )
    xs, ys = zip(*pairs, strict=True)
    raster = snake_raster((min(xs), max(xs), step[0]), (min(ys), max(ys), step[1]))
    everywhere = list(raster)
    inside = within(np.array([(p.x_um, p.y_um) for p in everywhere]), np.array(pairs), SLACK * min(step))
    rows: dict[int, list[ScanPoint]] = {}
    for point, is_inside in zip(everywhere, inside.tolist(), strict=True):
        if is_inside:
            rows.setdefault(point.row, []).append(point)
    if not rows:
        raise ValueError(
            f"polygon must hold a point of its raster, got none at a step of {step} um; use a smaller step"
        )
    # Rows without a point do not count for the turn: the stage goes back from where it is.
    ordered = (
        point
        for turn, row in enumerate(rows.values())
        for point in sorted(row, key=lambda p: p.x_um, reverse=turn % 2 == 1)
    )
    found = (ScanPoint(index=i, row=p.row, column=p.column, x_um=p.x_um, y_um=p.y_um) for i, p in enumerate(ordered))
    return PointSet(points=tuple(found), shape_name="polygon")


def within(places: NDArray[np.float64], corners: NDArray[np.float64], slack: float) -> NDArray[np.bool_]:
    """Return which places lie inside a polygon or no further than `slack` from its border.

    Parameters
    ----------
    places : ndarray of float64, shape (n, 2)
        x and y, um.
    corners : ndarray of float64, shape (m, 2)
    slack : float
        um.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    from matplotlib.path import Path

    inside = np.asarray(Path(corners, closed=False).contains_points(places), bool)
    for start, stop in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along, to_place = stop - start, places - start
        length = float(along @ along)
        part = np.clip(to_place @ along / length, 0.0, 1.0) if length > 0.0 else np.zeros(len(places))
        inside |= np.hypot(*(to_place - part[:, None] * along).T) <= slack
    return inside


def near_any(places: Sequence[Corner], others: Sequence[Corner], distance_um: float) -> list[bool]:
    """Whether each place lies within `distance_um` of one of the others.

    Examples
    --------
    >>> near_any([(0, 0), (10, 0)], [(10.1, 0)], 0.2)
    [False, True]
    """
    from scipy.spatial import KDTree

    if not len(others):
        return [False] * len(places)
    nearest, _ = KDTree(np.asarray(_pairs(others, "done"))).query(np.asarray(places, float))
    found: list[bool] = (nearest <= distance_um).tolist()
    return found


def _pairs(places: Sequence[Corner], name: str) -> list[Corner]:
    pairs = []
    for place in places:
        try:
            x, y = (float(value) for value in place)
        except (TypeError, ValueError):
            raise ValueError(f"{name} must hold pairs (x, y) in um, got {place!r} in it") from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"{name} must hold finite positions in um, got ({x}, {y})")
        pairs.append((x, y))
    return pairs


def _area(corners: Sequence[Corner]) -> float:
    """Twice the signed area, um^2."""
    return sum(x * v - u * y for (x, y), (u, v) in zip(corners, [*corners[1:], corners[0]], strict=True))
