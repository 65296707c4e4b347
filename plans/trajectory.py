"""Where a scan goes: rasters of points in um."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

SLACK = 1e-6
"""Part of a step by which a stop may be missed through rounding and still be a point of the grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPoint:
    """One point of a raster.

    Attributes
    ----------
    index : int
        Order of the exposure, from 0.
    row, column : int
        Place in the raster; rows go with y, columns with x.
    x_um, y_um : float
        Stage position, um.
    """

    index: int
    row: int
    column: int
    x_um: float
    y_um: float


class Trajectory(Protocol):
    """Points in the order of exposure, and the places they take along each axis."""

    @property
    def x_um(self) -> tuple[float, ...]:
        """Places along x, um."""

    @property
    def y_um(self) -> tuple[float, ...]:
        """Places along y, um."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[ScanPoint]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """A rectangle of points, one row after the other, every second row backwards.

    Attributes
    ----------
    x_um, y_um : tuple of float
        Column and row positions, um.
    """

    x_um: tuple[float, ...]
    y_um: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self.y_um), len(self.x_um)

    def __len__(self) -> int:
        return len(self.y_um) * len(self.x_um)

    def __iter__(self) -> Iterator[ScanPoint]:
        """Points in the order of exposure.

        Examples
        --------
        >>> raster = snake_raster((0.0, 10.0, 10.0), (0.0, 5.0, 5.0))
        >>> [(point.x_um, point.y_um) for point in raster]
        [(0.0, 0.0), (10.0, 0.0), (10.0, 5.0), (0.0, 5.0)]
        """
        columns = list(enumerate(self.x_um))
        for row, y in enumerate(self.y_um):
            for place, (column, x) in enumerate(columns if row % 2 == 0 else reversed(columns)):
                yield ScanPoint(index=row * len(columns) + place, row=row, column=column, x_um=x, y_um=y)


def positions(start: float, stop: float, step: float, name: str = "axis") -> tuple[float, ...]:
    """Positions from `start` towards `stop`, both included.

    Parameters
    ----------
    start, stop : float
        Ends, um; `stop` may be below `start`.
    step : float
        Distance of two positions, um, above 0. Where `stop` is not a whole number of steps away, the last position is
        the last whole step before it.
    name : str
        For the message of an error.

    Returns
    -------
    tuple of float
        Each computed as ``start + i * step``, so that rounding does not add up.

    Raises
    ------
    ValueError
        When a number is not finite or `step` is not above 0.

    Examples
    --------
    >>> positions(0.0, 0.3, 0.1)
    (0.0, 0.1, 0.2, 0.3)
    >>> positions(10.0, -10.0, 10.0)
    (10.0, 0.0, -10.0)
    >>> positions(0.0, 25.0, 10.0)
    (0.0, 10.0, 20.0)
    >>> positions(5.0, 5.0, 1.0)
    (5.0,)
    """
    if not (math.isfinite(start) and math.isfinite(stop)):
        raise ValueError(f"start and stop of {name} must be finite, got {start} and {stop} um")
    if not (math.isfinite(step) and step > 0.0):
        raise ValueError(f"step of {name} must be above 0 um, got {step} um; the direction follows from start and stop")
    whole = math.floor(abs(stop - start) / step + SLACK)
    sign = 1.0 if stop >= start else -1.0
    # 12 decimals of a um: finer than any stage, coarser than the rounding of a product.
    return tuple(round(start + sign * i * step, 12) for i in range(whole + 1))


def both_axes(step: float | Sequence[float]) -> tuple[float, float]:
    """Distance of two points along x and along y, from one number or two.

    Raises
    ------
    ValueError
        When there are not one or two numbers.

    Examples
    --------
    >>> both_axes(10), both_axes([6, 18])
    ((10.0, 10.0), (6.0, 18.0))
    """
    pair = tuple(step) if isinstance(step, Sequence) else (step, step)
    if len(pair) != 2:
        raise ValueError(f"step must be one number or (x, y) in um, got {step}")
    return float(pair[0]), float(pair[1])


def snake_raster(x: tuple[float, float, float], y: tuple[float, float, float]) -> Raster:
    """Raster over a rectangle, x fast.

    Parameters
    ----------
    x, y : tuple of float
        (start, stop, step) in um, stop included.

    Raises
    ------
    ValueError
        See `positions`.

    Examples
    --------
    >>> snake_raster((0, 190, 10), (0, 190, 10)).shape
    (20, 20)
    """
    return Raster(x_um=positions(*x, name="x"), y_um=positions(*y, name="y"))
