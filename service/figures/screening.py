"""The cascade of the screening: total and chi^2 of every frame, and how graded edges fare."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from processing.edge_clips import ClipCurve
from service.figures.style import MEASURED, letter, new_figure, save

_COLOURS = {"accepted": "#2ca02c", "background": "#1f77b4", "streak": "#ff7f0e", "low_intensity": "#7f7f7f"}


def draw_cascade(
    path: Path,
    *,
    frame: NDArray[np.integer],
    verdict: NDArray[np.str_],
    total: NDArray[np.integer],
    chi2_ratio: NDArray[np.float64],
    reference_total: float,
    cuts: dict[str, float],
    clips: ClipCurve | None = None,
) -> Path:
    """Draw totals, chi^2 and, where the truth is known, the curve of graded edges.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    frame, verdict, total, chi2_ratio : ndarray, shape (n,)
        Number, category, total counts and chi^2 over its degrees of freedom of every frame.
    reference_total : float
        Total of a good frame.
    cuts : dict
        `intensity_ratio_min`, `background_ratio_max` and `chi2_ratio_max`.
    clips : ClipCurve, optional
        Frames by the part of the beam on silicon; only a simulation knows it.
    """
    figure = new_figure(10.0, 6.4)
    grid = figure.add_gridspec(2, 2, width_ratios=(2.4, 1.0)) if clips is not None else figure.add_gridspec(2, 1)
    above, below = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    _dots(above, frame, total / reference_total, verdict)
    for name, text in (("intensity_ratio_min", "low intensity below"), ("background_ratio_max", "background below")):
        above.axhline(cuts[name], color=MEASURED, linewidth=0.8, linestyle="--")
        above.annotate(
            f"{text} {cuts[name]:g}", (1.0, cuts[name]), xycoords=("axes fraction", "data"), ha="right", va="bottom"
        )
    above.set_ylabel(f"total / reference ({reference_total:.3g} counts)")
    above.set_ylim(bottom=0.0)
    letter(above, "a", "total of every frame")
    _dots(below, frame, chi2_ratio, verdict)
    below.axhline(cuts["chi2_ratio_max"], color=MEASURED, linewidth=0.8, linestyle="--")
    below.annotate(
        f"streak above {cuts['chi2_ratio_max']:g}",
        (1.0, cuts["chi2_ratio_max"]),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
    )
    below.set_yscale("log")
    below.set_xlabel("frame")
    below.set_ylabel("χ² / degrees of freedom")
    letter(below, "b", "χ² on the ring next to the beam stop")
    above.legend(loc="upper left", ncols=4, markerscale=3, columnspacing=1.0, handletextpad=0.2)
    above.set_ylim(top=1.25 * float(np.max(total)) / reference_total)
    if clips is not None:
        _clips(figure.add_subplot(grid[:, 1]), clips)
    return save(figure, path)


def _dots(axes: Axes, frame: NDArray[np.integer], value: NDArray[np.float64], verdict: NDArray[np.str_]) -> None:
    size = 5.0 if frame.size < 3000 else 1.0
    for name, colour in _COLOURS.items():
        mine = (verdict == name) & np.isfinite(value)
        label = f"{name.replace('_', ' ')} {int((verdict == name).sum())}"
        axes.scatter(frame[mine], value[mine], s=size, color=colour, linewidths=0, label=label, rasterized=True)
    axes.set_xlim(0, int(frame.max()) + 1)


def _clips(axes: Axes, clips: ClipCurve) -> None:
    middle = 50.0 * (clips.edges[:-1] + clips.edges[1:])
    width = 95.0 * np.diff(clips.edges)
    axes.bar(middle, 100.0 * np.nan_to_num(clips.kept_fraction), width=width, color=_COLOURS["accepted"])
    for at, kept, frames in zip(middle, clips.kept, clips.frames, strict=True):
        axes.text(at, 103.0, f"{kept}/{frames}", ha="center", va="bottom", rotation=90)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 125)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlabel("part of the beam on silicon (%)")
    axes.set_ylabel("accepted (%)")
    letter(axes, "c", "graded edge clips, kept / frames")
