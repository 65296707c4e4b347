"""The diagonal of the sum against equation (1), and the transfer function (paper Fig. 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from processing.absolute import Diagonal
from processing.transfer import CUTOFF
from service.figures.style import MEASURED, MODEL, THIRD, letter, new_figure, save


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A transfer function.

    Attributes
    ----------
    name : str
        For the legend.
    q_per_m, prtf : ndarray of float64, shape (m,)
    guided : bool
        Seeds that share a template: the curve is optimistic.
    """

    name: str
    q_per_m: NDArray[np.float64]
    prtf: NDArray[np.float64]
    guided: bool = False


def draw_profile(path: Path, profile: Diagonal, curves: Sequence[Curve], resolution_m: float, pixel_m: float) -> Path:
    """Draw measured and predicted counts without a free scale, their ratio, and the transfer functions.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    profile : Diagonal
    curves : sequence of Curve
    resolution_m : float
        Half-period where the curve of independent runs falls below 1/e.
    pixel_m : float
        Of the image: the edge of the array.
    """
    figure = new_figure(9.6, 4.4)
    grid = figure.add_gridspec(2, 2, height_ratios=(3.0, 1.2))
    above, below = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    _counts(above, profile)
    _ratio(below, profile)
    _transfer(figure.add_subplot(grid[:, 1]), curves, resolution_m, pixel_m)
    return save(figure, path)


def _counts(axes: Axes, profile: Diagonal) -> None:
    axes.errorbar(
        profile.radius_px,
        profile.measured,
        profile.sigma,
        fmt="o",
        markersize=2.5,
        linewidth=0.8,
        color=MEASURED,
        label="sum of the accepted frames",
    )
    for side in (profile.radius_px < 0, profile.radius_px > 0):  # the beam stop lies between
        label = "equation (1) and background, no free scale" if side[-1] else None
        axes.plot(profile.radius_px[side], profile.predicted[side], color=MODEL, linewidth=1.2, label=label)
    axes.set_yscale("log")
    axes.set_ylabel("counts / pixel")
    low, high = float(profile.predicted.min()), float(profile.predicted.max())
    axes.set_ylim(0.5 * low, 20.0 * high)
    axes.legend(frameon=False, loc="upper right")
    letter(axes, "a", "diagonal of the summed pattern")


def _ratio(axes: Axes, profile: Diagonal) -> None:
    clear = profile.clear
    axes.axhspan(0.9, 1.1, color="0.9")
    axes.axhline(1.0, color=MODEL, linewidth=1.0)
    ratio, sigma = profile.measured / profile.predicted, profile.sigma / profile.predicted
    for which, colour in ((~clear, "0.65"), (clear, MEASURED)):
        axes.errorbar(
            profile.radius_px[which], ratio[which], sigma[which], fmt="o", markersize=2, linewidth=0.8, color=colour
        )
    axes.set_ylim(0.8, 1.2)
    axes.set_xlabel("distance from the beam along the diagonal (pixels of 75 µm)")
    axes.set_ylabel("measured /\npredicted")


def _transfer(axes: Axes, curves: Sequence[Curve], resolution_m: float, pixel_m: float) -> None:
    for curve, colour in zip(curves, (MEASURED, THIRD), strict=False):
        style = "--" if curve.guided else "-"
        axes.plot(1e-9 * curve.q_per_m, curve.prtf, style, color=colour, label=curve.name)
    axes.axhline(CUTOFF, color=MODEL, linewidth=1.0)
    axes.annotate("1/e", (0.01, CUTOFF + 0.01), xycoords=("axes fraction", "data"), color=MODEL, va="bottom")
    edge = 1e-9 * np.pi / pixel_m
    axes.axvline(edge, color="0.6", linewidth=0.8, linestyle=":")
    axes.annotate("edge of the array ", (edge, 1.08), ha="right", color="0.4")
    if np.isfinite(resolution_m):
        axes.axvline(1e-9 * np.pi / resolution_m, color="0.3", linewidth=0.8)
        limited = np.nanmin(curves[0].prtf) > CUTOFF
        said = f"above 1/e to the corner, {1e9 * resolution_m:.2f} nm " if limited else f"{1e9 * resolution_m:.2f} nm "
        axes.annotate(said, (1e-9 * np.pi / resolution_m, 0.2), ha="right", color="0.3")
    axes.set_ylim(0.0, 1.15)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("q (1/nm); half-period is π / q")
    axes.set_ylabel("phase-retrieval transfer function")
    axes.legend(frameon=False, loc="lower left")
    letter(axes, "b", "transfer function")
