"""Hold one data set against the simulated model and the truth: numbers for the table, arrays for the figures."""

import json
import math
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from processing.absolute import Diagonal, diagonal
from processing.edge_clips import ClipCurve, clip_curve
from processing.error_matrix import ErrorMatrix, error_matrix
from processing.frame import Category
from processing.metrics import compare_to_model, shell_width_m
from processing.prepared import Prepared
from processing.shell_fit import ShellFit, fit_shell
from processing.speckle import bin_radius
from processing.transfer import CUTOFF
from service.config import Settings, parse_pairs
from service.errors import UserError
from service.imaging import ImagingResult
from service.own_sum import own_sums
from service.proof import accepted_frames, confusion_of, screened
from service.reconstruct_file import configured, reconstruct_file
from service.reproduce.acquire import Acquired
from service.reproduce.paper import PaperRun
from service.reproduce.sums import Sums, read_sums

CORES_M, OUTERS_M = np.arange(16, 22) * 1e-9, np.arange(53, 59) * 1e-9
"""The paper's ranges (Fig. 3)."""
GUIDED = {"algorithm": "ghio", "seeds": 100, "generations": 10, "iterations": 300, "best_fraction": 0.2}
"""The paper's method: 100 starts, ten generations, the best 20 % averaged."""
OwnSums = dict[int, tuple[NDArray[np.uint64], NDArray[np.uint32]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveImage:
    """The image of the live service, unguided.

    Attributes
    ----------
    image : ndarray of float32, shape (n, n)
    pixel_size_m : float
    prtf, q_per_m : ndarray of float64, shape (m,)
        Transfer function of independent runs.
    resolution_m : float
    confidence : str
    """

    image: NDArray[np.float32]
    pixel_size_m: float
    prtf: NDArray[np.float64]
    q_per_m: NDArray[np.float64]
    resolution_m: float
    confidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One data set, measured.

    Attributes
    ----------
    acquired : Acquired
    sums : Sums
    own_sums : dict
        Number of frames to the simulation's own sum of the first so many accepted ones, and its excluded pixels.
    prepared : Prepared
        Amplitudes in the paper's binning.
    q_per_m, per_electron : ndarray of float64, shape (n, n)
        Of the prepared array: scattering vector, and the amplitude that equation (1) gives one electron.
    live : LiveImage
    guided : ImagingResult
    matrix : ErrorMatrix or None
        au-sio2 only.
    shell_fit : ShellFit or None
        nv-lp only.
    profile : Diagonal
    clips : ClipCurve
    confusion : dict
        (label, verdict) to frames.
    values : dict
        Every number of the table by its key.
    """

    acquired: Acquired
    sums: Sums
    own_sums: OwnSums
    prepared: Prepared
    q_per_m: NDArray[np.float64]
    per_electron: NDArray[np.float64]
    live: LiveImage
    guided: ImagingResult
    matrix: ErrorMatrix | None
    shell_fit: ShellFit | None
    profile: Diagonal
    clips: ClipCurve
    confusion: dict[tuple[str, str], int]
    values: dict[str, float]

    @property
    def run(self) -> PaperRun:
        """The paper's run."""
        return self.acquired.order.run


def validate(acquired: Acquired, tell: Callable[[str], None]) -> Findings:
    """Reconstruct with guided HIO and measure everything.

    Raises
    ------
    UserError
        When there is no image to measure.
    """
    run = acquired.order.run
    live = _live_image(acquired.result)
    tell("guided HIO ...")
    before = _children_s()
    guided = _guided(acquired)
    guided_s = _children_s() - before
    tell("holding the result against model and truth ...")
    sums = read_sums(acquired.result)
    prepared = sums.prepared(run)
    geometry = sums.geometry.at(prepared.center)
    radius = prepared.bin_px * bin_radius(prepared.amplitude.shape[0])
    q = geometry.q_at_radius_per_m(radius)
    per_electron = np.sqrt(run.photons(1.0, radius, geometry, sums.accepted.frames))
    matrix = shell = None
    if run.sample == "au-sio2":
        matrix = error_matrix(prepared.amplitude, prepared.valid, q, per_electron, core_m=CORES_M, outer_m=OUTERS_M)
    else:
        shell = fit_shell(
            prepared.amplitude,
            prepared.valid,
            q,
            diameter_m=run.model.outer_diameter_m,
            per_electron=per_electron,
        )
    own = _own_sums(acquired)
    counts, seen = sums.seen(prepared.center)
    books = json.loads(acquired.books.read_text(encoding="utf-8"))
    clips, confusion, screened = _screening(acquired.result, books)
    predicted = sums.predicted(run, prepared.center, 1e-9 * acquired.order.spread_nm)
    profile = diagonal(counts, seen, predicted, prepared.center)
    values = {
        **_facts(acquired, sums, own, books),
        **screened,
        **_center(prepared, books),
        **_images(run, live, guided, sums.accepted.frames),
        **({} if matrix is None else _matrix(matrix)),
        **({} if shell is None else _shell(run, guided, shell)),
        "profile_worst": profile.worst,
        "profile_mean": abs(profile.mean),
        "live_s": float(acquired.status["reconstruction"]["seconds"] or math.nan),
        "guided_s": guided_s,
    }
    return Findings(
        acquired=acquired,
        sums=sums,
        own_sums=own,
        prepared=prepared,
        q_per_m=q,
        per_electron=per_electron,
        live=live,
        guided=guided,
        matrix=matrix,
        shell_fit=shell,
        profile=profile,
        clips=clips,
        confusion=confusion,
        values=values,
    )


def _children_s() -> float:
    """Processor seconds of the children that have ended: what else the machine does meanwhile does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _guided(acquired: Acquired) -> ImagingResult:
    """Guided HIO from the result file, on one core."""
    known: dict[str, object] = {**configured(acquired.result), **GUIDED, "timeout_s": 3600.0}
    changes = {f"reconstruction.{name}": value for name, value in known.items()}
    settings = Settings().changed(changes | parse_pairs(acquired.order.settings))
    _, image = reconstruct_file(
        acquired.result, acquired.folder, settings.reconstruction, workers=1, give_up=lambda: False
    )
    if image.image is None:
        raise UserError(f"no image from {acquired.result}: {image.message}; take more frames")
    return image


def _live_image(result: Path) -> LiveImage:
    with h5py.File(result) as file:
        if "entry/reconstruction" not in file:
            raise UserError(f"{result} must hold an image of the live service, got none; take more frames")
        group = file["entry/reconstruction"]
        return LiveImage(
            image=group["image"][()],
            pixel_size_m=float(group["image"].attrs["pixel_size_m"]),
            prtf=group["prtf"][()],
            q_per_m=group["q"][()],
            resolution_m=float(group.attrs["resolution_m"]),
            confidence=str(group.attrs["confidence"]),
        )


def _own_sums(acquired: Acquired) -> OwnSums:
    """Sums of the first so many accepted frames (Figs. 2 and 7), the whole one among them."""
    frames = accepted_frames(acquired.result)
    counts = [len(frames), *(count for count in acquired.order.run.sums_at if count < len(frames))]
    made = own_sums(acquired.truth, acquired.series, [frames[:count] for count in counts], acquired.folder)
    return dict(zip(counts, made, strict=True))


def _facts(acquired: Acquired, sums: Sums, own: OwnSums, books: dict[str, Any]) -> dict[str, float]:
    """Frames, and the exact sum against the simulation's own."""
    frames = accepted_frames(acquired.result)
    total, excluded = own[len(frames)]
    wrong = (sums.accepted.counts != total) | (np.asarray(sums.accepted.excluded) != excluded)
    counts = acquired.status["counts"]
    return {
        "frames": float(sum(entry["sent"] for entry in books["frames"])),
        "lost": float(sum(entry["sent"] for entry in books["frames"]) - counts["received"]),
        "summed": float(len(frames)),
        "sum_wrong_px": float(wrong.sum()),
        **{f"verdict_{name}": float(counts[name]) for name in ("low_intensity", "streak", "background")},
    }


def _screening(result: Path, books: dict[str, Any]) -> tuple[ClipCurve, dict[tuple[str, str], int], dict[str, float]]:
    """Verdicts against labels."""
    with h5py.File(result) as file:
        confusion, clear = confusion_of(file["entry"], books)
        rows = file["entry/frames"]
        verdict = dict(zip(rows["frame"][()].tolist(), rows["verdict"][()].tolist(), strict=True))
    taken = [verdict.get(entry["frame"]) == Category.ACCEPTED for entry in books["frames"]]
    clips = clip_curve([entry["clip"] for entry in books["frames"]], taken)
    found = screened(confusion, clear)
    clipped_kept, clipped = clips.between(0.1, 0.9)
    return (
        clips,
        confusion,
        {
            "good_lost": found.lost / found.good if found.good else math.nan,
            "clear_good_lost": found.clear_lost / found.clear_good if found.clear_good else math.nan,
            "dirty_kept": found.kept / found.dirty if found.dirty else math.nan,
            "clips_kept": clipped_kept / clipped if clipped else math.nan,
        },
    )


def _center(prepared: Prepared, books: dict[str, Any]) -> dict[str, float]:
    true = books["beam_center"]
    return {"center_px": math.hypot(prepared.center[0] - true["true_row"], prepared.center[1] - true["true_col"])}


def _images(run: PaperRun, live: LiveImage, guided: ImagingResult, frames: int) -> dict[str, float]:
    """Scores of both images, and how many wrong ones were not marked."""
    assert guided.image is not None
    of_guided = compare_to_model(guided.image, guided.pixel_size_m, run.model)
    of_live = compare_to_model(live.image, live.pixel_size_m, run.model)
    given = ((of_guided.ssim, guided.figures["confidence"]), (of_live.ssim, live.confidence))
    unmarked = sum(ssim < run.wrong_ssim and confidence == "high" for ssim, confidence in given)
    return {
        "ssim": of_guided.ssim,
        "error": of_guided.error,
        "live_ssim": of_live.ssim,
        "live_error": of_live.error,
        "prtf_nm": 1e9 * live.resolution_m,
        "prtf_limited": float(np.nanmin(live.prtf) > CUTOFF),
        "wrong": float(unmarked) if frames >= run.enough else math.nan,
    }


def _matrix(matrix: ErrorMatrix) -> dict[str, float]:
    error, core, outer = matrix.minimum
    absolute, absolute_core, absolute_outer = matrix.absolute_minimum
    return {
        "matrix": error,
        "matrix_core_nm": 1e9 * core,
        "matrix_outer_nm": 1e9 * outer,
        "matrix_worst_cell": float(matrix.free.max()),
        "matrix_absolute": absolute,
        "matrix_absolute_core_nm": 1e9 * absolute_core,
        "matrix_absolute_outer_nm": 1e9 * absolute_outer,
    }


def _shell(run: PaperRun, guided: ImagingResult, shell: ShellFit) -> dict[str, float]:
    assert guided.image is not None
    true = run.model.projection(guided.pixel_size_m, guided.image.shape[0], 16)
    found = {"shell_fit_nm": 1e9 * shell.thickness_m, "outer_fit_nm": 1e9 * shell.outer_diameter_m}
    try:
        width, true_width = (1e9 * shell_width_m(image, guided.pixel_size_m) for image in (guided.image, true))
    except ValueError:  # no ring to be seen: the rows say so
        width = true_width = math.nan
    return {
        **found,
        "shell_width_nm": width,
        "shell_width_true_nm": true_width,
        "shell_width_off_nm": abs(width - true_width),
    }
