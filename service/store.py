"""Write the result of a series: one NeXus file, whole or not at all."""

import io
import json
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from processing.frame import CATEGORY_NAMES, SeriesHeader
from processing.snapshot import SumSnapshot
from service.imaging import ImagingResult
from service.ledger import LedgerRows
from service.ledger_file import SUFFIX, header_facts
from service.whole_file import written_whole

_CHUNK_BYTES = 1 << 20
_LOG = {"SILX_style": json.dumps({"signal_scale_type": "log"})}
"""How silx and h5web begin to show a pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFile:
    """Everything a result file holds, frozen at one moment.

    Attributes
    ----------
    beam_center : tuple of float
        (row, column) used for the screening, px.
    settings_versions : list of dict
        Every version of the settings with the frame from which it applies.
    timings : dict
        Seconds by what took them, and UTC moments.
    """

    header: SeriesHeader
    valid: NDArray[np.uint8]
    accepted: SumSnapshot
    background: SumSnapshot
    ledger: LedgerRows
    beam_center: tuple[float, float]
    imaging: ImagingResult | None = None
    configuration: dict[str, Any] = field(default_factory=dict)
    settings_versions: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)


def free_path(directory: Path, series: int, taken: Collection[Path] = ()) -> Path:
    """Return `series_<id>.nxs`, or with `_2`, `_3`, ... where that name is taken or promised."""
    path, count = directory / f"series_{series}.nxs", 1
    while path.exists() or path.with_suffix(SUFFIX).exists() or path in taken:
        count += 1
        path = directory / f"series_{series}_{count}.nxs"
    return path


def write_series_file(path: Path, content: SeriesFile) -> None:
    """Write the file aside, sync it and give it its name.

    Raises
    ------
    OSError
        When the disk refuses; the old file, if any, is as it was.
    """
    write_whole(path, lambda file: _fill(file, path.name, content))


def write_image_file(path: Path, imaging: ImagingResult, source: str) -> None:
    """Write prepared amplitudes and image of a result file into a file of their own.

    Raises
    ------
    OSError
        When the disk refuses.
    """

    def fill(file: h5py.File) -> None:
        entry = _entry(file, path.name)
        entry["title"] = f"reconstruction from {source}"
        entry.attrs["default"] = "prepared" if imaging.image is None else "reconstruction"
        _imaging(entry, imaging)

    write_whole(path, fill)


def write_whole(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Write an HDF5 file that is whole under its name or not there."""
    # In memory first: HDF5 cannot close a file that the disk does not take, and what it leaves behind then ends the
    # process at the next touch.
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        fill(file)
    with written_whole(path) as written:
        written.write(image.getbuffer())


def _entry(file: h5py.File, name: str) -> h5py.Group:
    """Say at the root what the file is and who wrote it; return the one entry."""
    file.attrs.update(
        {
            "NX_class": "NXroot",
            "default": "entry",
            "file_name": name,
            "file_time": datetime.now(UTC).isoformat(timespec="seconds"),
            "creator": "xedm",
            "creator_version": version("xedm"),
            "HDF5_Version": h5py.version.hdf5_version,
            "h5py_version": h5py.version.version,
        }
    )
    return _group(file, "entry", "NXentry")


def _fill(file: h5py.File, name: str, content: SeriesFile) -> None:
    entry = _entry(file, name)
    entry.attrs["default"] = "sum"
    entry["title"] = f"X-ray ensemble diffraction microscopy, series {content.header.series}"
    entry["start_time"] = str(content.timings.get("started", ""))
    entry["end_time"] = str(content.timings.get("written", ""))
    _sum(entry, "sum", content.accepted, content.valid, "summed pattern of the accepted frames")
    _sum(entry, "background", content.background, None, "summed pattern of the background frames")
    _frames(entry, content.ledger)
    _instrument(entry, content)
    if content.imaging is not None:
        _imaging(entry, content.imaging)
    _process(entry, content)
    for number, remark in enumerate(content.summary.get("notes", []), 1):
        note = _group(entry, f"note_{number}", "NXnote")
        note["date"], note["type"], note["description"] = remark["when"], "text/plain", remark["text"]


def _group(parent: h5py.Group, name: str, nx_class: str, **attributes: Any) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    for key, value in attributes.items():
        group.attrs[key] = value
    return group


def _sum(entry: h5py.Group, name: str, part: SumSnapshot, valid: NDArray[np.uint8] | None, title: str) -> None:
    group = _group(entry, name, "NXdata", signal="data", axes=[".", "."], **_LOG)
    group["title"] = title
    data = _compressed(group, "data", part.data)
    data.attrs.update({"units": "counts", "long_name": "counts", "interpretation": "image"})
    if valid is not None:
        _compressed(group, "valid", valid).attrs["long_name"] = "1 where the pixel is in the static mask"
    _compressed(group, "excluded", part.excluded).attrs["long_name"] = "frames in which the pixel added nothing"
    group.create_dataset("frames", data=np.uint64(part.frames))


def _frames(entry: h5py.Group, ledger: LedgerRows) -> None:
    group = _group(entry, "frames", "NXdata", signal="total", axes="frame")
    group["title"] = "total of each frame"
    for name, column in ledger.columns.items():
        group.create_dataset(name, data=column)
    group["verdict"].attrs["names"] = list(CATEGORY_NAMES)
    group["total"].attrs["units"] = "counts"
    for name in ("x", "y"):
        group[name].attrs["units"] = "um"


def _instrument(entry: h5py.Group, content: SeriesFile) -> None:
    header = content.header
    instrument = _group(entry, "instrument", "NXinstrument")
    detector = _group(instrument, "detector", "NXdetector")
    row, col = content.beam_center
    values = {
        "beam_center_x": (col, "pixel"),
        "beam_center_y": (row, "pixel"),
        "distance": (header.distance_m, "m"),
        "x_pixel_size": (header.pixel_size_m, "m"),
        "y_pixel_size": (header.pixel_size_m, "m"),
        "count_time": (header.count_time_s, "s"),
        "frame_time": (header.frame_time_s, "s"),
    }
    for name, (value, units) in values.items():
        if value is not None:
            detector.create_dataset(name, data=float(value)).attrs["units"] = units
    detector["description"] = str(header.config.get("description", "unknown"))
    beam = _group(instrument, "beam", "NXbeam")
    if header.wavelength_m is not None:
        beam.create_dataset("incident_wavelength", data=header.wavelength_m).attrs["units"] = "m"
    if header.photon_energy_ev is not None:
        beam.create_dataset("incident_energy", data=header.photon_energy_ev).attrs["units"] = "eV"


def _imaging(entry: h5py.Group, imaging: ImagingResult) -> None:
    prepared = _group(entry, "prepared", "NXdata", signal="amplitude", axes=["qy", "qx"], **_LOG)
    prepared["title"] = "amplitude given to the reconstruction"
    _compressed(prepared, "amplitude", imaging.amplitude).attrs["interpretation"] = "image"
    _compressed(prepared, "valid", imaging.amplitude_valid)
    for name, value in imaging.prepared.items():
        prepared.attrs[name] = value
    pixel_m = float(imaging.prepared.get("pixel_size_m", imaging.pixel_size_m))
    for name, bins in zip(("qy", "qx"), imaging.amplitude.shape, strict=True):
        _axis(prepared, name, bins, 2.0 * math.pi / (bins * pixel_m), "1/m")
    if imaging.snr:
        _signal_to_noise(entry, imaging)
    if imaging.image is None:
        return
    group = _group(entry, "reconstruction", "NXdata", signal="image", axes=["y", "x"])
    group["title"] = f"reconstruction from {imaging.frames} frames"
    image = _compressed(group, "image", imaging.image)
    image.attrs.update({"pixel_size_m": imaging.pixel_size_m, "interpretation": "image", "long_name": "density"})
    for name, pixels in zip(("y", "x"), imaging.image.shape, strict=True):
        _axis(group, name, pixels, imaging.pixel_size_m, "m")
    group.create_dataset("prtf", data=imaging.prtf)
    group.create_dataset("q", data=imaging.q_per_m).attrs["units"] = "1/m"
    if imaging.guided_prtf is not None:
        group.create_dataset("guided_prtf", data=imaging.guided_prtf)
    group["settings"] = json.dumps(imaging.settings, default=str)
    group["warnings"] = "\n".join(imaging.warnings)
    for name, value in imaging.figures.items():
        group.attrs[name] = value
    # A viewer draws one signal a group; the links give the transfer function a plot of its own.
    curve = _group(entry, "transfer", "NXdata", signal="prtf", axes="q")
    curve["title"] = "phase retrieval transfer function"
    for name in ("prtf", "q"):
        curve[name] = h5py.SoftLink(f"/entry/reconstruction/{name}")


def _axis(group: h5py.Group, name: str, count: int, step: float, units: str) -> None:
    """Write an axis whose zero is the middle pixel."""
    axis = group.create_dataset(name, data=(np.arange(count) - count // 2) * step)
    axis.attrs.update({"units": units, "long_name": f"{name} ({units})"})


def _signal_to_noise(entry: h5py.Group, imaging: ImagingResult) -> None:
    group = _group(entry, "snr", "NXdata", signal="snr", axes="q")
    group["title"] = "signal to noise of a bin of the sum, from the halves of its frames"
    for name, curve in imaging.snr.items():
        group.create_dataset(name, data=curve)
    group["q"].attrs["units"] = "1/m"
    for name, value in imaging.forecast.items():
        if value is not None:
            group.attrs[name] = value


def _process(entry: h5py.Group, content: SeriesFile) -> None:
    process = _group(entry, "process", "NXprocess")
    process["program"] = "xedm"
    process["version"] = version("xedm")
    process["date"] = str(content.timings.get("written", ""))
    process["configuration"] = json.dumps(content.configuration, default=str)
    process["settings_versions"] = json.dumps(content.settings_versions, default=str)
    process["summary"] = json.dumps(content.summary, default=str)
    process["timings"] = json.dumps(content.timings, default=str)
    process["series_header"] = header_facts(content.header)["header"]
    process["detector_configuration"] = json.dumps(content.header.config, default=str)


def _compressed(group: h5py.Group, name: str, array: NDArray[Any]) -> h5py.Dataset:
    """Write a 2-D array with the two filters every HDF5 has (shuffle, deflate).

    The chunks are compressed here, because deflate then runs without the interpreter's lock while frames keep coming.
    """
    rows, cols = array.shape
    item = array.dtype.itemsize
    step = max(1, min(rows, _CHUNK_BYTES // max(1, cols * item)))
    data = group.create_dataset(
        name, array.shape, array.dtype, chunks=(step, cols), compression="gzip", compression_opts=1, shuffle=True
    )
    for start in range(0, rows, step):
        part = array[start : start + step]
        if len(part) < step:
            part = np.concatenate([part, np.zeros((step - len(part), cols), array.dtype)])
        flat = np.ascontiguousarray(part).view(np.uint8).reshape(-1, item)
        data.id.write_direct_chunk((start, 0), isal_zlib.compress(flat.T.tobytes(), 1))
    return data
