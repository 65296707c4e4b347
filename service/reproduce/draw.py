"""The figures of one data set, from its findings."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from processing.frame import CATEGORY_NAMES
from processing.geometry import Geometry
from processing.metrics import laid_on_model
from service.figures.image import ImagePanels, draw_image
from service.figures.matrix import draw_matrix
from service.figures.patterns import draw_streaks, draw_sums
from service.figures.profile import Curve, draw_profile
from service.figures.screening import draw_cascade
from service.own_sum import own_sums
from service.reproduce.validate import Findings

_BAR_NM = {"au-sio2": 10.0, "nv-lp": 5.0}


def draw(found: Findings) -> list[Path]:
    """Draw all figures into the folder of the data set, numbered as in the paper where it has them."""
    folder, run = found.acquired.folder, found.run
    geometry = found.sums.geometry.at(found.prepared.center)
    _, seen = found.sums.seen(found.prepared.center)
    gold = run.sample == "au-sio2"
    made = [
        _cascade(folder / "screening.png", found),
        _sums(folder / f"figure_{2 if gold else 7}_sums.png", found, seen, geometry),
        _image(folder / f"figure_{4 if gold else 8}_image.png", found),
        _profile(folder / f"{'figure_5_' if gold else ''}profile_and_prtf.png", found),
    ]
    if found.matrix is not None:
        made.append(draw_matrix(folder / "figure_3_error_matrix.png", found.matrix))
    else:
        made += _streaks(folder / "figure_6_chi2.png", found, seen, geometry)
    return sorted(made)


def _cascade(path: Path, found: Findings) -> Path:
    with h5py.File(found.acquired.result) as file:
        rows = {name: file["entry/frames"][name][()] for name in ("frame", "verdict", "total", "chi2", "dof")}
        screening = json.loads(file["entry/process/configuration"][()])["screening"]
    dof = np.where(rows["dof"] > 0, rows["dof"], 1)
    verdict = np.array(CATEGORY_NAMES)[rows["verdict"]]
    reference = found.acquired.status["reference_total"] or float(np.median(rows["total"][verdict == "accepted"]))
    return draw_cascade(
        path,
        frame=rows["frame"],
        verdict=verdict,
        total=rows["total"],
        chi2_ratio=rows["chi2"] / dof,
        reference_total=float(reference),
        cuts={name: screening[name] for name in ("intensity_ratio_min", "background_ratio_max", "chi2_ratio_max")},
        clips=found.clips,
    )


def _sums(path: Path, found: Findings, seen: NDArray[np.bool_], geometry: Geometry) -> Path:
    """Sums of the first accepted frames; the whole one is the service's own."""
    whole: NDArray[Any] = np.asarray(found.sums.accepted.counts)
    frames = found.sums.accepted.frames
    shown = [(count, total) for count, (total, _) in sorted(found.own_sums.items()) if count < frames]
    return draw_sums(path, [*shown, (frames, whole)], seen, geometry)


def _image(path: Path, found: Findings) -> Path:
    guided, model = found.guided, found.run.model
    assert guided.image is not None
    image, true = laid_on_model(guided.image, guided.pixel_size_m, model)
    prepared = found.prepared
    widths = None
    if found.shell_fit is not None and np.isfinite(found.values["shell_width_nm"]):
        width, off = found.values["shell_width_nm"], found.values["shell_width_true_nm"]
        widths = (width, off)
    panels = ImagePanels(
        amplitude=np.where(prepared.valid, prepared.amplitude, np.nan).astype(np.float64),
        predicted=found.per_electron * np.abs(model.amplitude(found.q_per_m)),
        q_edge_per_nm=1e-9 * np.pi / prepared.pixel_size_m,
        image=1e-21 * image,
        model=1e-21 * true,
        pixel_nm=1e9 * guided.pixel_size_m,
        bar_nm=_BAR_NM[found.run.sample],
        widths_nm=widths,
    )
    return draw_image(path, panels)


def _profile(path: Path, found: Findings) -> Path:
    live, guided = found.live, found.guided
    curves = [Curve(name="independent runs (live image)", q_per_m=live.q_per_m, prtf=live.prtf)]
    if guided.guided_prtf is not None:
        curves.append(
            Curve(
                name="guided replicas: optimistic, they share a template",
                q_per_m=guided.q_per_m,
                prtf=guided.guided_prtf,
                guided=True,
            )
        )
    return draw_profile(path, found.profile, curves, live.resolution_m, live.pixel_size_m)


def _streaks(path: Path, found: Findings, seen: NDArray[np.bool_], geometry: Geometry) -> list[Path]:
    """Three frames: a usual one, the streak nearest to the cut, and the strongest; none where there is no streak."""
    with h5py.File(found.acquired.result) as file:
        rows = {name: file["entry/frames"][name][()] for name in ("frame", "verdict", "chi2", "dof")}
    names = np.array(CATEGORY_NAMES)[rows["verdict"]]
    good, streak = np.flatnonzero(names == "accepted"), np.flatnonzero(names == "streak")
    if not (good.size and streak.size):
        return []
    chi2 = rows["chi2"]
    usual = good[np.argsort(chi2[good])[good.size // 2]]
    chosen = (usual, streak[np.argmin(chi2[streak])], streak[np.argmax(chi2[streak])])
    acquired = found.acquired
    own = own_sums(acquired.truth, acquired.series, [[int(rows["frame"][k])] for k in chosen], acquired.folder)
    frames = [
        (total, float(chi2[k]), int(rows["dof"][k]), str(names[k])) for (total, _), k in zip(own, chosen, strict=True)
    ]
    return [draw_streaks(path, frames, seen, geometry)]
