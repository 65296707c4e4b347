"""The live result as a figure: the sum with rings of q, and the counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from processing.geometry import Geometry
from processing.pooling import pool_max
from service.figures.style import log_map
from service.preview import step_of
from service.result_view import detector_geometry

MAX_SIDE = 1100
"""Pixels of the picture; the brightest pixel of each block is shown, as on the live page."""
SIZE_IN = (9.6, 4.8)
_RINGS = 5
_ALWAYS = ("accepted", "low_intensity", "streak", "background", "gated")


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePicture:
    """What is drawn.

    Attributes
    ----------
    title : str
    counts : ndarray of float32, shape (rows, columns)
        The sum, each value the brightest pixel of a block; NaN where nothing was measured.
    step : int
        Width of a block, px.
    unit : str
        Of the values.
    geometry : Geometry or None
        In pixels of the detector; without it there are no rings.
    frames : mapping of str to int
        Number of frames by category.
    """

    title: str
    counts: NDArray[np.float32]
    step: int = 1
    unit: str = "counts / pixel"
    geometry: Geometry | None = None
    frames: Mapping[str, int]


def picture_of(result: Path, title: str, frames: Mapping[str, int]) -> LivePicture | None:
    """Read a result file; None when there is none, or no frame is in its sum yet."""
    try:
        with h5py.File(result, "r") as file:
            entry = file["entry"]
            summed = int(entry["sum/frames"][()])
            if not summed:
                return None
            total, valid = entry["sum/data"][()], entry["sum/valid"][()]
            geometry = _geometry(entry)
    except (OSError, KeyError):
        return None
    step = step_of(total.shape, MAX_SIDE)
    return LivePicture(
        title=f"{title}\nsum of {summed} frames",
        counts=pool_max(total, valid, step),
        step=step,
        geometry=geometry,
        frames=frames,
    )


def _geometry(entry: h5py.Group) -> Geometry | None:
    try:
        return detector_geometry(entry)
    except (KeyError, ValueError):
        return None


def draw_live(figure: Figure, picture: LivePicture) -> None:
    """Draw into an empty figure."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    log_map(left, picture.counts, label=picture.unit)
    left.set_title(picture.title, loc="left", fontsize="medium")
    if picture.geometry is not None:
        _rings(left, picture, picture.geometry)
    _bars(right, picture.frames)


def _rings(axes: Axes, picture: LivePicture, geometry: Geometry) -> None:
    """Draw circles of equal q at round values, with the period that each stands for."""
    rows, columns = picture.counts.shape
    row, col = ((at - 0.5 * (picture.step - 1)) / picture.step for at in geometry.center)
    reach = max(row, rows - row, col, columns - col) * picture.step
    top = 1e-9 * float(geometry.q_at_radius_per_m(np.array([reach]))[0])
    angle = np.linspace(0.0, 2.0 * np.pi, 361)
    for q in _round_values(top):
        radius = _radius_px(geometry, q * 1e9) / picture.step
        axes.plot(col + radius * np.cos(angle), row + radius * np.sin(angle), color="white", linewidth=0.7, alpha=0.7)
        if radius < columns - col:
            axes.text(
                col + radius, row, f"{q:g}", color="white", fontsize="small", ha="center", va="bottom", clip_on=True
            )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlabel("rings: q (1/nm)")


def _round_values(top: float) -> NDArray[np.float64]:
    """At most five steps of 1, 2 or 5 up to `top`."""
    rough = top / _RINGS
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough)
    values: NDArray[np.float64] = np.arange(step, top, step)
    return values


def _radius_px(geometry: Geometry, q_per_m: float) -> float:
    """Inverse of `Geometry.q_at_radius_per_m`."""
    theta = np.arcsin(q_per_m * geometry.wavelength_m / (4.0 * np.pi))
    return float(np.tan(2.0 * theta) * geometry.distance_m / geometry.pixel_m)


def _bars(axes: Axes, frames: Mapping[str, int]) -> None:
    """Draw the number of frames in each category that has some."""
    shown = {name.replace("_", " "): number for name, number in frames.items() if number or name in _ALWAYS}
    bars = axes.barh(list(shown), list(shown.values()), color="0.45")
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("frames")
    axes.margins(x=0.15)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def show(picture: LivePicture, folder: Path) -> Any:
    """Draw a picture where the person sees it: in a window, in the notebook, or else as a file whose name is said.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib import pyplot as plt
    from matplotlib.backends.registry import BackendFilter, backend_registry

    backend = plt.get_backend().lower()
    windows = {name.lower() for name in backend_registry.list_builtin(BackendFilter.INTERACTIVE)}
    if backend in windows:
        figure = plt.figure("XEDM live", figsize=SIZE_IN, layout="constrained", clear=True)
        draw_live(figure, picture)
        plt.show(block=False)
        return figure
    figure = Figure(figsize=SIZE_IN, layout="constrained", dpi=100)
    draw_live(figure, picture)
    if "inline" not in backend:  # a notebook shows what a cell returns
        path = folder / "live.png"
        figure.savefig(path)
        print(f"no display here: the figure is in {path}")  # noqa: T201 - the answer to who typed live.plot()
    return figure
