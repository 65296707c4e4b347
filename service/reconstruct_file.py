"""Phase retrieval on a result file, through the same child process as in the live service."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from processing.snapshot import SumSnapshot, Window
from service.config import Reconstruction
from service.errors import UserError
from service.imaging import ImagingError, ImagingJob, ImagingResult, run_imaging
from service.imaging_window import imaging_window
from service.result_view import opened_entry
from service.store import write_image_file


def read_job(result: Path, settings: Reconstruction, workers: int) -> ImagingJob:
    """Make an imaging job of a result file.

    Parameters
    ----------
    result : Path
        NeXus file of the live service or of `xedm reprocess`.
    settings : Reconstruction
    workers : int
        Threads of the phasing; the image is the same for any number.

    Raises
    ------
    UserError
        When the file cannot be read or does not say enough.
    """
    with opened_entry(result) as entry:
        return _job(entry, settings, workers)


def _job(entry: h5py.Group, settings: Reconstruction, workers: int) -> ImagingJob:
    detector = entry["instrument/detector"]
    wavelength = float(entry["instrument/beam/incident_wavelength"][()])
    distance, pixel = float(detector["distance"][()]), float(detector["x_pixel_size"][()])
    place = imaging_window(
        settings,
        center=(float(detector["beam_center_y"][()]), float(detector["beam_center_x"][()])),
        shape=entry["sum/data"].shape,
        wavelength_m=wavelength,
        distance_m=distance,
        pixel_size_m=pixel,
    )
    return ImagingJob(
        accepted=_snapshot(entry["sum"], place.window),
        background=_snapshot(entry["background"], place.window),
        valid=entry["sum/valid"][place.window],
        center=place.center,
        origin=place.origin,
        wavelength_m=wavelength,
        distance_m=distance,
        pixel_size_m=pixel,
        settings=settings.model_dump(),
        final=True,
        workers=workers,
    )


def _snapshot(group: h5py.Group, window: Window) -> SumSnapshot:
    data: np.ndarray[Any, np.dtype[np.uint64]] = group["data"][window]
    return SumSnapshot(data=data, excluded=group["excluded"][window], frames=int(group["frames"][()]))


def configured(result: Path) -> dict[str, Any]:
    """Return the reconstruction settings a result file was made with, as far as this version knows them."""
    try:
        with h5py.File(result) as file:
            stored: dict[str, Any] = json.loads(file["entry/process/configuration"][()])["reconstruction"]
            return {name: value for name, value in stored.items() if name in Reconstruction.model_fields}
    except (OSError, KeyError, ValueError):
        return {}


def reconstruct_file(
    result: Path, output: Path, settings: Reconstruction, *, workers: int, give_up: Callable[[], bool]
) -> tuple[Path, ImagingResult]:
    """Reconstruct and write `<name>_image.nxs` beside the other results; return its path and the image.

    Raises
    ------
    UserError
        When there is no image; the sentence says why.
    """
    job = read_job(result, settings, workers)
    output.mkdir(parents=True, exist_ok=True)
    try:
        image = run_imaging(job, output, settings.timeout_s, give_up)
    except ImagingError as error:
        raise UserError(f"no image from {result}: {error}") from None
    path = output / f"{result.stem}_image.nxs"
    write_image_file(path, image, source=result.name)
    return path, image
