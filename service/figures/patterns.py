"""Summed patterns after more and more frames (paper Figs. 2 and 7), and single frames with a streak (Fig. 6)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processing.geometry import Geometry
from service.figures.style import letter, log_map, new_figure, save

_AXIS = "q (1/nm)"
_NEAR_PX = 110
"""Half of the part about the beam that is shown of a single frame."""


def draw_sums(
    path: Path, sums: Sequence[tuple[int, NDArray[Any]]], valid: NDArray[np.bool_], geometry: Geometry
) -> Path:
    """Draw the sums after some numbers of frames, each on its own logarithmic scale.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    sums : sequence of (frames, counts)
        Counts, shape (rows, cols).
    valid : ndarray of bool, shape (rows, cols)
        Pixels with data outside the beam stop.
    geometry : Geometry
        With the true centre.
    """
    columns = min(3, len(sums))
    rows = -(-len(sums) // columns)
    figure = new_figure(3.3 * columns, 2.9 * rows)
    half_px = _half_px(geometry, valid.shape)
    half = 1e-9 * float(geometry.q_at_radius_per_m(np.array([half_px]))[0])
    for index, (frames, counts) in enumerate(sums):
        axes = figure.add_subplot(rows, columns, index + 1)
        shown = _about(np.where(valid, counts, np.nan), geometry.center, half_px)
        top = float(np.nanmax(shown))
        log_map(axes, shown, label="counts / pixel", half=half, axis=_AXIS, limits=(0.8, max(top, 2.0)))
        letter(axes, "abcdefghi"[index], f"{frames:,} frame{'s' if frames > 1 else ''}".replace(",", " "))
    return save(figure, path)


def draw_streaks(
    path: Path,
    frames: Sequence[tuple[NDArray[Any], float, int, str]],
    valid: NDArray[np.bool_],
    geometry: Geometry,
) -> Path:
    """Draw single frames about the beam with their chi^2.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    frames : sequence of (counts, chi2, dof, verdict)
        Counts, shape (rows, cols).
    valid : ndarray of bool, shape (rows, cols)
        Pixels with data outside the beam stop.
    geometry : Geometry
        With the true centre.
    """
    figure = new_figure(3.4 * len(frames), 3.0)
    half = 1e-9 * float(geometry.q_at_radius_per_m(np.array([float(_NEAR_PX)]))[0])
    shown = [_about(np.where(valid, counts, np.nan), geometry.center, _NEAR_PX) for counts, *_ in frames]
    top = max(float(np.nanmax(one)) for one in shown)
    for index, (one, (_, chi2, dof, verdict)) in enumerate(zip(shown, frames, strict=True)):
        axes = figure.add_subplot(1, len(frames), index + 1)
        log_map(axes, one, label="counts / pixel", half=half, axis=_AXIS, limits=(0.8, top))
        letter(axes, "abcdefghi"[index], f"{verdict}: χ² = {chi2:.0f}\n     of {dof} degrees of freedom")
    return save(figure, path)


def _half_px(geometry: Geometry, shape: tuple[int, ...]) -> int:
    sides = [min(at, size - 1 - at) for at, size in zip(geometry.center, shape, strict=True)]
    return int(min(sides))


def _about(data: NDArray[np.float64], center: tuple[float, float], half_px: int) -> NDArray[np.float64]:
    row, col = round(center[0]), round(center[1])
    return data[max(0, row - half_px) : row + half_px + 1, max(0, col - half_px) : col + half_px + 1]
