"""What all figures share: size, letters of panels, logarithmic maps with a colour bar, a scale bar.

Drawn on matplotlib's object interface alone: nothing is global, no window is ever opened.
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

DPI = 160
MEASURED, MODEL, THIRD = "black", "#d62728", "#1f77b4"
_FONT = 8.0


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure that lays its panels out itself."""
    return Figure(figsize=(width_in, height_in), layout="constrained", dpi=DPI)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure with one size of letters everywhere."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontsize(_FONT)
    figure.savefig(path)
    return path


def letter(axes: Axes, name: str, title: str = "") -> None:
    """Put "(a) title" above a panel."""
    axes.set_title(f"({name}) {title}".rstrip(), loc="left")


def log_map(
    axes: Axes,
    data: NDArray[Any],
    *,
    label: str,
    half: float | None = None,
    axis: str = "",
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw a map on a logarithmic scale with its colour bar; what is not positive or not known is grey.

    Parameters
    ----------
    axes : Axes
    data : ndarray, shape (n, n)
        NaN where unknown; zero counts as below the scale.
    label : str
        Of the colour bar, with its unit.
    half : float, optional
        Half width of the map in units of `axis`; without it no ticks are drawn.
    axis : str
        Label of both axes, with its unit.
    limits : tuple of float, optional
        Of the colours.
    """
    values = data.astype(np.float64)
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = limits or ((float(positive.min()), float(positive.max())) if positive.size else (0.1, 1.0))
    shown = np.where(np.isfinite(values), np.maximum(values, low), np.nan)
    extent = None if half is None else (-half, half, half, -half)
    image = axes.imshow(shown, norm=LogNorm(low, max(high, 1.001 * low)), cmap=_map("inferno"), extent=extent)
    _frame(axes, image, label, axis, ticks=half is not None)


def linear_map(
    axes: Axes, data: NDArray[Any], *, label: str, limits: tuple[float, float], pixel_nm: float, bar_nm: float
) -> None:
    """Draw a real-space image with its colour bar and a scale bar."""
    half = 0.5 * pixel_nm * data.shape[0]
    image = axes.imshow(data, vmin=limits[0], vmax=limits[1], cmap=_map("gray"), extent=(-half, half, half, -half))
    left, low = -0.9 * half, 0.84 * half
    axes.plot([left, left + bar_nm], [low, low], color="white", linewidth=3, solid_capstyle="butt")
    axes.text(left + bar_nm / 2, low - 0.05 * half, f"{bar_nm:g} nm", color="white", ha="center", va="bottom")
    _frame(axes, image, label, "", ticks=False)


def _map(name: str) -> Any:
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad="0.55")


def _frame(axes: Axes, image: Any, label: str, axis: str, *, ticks: bool) -> None:
    axes.figure.colorbar(image, ax=axes, label=label, shrink=0.82, pad=0.03)
    if not ticks:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_xlabel(axis)
    axes.set_ylabel(axis)
