"""The child process that prepares and phases: `python -m service.imaging_child FOLDER`.

Reads `job.json` and `input.npz`, writes `result.npz` and, last, `result.json`. It opens nothing else.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processing.background import scaled_background
from processing.geometry import Geometry
from processing.prepare import CannotPrepareError, Prepared, PrepareSettings, SummedPattern, prepare
from processing.reconstruct import reconstruct
from processing.reconstruction import CannotReconstructError, PhaseSettings, Reconstruction
from processing.signal_to_noise import SignalToNoise, signal_to_noise

_PREPARE_NAMES = ("width_px", "binning", "reduction", "central_px", "background", "negative", "object_diameter_m")
_PHASE_NAMES = (
    "algorithm",
    "seeds",
    "iterations",
    "generations",
    "best_fraction",
    "beta",
    "support_margin",
    "support",
    "support_threshold",
    "start",
    "seed",
    "object_diameter_m",
)
_FIGURES = (
    "resolution_m",
    "r_factor",
    "seeds_used",
    "seeds_run",
    "family_share",
    "agreement",
    "confidence",
    "object_diameter_m",
    "central_speckles",
)


def main(folder: Path) -> None:
    """Carry out the job in a folder."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "input.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    facts, results = carry_out(job, arrays)
    if results:
        np.savez(folder / "result.npz", allow_pickle=False, **results)
    (folder / "result.json").write_text(json.dumps(facts), encoding="utf-8")


def carry_out(job: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Prepare and phase; return what to say and the arrays.

    Parameters
    ----------
    job : dict
        As `service.imaging.write_job` writes it.
    arrays : dict
        Likewise.

    Returns
    -------
    facts, results : dict
        `facts` holds "refused" when there is nothing to prepare.
    """
    geometry = Geometry(
        wavelength_m=job["wavelength_m"],
        distance_m=job["distance_m"],
        pixel_m=job["pixel_size_m"],
        center=(job["center"][0], job["center"][1]),
    )
    settings = job["settings"]
    try:
        prepared = prepare(
            SummedPattern(counts=arrays["accepted"], frames=job["frames"], excluded=arrays["accepted_excluded"]),
            arrays["valid"] != 0,
            geometry,
            PrepareSettings(**{name: settings[name] for name in _PREPARE_NAMES}),
            background=SummedPattern(
                counts=arrays["background"], frames=job["background_frames"], excluded=arrays["background_excluded"]
            ),
        )
    except CannotPrepareError as error:
        return {"refused": str(error)}, {}
    facts: dict[str, Any] = {"prepared": _facts_of(prepared, job["origin"]), "warnings": list(prepared.warnings)}
    results: dict[str, NDArray[Any]] = {
        "amplitude": prepared.amplitude,
        "amplitude_valid": prepared.valid.astype(np.uint8),
        "prtf": np.zeros(0),
        "q": np.zeros(0),
    }
    noise = _signal_to_noise(job, arrays, prepared, geometry)
    if noise is not None:
        facts["forecast"] = _forecast(noise, settings["wanted_resolution_m"])
        results |= {"snr_q": noise.q_per_m, "snr_correlation": noise.correlation, "snr_snr": noise.snr}
    chosen = PhaseSettings(**{name: settings[name] for name in _PHASE_NAMES}, workers=job["workers"])
    try:
        image = reconstruct(prepared, chosen)
    except CannotReconstructError as error:
        return {**facts, "message": str(error)}, results
    facts |= _facts_of_image(image)
    if image.guided_prtf is not None:
        results["guided_prtf"] = image.guided_prtf
    return facts, results | {"image": image.image, "prtf": image.prtf, "q": image.q_per_m}


def _signal_to_noise(
    job: dict[str, Any], arrays: dict[str, NDArray[Any]], prepared: Prepared, geometry: Geometry
) -> SignalToNoise | None:
    """Compare the halves of the sum, where both hold frames."""
    if "even" not in arrays or not 0 < job["even_frames"] < job["frames"]:
        return None
    rows = slice(job["even_row"], job["even_row"] + len(arrays["even"]))
    center = (prepared.center[0] - rows.start, prepared.center[1])
    valid = arrays["valid"][rows] != 0
    dark = None
    if prepared.background_frames:
        shape = (valid.shape[0], valid.shape[1])
        dark = scaled_background(
            arrays["background"][rows].astype(np.float64),
            valid & (arrays["background_excluded"][rows] == 0),
            geometry.at(center).radius_px(shape),
            ratio=job["frames"] / prepared.background_frames,
        ).expected
    diameter_m = job["settings"]["object_diameter_m"]
    return signal_to_noise(
        SummedPattern(counts=arrays["even"], frames=job["even_frames"]),
        SummedPattern(
            counts=arrays["accepted"][rows], frames=job["frames"], excluded=arrays["accepted_excluded"][rows]
        ),
        valid,
        prepared,
        center,
        dark=dark,
        **({} if diameter_m is None else {"speckle_bins": prepared.speckle_bins(diameter_m)}),
    )


def _forecast(noise: SignalToNoise, wanted_m: float | None) -> dict[str, float | int | None]:
    return {
        "frames": noise.frames,
        "resolution_m": noise.resolution_m if np.isfinite(noise.resolution_m) else None,
        "wanted_resolution_m": wanted_m,
        "frames_needed": None if wanted_m is None else noise.frames_needed(wanted_m),
    }


def _facts_of(prepared: Prepared, origin: list[int]) -> dict[str, float | int]:
    sigma = prepared.center_sigma_px
    return {
        "center_row": prepared.center[0] + origin[0],
        "center_col": prepared.center[1] + origin[1],
        "center_sigma_px": float("nan") if sigma is None else sigma,
        "pixel_size_m": prepared.pixel_size_m,
        "bin_px": prepared.bin_px,
        "central_px": prepared.central_px,
        "frames": prepared.frames,
        "background_frames": prepared.background_frames,
    }


def _facts_of_image(image: Reconstruction) -> dict[str, Any]:
    return {
        "pixel_size_m": image.pixel_size_m,
        "figures": {name: getattr(image, name) for name in _FIGURES},
        "warnings": list(image.warnings),
        "settings": asdict(image.settings),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
