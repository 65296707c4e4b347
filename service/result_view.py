"""What a result file shows: its maps with their scales, and its facts; for exports and the report."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from processing.geometry import Geometry
from service.errors import UserError

What = Literal["sum", "background", "amplitude", "reconstruction"]
WHATS: tuple[What, ...] = get_args(What)


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """One map of a result file.

    Attributes
    ----------
    what : str
    data : ndarray of uint64 or float32, shape (row, col)
        Counts, root of counts, or density.
    valid : ndarray of bool, shape (row, col)
        Where something was measured.
    frames : int
        Frames in it.
    center : tuple of float
        (row, col) of the beam, or of the middle of an image; pixels of this map.
    pixel_size_m : float or None
        Pixel of an image.
    bin_px : int
        Detector pixels along the side of a pixel of a pattern.
    """

    what: What
    data: NDArray[Any]
    valid: NDArray[np.bool_]
    frames: int
    center: tuple[float, float]
    pixel_size_m: float | None = None
    bin_px: int = 1


@contextlib.contextmanager
def opened_entry(result: Path) -> Iterator[h5py.Group]:
    """Open a result file and give its entry.

    Raises
    ------
    UserError
        When there is no such file, it cannot be read, or what is asked of it is not in it.
    """
    if not result.is_file():
        raise UserError(f"result file {result} must exist, got no such file; look at its folder and name")
    try:
        with h5py.File(result) as file:
            yield file["entry"]
    except OSError as error:
        raise UserError(f"result file {result} cannot be read: {str(error).splitlines()[0]}") from None
    except KeyError as error:
        raise UserError(f"result file {result} must be one of XEDM's: {error}") from None


def map_of(entry: h5py.Group, what: What) -> Map:
    """Read one map.

    Raises
    ------
    UserError
        When the file does not hold it.
    """
    group_name = {"amplitude": "prepared"}.get(what, what)
    if group_name not in entry:
        has = ", ".join(one for one in WHATS if {"amplitude": "prepared"}.get(one, one) in entry) or "no map at all"
        raise UserError(
            f"what to show must be in the file, got {what}, and it holds {has}; for an image: xedm reconstruct"
        )
    group = entry[group_name]
    if what == "reconstruction":
        image = group["image"][()]
        middle = (float(image.shape[0] // 2), float(image.shape[1] // 2))
        return Map(
            what=what, data=image, valid=np.isfinite(image), frames=_frames_of_image(entry), center=middle,
            pixel_size_m=float(group["image"].attrs["pixel_size_m"]),
        )  # fmt: skip
    if what == "amplitude":
        amplitude = group["amplitude"][()]
        return Map(
            what=what, data=amplitude, valid=group["valid"][()] == 1, frames=_frames_of_image(entry),
            center=(float(amplitude.shape[0] // 2), float(amplitude.shape[1] // 2)),
            bin_px=int(group.attrs["bin_px"]),
        )  # fmt: skip
    detector = entry["instrument/detector"]
    return Map(
        what=what,
        data=group["data"][()],
        valid=entry["sum/valid"][()] == 1,
        frames=int(group["frames"][()]),
        center=(float(detector["beam_center_y"][()]), float(detector["beam_center_x"][()])),
    )


def _frames_of_image(entry: h5py.Group) -> int:
    return int(entry["prepared"].attrs.get("frames", 0))


def detector_geometry(entry: h5py.Group) -> Geometry:
    """Return the geometry of the detector's pixels, with the beam centre that the screening used.

    Raises
    ------
    KeyError
        When the file does not say distance, wavelength, pixel and centre.
    """
    detector = entry["instrument/detector"]
    return Geometry(
        wavelength_m=float(entry["instrument/beam/incident_wavelength"][()]),
        distance_m=float(detector["distance"][()]),
        pixel_m=float(detector["x_pixel_size"][()]),
        center=(float(detector["beam_center_y"][()]), float(detector["beam_center_x"][()])),
    )


def geometry_of(entry: h5py.Group, shown: Map) -> Geometry | None:
    """Return the geometry of a pattern's pixels; None when the file does not say distance, wavelength and pixel."""
    try:
        geometry = detector_geometry(entry)
    except KeyError:
        return None
    return replace(geometry, pixel_m=geometry.pixel_m * shown.bin_px, center=shown.center)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a result file says about itself in words and numbers.

    Attributes
    ----------
    summary : dict
        Counts, announced frames, reference total, unresolved frames, whether the series had ended.
    configuration : dict
        Complete settings.
    versions : list of dict
        Versions of the settings with the frame from which each applies.
    image : dict
        Attributes of the reconstruction, empty without one.
    warnings : list of str
        What speaks against the image.
    instrument : dict of str to float
        Distance (m), pixel size (m), count time (s), wavelength (m), energy (eV), by NeXus names.
    """

    title: str
    started: str
    ended: str
    program: str
    detector: str
    summary: dict[str, Any]
    configuration: dict[str, Any]
    versions: list[dict[str, Any]]
    image: dict[str, Any]
    prepared: dict[str, Any]
    forecast: dict[str, Any]
    warnings: list[str]
    instrument: dict[str, float]


def facts_of(entry: h5py.Group) -> Facts:
    """Read all facts."""
    process, detector, beam = entry["process"], entry["instrument/detector"], entry["instrument/beam"]

    def text(group: h5py.Group, name: str) -> str:
        return str(group[name].asstr()[()]) if name in group else ""

    def attributes(name: str) -> dict[str, Any]:
        hidden = {"NX_class", "SILX_style", "signal", "axes"}
        return {key: value for key, value in entry[name].attrs.items() if key not in hidden} if name in entry else {}

    image = entry.get("reconstruction")
    return Facts(
        title=text(entry, "title"),
        started=text(entry, "start_time"),
        ended=text(entry, "end_time"),
        program=f"{text(process, 'program')} {text(process, 'version')}",
        detector=text(detector, "description"),
        summary=json.loads(process["summary"][()]),
        configuration=json.loads(process["configuration"][()]),
        versions=json.loads(process["settings_versions"][()]),
        image=attributes("reconstruction"),
        prepared=attributes("prepared"),
        forecast=attributes("snr"),
        warnings=[line for line in text(image, "warnings").splitlines() if line] if image is not None else [],
        instrument={
            name: float(item[()])
            for group in (detector, beam)
            for name, item in group.items()
            if item.shape == () and item.dtype.kind == "f"
        },
    )
