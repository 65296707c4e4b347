"""The detector's own files: one master and its data files a series, in the legacy NXmx layout.

Blobs of the stream go into the files unchanged, one chunk a frame (HDF5 filter 32008, or 32004 in its own framing).
"""

import contextlib
import os
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from sim.wire import EncodedImage

MAX_NAME = 200
MAX_LINKS = 10_000
"""External links in a master at most; a series that may grow for ever announces absurd numbers."""


def file_stem(pattern: str, series: int) -> str:
    """Name of a series' files from the pattern, ``$id`` replaced.

    Raises
    ------
    ValueError
        If the pattern is empty, too long, or leads out of the detector's folder.
    """
    stem = pattern.replace("$id", str(series))
    parts = Path(stem).parts
    if not stem or len(stem) > MAX_NAME or Path(stem).is_absolute() or ".." in parts or "\0" in stem:
        raise ValueError(
            f"FWNamePattern must be a name of 1 to {MAX_NAME} characters inside the folder, got {pattern!r}"
        )
    return stem


class SeriesFiles:
    """Files of one series; `add` for every frame in order, then `close`.

    A data file appears whole: it is written under a temporary name and renamed when full or at the end.

    Parameters
    ----------
    folder
        The detector's data folder, made when missing.
    stem
        From `file_stem`; files of that name are overwritten, as the detector does.
    images_per_file
        Frames in one data file; 0: all in one.
    config
        The detector's configuration, keys as on the wire.
    pixel_mask : ndarray of uint32, shape (rows, columns)
    late_s
        Wall seconds by which a data file gets its name late (a fault).
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        *,
        images_per_file: int,
        config: Mapping[str, Any],
        pixel_mask: NDArray[np.uint32],
        late_s: float = 0.0,
    ) -> None:
        self._late_s = late_s
        self._prefix = folder / stem
        self._per_file = images_per_file
        self._total = max(1, int(config["nimages"]) * int(config["ntrigger"]))
        self._prefix.parent.mkdir(parents=True, exist_ok=True)
        self._file: h5py.File | None = None
        self._written = 0
        self.paths: list[Path] = []
        self._write_master(config, pixel_mask)

    @property
    def master(self) -> Path:
        """Path of the master file."""
        return self._prefix.with_name(f"{self._prefix.name}_master.h5")

    def add(self, image: EncodedImage) -> int:
        """Store the next frame; returns how many frames became readable by that (a full file, else 0)."""
        if self._file is None:
            self._file = self._open_data(image)
        data = self._file["/entry/data/data"]
        row = data.shape[0]
        data.resize(row + 1, axis=0)
        data.id.write_direct_chunk((row, 0, 0), _chunk(image))
        self._written += 1
        return self._finish() if self._per_file and row + 1 >= self._per_file else 0

    def close(self) -> int:
        """Finish the last, partial file; returns how many frames became readable."""
        return self._finish() if self._file is not None else 0

    def give_up(self) -> None:
        """Write no more, as on a full disk: the file under way keeps its temporary name."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _data_path(self, number: int) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}_data_{number:06d}.h5")

    def _open_data(self, image: EncodedImage) -> h5py.File:
        path = self._data_path(len(self.paths) + 1)
        file = h5py.File(path.with_suffix(".h5.part"), "w", libver=("earliest", "v110"))
        file.create_group("entry").attrs["NX_class"] = "NXentry"
        file["entry"].create_group("data").attrs["NX_class"] = "NXdata"
        dtype = np.dtype(image.type).newbyteorder("<")
        lz4 = image.encoding.startswith("lz4")
        dataset = file["entry/data"].create_dataset(
            "data",
            shape=(0, *image.shape),
            maxshape=(None, *image.shape),
            chunks=(1, *image.shape),
            dtype=dtype,
            fillvalue=65535 if dtype.itemsize == 2 else None,
            **(hdf5plugin.LZ4() if lz4 else hdf5plugin.Bitshuffle(cname="lz4")),
        )
        dataset.attrs["image_nr_low"] = np.uint64(self._written + 1)
        self.paths.append(path)
        return file

    def _finish(self) -> int:
        file = self._file
        if file is None:
            return 0
        dataset = file["/entry/data/data"]
        count = int(dataset.shape[0])
        dataset.attrs["image_nr_high"] = np.uint64(self._written)
        file.close()
        self._file = None
        if self._late_s:
            late = threading.Timer(self._late_s, _give_name, (self.paths[-1],))
            late.daemon = True
            late.start()
        else:
            _give_name(self.paths[-1])
        return count

    def _write_master(self, config: Mapping[str, Any], pixel_mask: NDArray[np.uint32]) -> None:
        aside = self.master.with_suffix(".h5.part")
        with h5py.File(aside, "w", libver=("earliest", "v110")) as file:
            _groups(file)
            files = min(MAX_LINKS, -(-self._total // self._per_file)) if self._per_file else 1
            for number in range(1, files + 1):
                name = self._data_path(number).name
                file[f"/entry/data/data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
            file["/entry/instrument/beam/incident_wavelength"] = float(config["wavelength"])
            file["/entry/instrument/beam/incident_wavelength"].attrs["units"] = "angstrom"
            _detector(file["/entry/instrument/detector"], config, pixel_mask)
        os.replace(aside, self.master)


def _give_name(path: Path) -> None:
    """Let a data file appear, unless it was deleted meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(path.with_suffix(".h5.part"), path)


def _chunk(image: EncodedImage) -> bytes:
    """The blob as HDF5 wants it: filter 32004 has a framing of its own, 32008 is the stream's."""
    if not image.encoding.startswith("lz4"):
        return image.blob
    size = image.shape[0] * image.shape[1] * np.dtype(image.type).itemsize
    return struct.pack(">QII", size, size, len(image.blob)) + image.blob


def _groups(file: h5py.File) -> None:
    for path, kind in (
        ("/entry", "NXentry"),
        ("/entry/data", "NXdata"),
        ("/entry/instrument", "NXinstrument"),
        ("/entry/instrument/beam", "NXbeam"),
        ("/entry/instrument/detector", "NXdetector"),
        ("/entry/instrument/detector/detectorSpecific", "NXcollection"),
    ):
        file.create_group(path).attrs["NX_class"] = kind
    file["/entry/definition"] = "NXmx"


def _detector(group: h5py.Group, config: Mapping[str, Any], pixel_mask: NDArray[np.uint32]) -> None:
    for name in (
        "beam_center_x",
        "beam_center_y",
        "x_pixel_size",
        "y_pixel_size",
        "count_time",
        "frame_time",
        "bit_depth_image",
        "bit_depth_readout",
        "description",
        "detector_number",
        "detector_readout_time",
        "sensor_material",
        "sensor_thickness",
        "countrate_correction_applied",
        "flatfield_correction_applied",
        "pixel_mask_applied",
        "threshold_energy",
    ):
        group[name] = config[name]
    group["detector_distance"] = config["detector_distance"]
    for name, unit in (
        ("detector_distance", "m"), ("x_pixel_size", "m"), ("y_pixel_size", "m"), ("sensor_thickness", "m"),
        ("count_time", "s"), ("frame_time", "s"), ("beam_center_x", "pixel"), ("beam_center_y", "pixel"),
    ):  # fmt: skip
        group[name].attrs["units"] = unit
    specific = group["detectorSpecific"]
    for name in (
        "countrate_correction_count_cutoff",
        "x_pixels_in_detector",
        "y_pixels_in_detector",
        "nimages",
        "ntrigger",
        "photon_energy",
        "compression",
        "data_collection_date",
        "software_version",
        "trigger_mode",
    ):
        specific[name] = config[name]
    packed = hdf5plugin.Bitshuffle(cname="lz4")
    specific.create_dataset("pixel_mask", data=pixel_mask, chunks=pixel_mask.shape, **packed)
    specific.create_dataset("flatfield", data=np.ones(pixel_mask.shape, np.float32), chunks=pixel_mask.shape, **packed)
