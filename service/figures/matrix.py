"""The error matrix of core against shell (paper Fig. 3)."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from processing.error_matrix import ErrorMatrix
from service.figures.style import letter, new_figure, save


def draw_matrix(path: Path, matrix: ErrorMatrix) -> Path:
    """Draw equation (2) for all sizes, with free and with absolute scale, the least cell marked."""
    figure = new_figure(8.4, 3.7)
    top = 100.0 * float(max(matrix.free.max(), matrix.absolute.max()))
    _panel(figure.add_subplot(1, 2, 1), matrix, matrix.free, matrix.minimum, top, ("a", "scale fitted"))
    _panel(
        figure.add_subplot(1, 2, 2),
        matrix,
        matrix.absolute,
        matrix.absolute_minimum,
        top,
        ("b", "absolute scale of equation (1)"),
    )
    return save(figure, path)


def _panel(
    axes: Axes,
    matrix: ErrorMatrix,
    error: NDArray[np.float64],
    least: tuple[float, float, float],
    top: float,
    title: tuple[str, str],
) -> None:
    core, outer = (np.round(1e9 * sizes).astype(int) for sizes in (matrix.core_m, matrix.outer_m))
    image = axes.imshow(100.0 * error, origin="lower", cmap="viridis", vmin=0.0, vmax=top)
    axes.set_xticks(range(len(outer)), [str(size) for size in outer])
    axes.set_yticks(range(len(core)), [str(size) for size in core])
    axes.set_xlabel("outer diameter (nm)")
    axes.set_ylabel("core diameter (nm)")
    for i in range(len(core)):
        for j in range(len(outer)):
            value = 100.0 * error[i, j]
            axes.text(j, i, f"{value:.1f}", ha="center", va="center", color="white" if value < 0.6 * top else "black")
    i, j = int(np.argmin(np.abs(matrix.core_m - least[1]))), int(np.argmin(np.abs(matrix.outer_m - least[2])))
    axes.plot([j], [i], marker="s", markersize=24, markerfacecolor="none", markeredgecolor="#d62728", markeredgewidth=2)
    axes.figure.colorbar(image, ax=axes, label="error of equation (2) (%)")
    letter(axes, title[0], f"{title[1]}: least {100 * least[0]:.1f} %")
