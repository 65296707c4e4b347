"""Amplitudes and image beside the model (paper Figs. 4 and 8)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from processing.metrics import line_profile
from service.figures.style import MEASURED, MODEL, letter, linear_map, log_map, new_figure, save


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePanels:
    """What the figure shows.

    Attributes
    ----------
    amplitude, predicted : ndarray of float64, shape (n, n)
        Measured amplitude, NaN where missing, and that of equation (1) for the model; square root of counts a pixel.
    q_edge_per_nm : float
        Vector at the middle of their edges.
    image, model : ndarray of float64, shape (m, m)
        Image laid on the model, and the model; 10^3 electrons per nm^2.
    pixel_nm : float
        Their pixel.
    bar_nm : float
        Length of the scale bar.
    widths_nm : tuple of float or None
        Width of the ring of image and model, for a hollow particle.
    """

    amplitude: NDArray[np.float64]
    predicted: NDArray[np.float64]
    q_edge_per_nm: float
    image: NDArray[np.float64]
    model: NDArray[np.float64]
    pixel_nm: float
    bar_nm: float = 10.0
    widths_nm: tuple[float, float] | None = None


def draw_image(path: Path, panels: ImagePanels) -> Path:
    """Draw amplitudes, images and line profiles of one reconstruction and its model."""
    figure = new_figure(10.6, 6.2)
    good = np.isfinite(panels.amplitude) & (panels.amplitude > 0)
    limits = (float(np.percentile(panels.amplitude[good], 0.5)), float(panels.amplitude[good].max()))
    patterns = (("a", "measured amplitude", panels.amplitude), ("d", "model, equation (1)", panels.predicted))
    for place, (name, title, data) in zip((1, 4), patterns, strict=True):
        axes = figure.add_subplot(2, 3, place)
        log_map(axes, data, label="√(counts / pixel)", half=panels.q_edge_per_nm, axis="q (1/nm)", limits=limits)
        letter(axes, name, title)
    top = 1.05 * float(max(panels.image.max(), panels.model.max()))
    images = (("b", "image, guided HIO", panels.image), ("e", "simulated model", panels.model))
    for place, (name, title, data) in zip((2, 5), images, strict=True):
        axes = figure.add_subplot(2, 3, place)
        linear_map(
            axes, data, label="10³ electrons / nm²", limits=(0.0, top), pixel_nm=panels.pixel_nm, bar_nm=panels.bar_nm
        )
        letter(axes, name, f"{title}, {panels.pixel_nm:.2f} nm a pixel")
    for place, name, axis in ((3, "c", 0), (6, "f", 1)):
        axes = figure.add_subplot(2, 3, place)
        _profiles(axes, panels, axis)
        title = f"central {'column' if axis == 0 else 'row'}"
        if panels.widths_nm is not None:
            title += "\n     ring at half height {:.2f} nm, model {:.2f} nm".format(*panels.widths_nm)
        letter(axes, name, title)
    return save(figure, path)


def _profiles(axes: Axes, panels: ImagePanels, axis: int) -> None:
    place = (np.arange(panels.image.shape[0]) - panels.image.shape[0] // 2) * panels.pixel_nm
    axes.plot(place, line_profile(panels.image, axis=axis), "o-", color=MEASURED, markersize=3, label="image")
    axes.plot(place, line_profile(panels.model, axis=axis), "s--", color=MODEL, markersize=3, label="model")
    axes.set_xlabel("distance from the centre (nm)")
    axes.set_ylabel("10³ electrons / nm²")
    axes.legend(frameon=False, loc="upper right" if panels.widths_nm is None else "lower center")
