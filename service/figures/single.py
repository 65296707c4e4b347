"""One map or one pair of curves a figure, for exports and the report."""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from processing.geometry import Geometry
from processing.transfer import CUTOFF
from service.figures.style import MEASURED, MODEL, THIRD, linear_map, log_map, new_figure, save

SIDE_IN = 4.4
"""Height of a square figure; smaller ones have relatively larger letters."""


def draw_pattern(
    path: Path,
    values: NDArray[np.floating],
    *,
    label: str,
    title: str = "",
    geometry: Geometry | None = None,
    step: int = 1,
    side_in: float = SIDE_IN,
) -> Path:
    """Draw a pattern on a logarithmic scale, with q along both axes where the geometry is known.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    values : ndarray, shape (rows, cols)
        Counts or their root; NaN where nothing was measured.
    label : str
        Of the colour bar.
    geometry : Geometry, optional
        Of the pixels before `step` of them were put together.
    step : int
        How many pixels along a side one value stands for.
    """
    rows, cols = values.shape
    figure, axes = _map_figure(values.shape, title, side_in)
    known = values[np.isfinite(values) & (values > 0)]
    # A bright ring about the beam stop would else take all colours; what is brighter shows as the brightest.
    limits = (float(np.percentile(known, 1)), float(np.percentile(known, 99.95))) if known.size else None
    if geometry is None:
        log_map(axes, values, label=label, limits=limits)
    else:
        per_px = 1e-9 * 2.0 * math.pi / geometry.field_m
        row, col = geometry.center
        extent = (
            (-0.5 - col) * per_px,
            (cols * step - 0.5 - col) * per_px,
            (rows * step - 0.5 - row) * per_px,
            (-0.5 - row) * per_px,
        )
        log_map(axes, values, label=label, extent=extent, axis="q (1/nm)", limits=limits)
    return save(figure, path)


def draw_density(
    path: Path, image: NDArray[np.floating], *, pixel_m: float, title: str = "", side_in: float = SIDE_IN
) -> Path:
    """Draw a reconstruction on a linear scale with a scale bar.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    image : ndarray, shape (n, m)
    pixel_m : float
        Pixel of the image in m.
    """
    figure, axes = _map_figure(image.shape, title, side_in)
    pixel_nm = 1e9 * pixel_m
    limits = (min(0.0, float(image.min())), float(image.max()) or 1.0)
    linear_map(
        axes,
        image,
        label="density (a.u.)",
        limits=limits,
        pixel_nm=pixel_nm,
        bar_nm=round_length(0.3 * image.shape[0] * pixel_nm),
    )
    return save(figure, path)


def _map_figure(shape: tuple[int, ...], title: str, side_in: float) -> tuple[Figure, Axes]:
    """Return a figure for a map of (rows, cols), with its title."""
    rows, cols = shape
    figure = new_figure(side_in * 1.18, side_in * min(2.0, max(0.5, rows / cols)))
    axes = figure.add_subplot()
    if title:
        axes.set_title(title, loc="left")
    return figure, axes


def draw_quality(
    path: Path,
    *,
    prtf: tuple[NDArray[np.floating], NDArray[np.floating]] | None,
    snr: tuple[NDArray[np.floating], NDArray[np.floating]] | None,
    resolution_m: float = math.nan,
    side_in: float = SIDE_IN,
) -> Path:
    """Draw the transfer function and the signal to noise of the sum against q.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    prtf, snr : (q in 1/m, values), each of shape (m,), or None
    resolution_m : float
        Where the transfer function falls below 1/e, as a half-period.
    """
    figure = new_figure(side_in * 1.18, side_in)
    count = (prtf is not None) + (snr is not None)
    place = 0
    if prtf is not None:
        place += 1
        axes = figure.add_subplot(count, 1, place)
        axes.plot(1e-9 * prtf[0], prtf[1], color=MEASURED)
        axes.axhline(CUTOFF, color=MODEL, linewidth=1.0)
        axes.annotate("1/e", (0.99, CUTOFF), xycoords=("axes fraction", "data"), color=MODEL, va="bottom", ha="right")
        if math.isfinite(resolution_m):
            edge = 1e-9 * math.pi / resolution_m
            axes.axvline(edge, color="0.5", linewidth=0.8, linestyle=":")
            axes.annotate(f"{1e9 * resolution_m:.1f} nm ", (edge, 0.06), ha="right", color="0.35")
        axes.set_ylim(0.0, 1.1)
        axes.set_xlim(left=0.0)
        axes.set_ylabel("transfer function")
        axes.set_title("what of the image is the same in all runs", loc="left")
    if snr is not None:
        place += 1
        axes = figure.add_subplot(count, 1, place)
        known = np.isfinite(snr[1]) & (snr[1] > 0)
        axes.semilogy(1e-9 * snr[0][known], snr[1][known], color=THIRD)
        axes.axhline(1.0, color=MODEL, linewidth=1.0)
        axes.set_xlim(left=0.0)
        axes.set_ylabel("signal to noise")
        axes.set_title("of a bin of the sum", loc="left")
    if count:
        axes.set_xlabel("q (1/nm); half-period is π / q")
    return save(figure, path)


def round_length(about: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is at most `about`.

    Examples
    --------
    >>> [round_length(about) for about in (78.0, 30.0, 0.19)]
    [50.0, 20.0, 0.1]
    """
    power = 10.0 ** math.floor(math.log10(about))
    return max(factor * power for factor in (1.0, 2.0, 5.0) if factor * power <= about)
