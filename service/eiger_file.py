"""Read DECTRIS FileWriter files (legacy NXmx: master and data files) frame by frame, still compressed."""

import os
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters of Eiger files
import numpy as np
from numpy.typing import NDArray

from processing.frame import MAX_FRAMES, PIXEL_TYPES, EncodedFrame, PixelType, SeriesHeader, why_not_shape
from service.errors import UserError

_BITSHUFFLE = 32008


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One data file of a master file.

    Attributes
    ----------
    path : Path
    dataset : str
        Of the frames in it, shape (frames, rows, columns).
    first, frames : int
        Number of its first frame, and how many there are.
    pixel_type : str
    """

    path: Path
    dataset: str
    first: int
    frames: int
    pixel_type: PixelType


class EigerFile:
    """An Eiger master file with its data files.

    Parameters
    ----------
    path : Path
        The master file. External links are followed only to files in its own folder.

    Raises
    ------
    UserError
        When the file is not there or is not an Eiger master file.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"file {path} must be an Eiger master file, got no such file; look at its folder and name")
        try:
            self._master = h5py.File(path, "r")
        except OSError as error:
            raise UserError(f"file {path} cannot be read as HDF5: {str(error).splitlines()[0]}") from None
        self.path = path
        self._lock = threading.Lock()
        self._open: dict[str, h5py.File] = {}
        self._bytes: dict[str, int] = {}
        self._parts = list(self._data_parts())
        if not self._parts:
            self.close()
            raise UserError(f"file {path} must be an Eiger master file with /entry/data/data_000001, found none")
        first = self._parts[0][1]
        self.shape: tuple[int, int] = (first.shape[1], first.shape[2])
        self._starts, self._end = _starts(dataset for _, dataset in self._parts)
        why = why_not_shape(*self.shape)
        if not why and self._end > MAX_FRAMES:
            why = f"frames must be at most {MAX_FRAMES}, got {self._end}"
        if why:
            self.close()
            raise UserError(f"file {path}: {why}; the file is damaged")

    def __len__(self) -> int:
        """Return the highest frame number and one: numbers without a frame are counted too."""
        return self._end

    def close(self) -> None:
        """Close the master and its data files."""
        for file in self._open.values():
            file.close()
        for descriptor in self._bytes.values():
            os.close(descriptor)
        self._bytes.clear()
        self._master.close()

    def data_files(self) -> list[DataFile]:
        """Return where the frames lie, in their order."""
        return [
            DataFile(
                path=Path(dataset.file.filename),
                dataset=dataset.name,
                first=first,
                frames=len(dataset),
                pixel_type=next(name for name in PIXEL_TYPES if name == dataset.dtype.name),
            )
            for first, (_, dataset) in zip(self._starts, self._parts, strict=True)
        ]

    def _data_parts(self) -> Iterator[tuple[str, h5py.Dataset]]:
        group = self._master.get("/entry/data")
        for name in sorted(group) if isinstance(group, h5py.Group) else []:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                if os.path.basename(link.filename) != link.filename:
                    raise UserError(f"link {name} in {self.path} must point into its own folder, got {link.filename!r}")
                beside = self.path.parent / link.filename
                if not beside.exists():
                    continue
                file = self._open.setdefault(link.filename, h5py.File(beside, "r"))
                dataset = file.get(link.path)
            else:
                dataset = group[name]
            if isinstance(dataset, h5py.Dataset) and dataset.ndim == 3 and dataset.dtype.name in PIXEL_TYPES:
                yield name, dataset

    def header(self, series: int) -> SeriesHeader:
        """Return the experiment's facts as a series header.

        Parameters
        ----------
        series : int
            Number to give the series; the file does not hold it.
        """
        detector = "/entry/instrument/detector"

        def number(name: str) -> float | None:
            dataset = self._master.get(name)
            return float(np.asarray(dataset[()]).ravel()[0]) if isinstance(dataset, h5py.Dataset) else None

        mask = self._master.get(f"{detector}/detectorSpecific/pixel_mask")
        valid = mask[()] == 0 if isinstance(mask, h5py.Dataset) and mask.shape == self.shape else None
        images, triggers = (number(f"{detector}/detectorSpecific/{name}") for name in ("nimages", "ntrigger"))
        wavelength = number("/entry/instrument/beam/incident_wavelength")
        description = self._master.get(f"{detector}/description")
        return SeriesHeader(
            series=series,
            shape=self.shape,
            images=None if images is None else int(images * (triggers or 1)),
            beam_center_x=number(f"{detector}/beam_center_x"),
            beam_center_y=number(f"{detector}/beam_center_y"),
            count_time_s=number(f"{detector}/count_time"),
            frame_time_s=number(f"{detector}/frame_time"),
            photon_energy_ev=number(f"{detector}/detectorSpecific/photon_energy"),
            wavelength_m=None if wavelength is None else wavelength * 1e-10,
            distance_m=number(f"{detector}/detector_distance"),
            pixel_size_m=number(f"{detector}/x_pixel_size"),
            valid=valid,
            config={"description": _text(description), "source": self.path.name},
        )

    def frame(self, series: int, number: int) -> EncodedFrame | None:
        """Return one frame with its bytes as they lie in the file, None when it is not there."""
        if not 0 <= number < len(self):
            return None
        part = bisect_right(self._starts, number) - 1
        if part < 0 or number - self._starts[part] >= len(self._parts[part][1]):
            return None  # in a data file that is not there
        dataset, index = self._parts[part][1], number - self._starts[part]
        if dataset.shape[1:] != self.shape:
            return None
        pixel_type: PixelType = next(name for name in PIXEL_TYPES if name == dataset.dtype.name)
        chunk = self._chunk(dataset, index)
        if chunk is None:
            return None
        encoding, blob = chunk
        return EncodedFrame(
            series=series, frame=number, shape=self.shape, pixel_type=pixel_type, encoding=encoding, blob=blob
        )

    def _chunk(self, dataset: h5py.Dataset, index: int) -> tuple[str, bytes] | None:
        """Return the stream's name for the encoding, and the chunk as it lies there where it is bitshuffle-LZ4.

        None when it was never written, or when it claims more bytes than a frame can have and HDF5 would take them.
        """
        if dataset.chunks != (1, *dataset.shape[1:]):
            return "<", _plain(dataset, index)
        stored = dataset.id.get_chunk_info_by_coord((index, 0, 0))
        if stored.byte_offset is None:
            return None
        raw = self.shape[0] * self.shape[1] * dataset.dtype.itemsize
        most = raw + raw // 8 + 4096  # LZ4 makes noise a little longer than it was
        filters = dataset.id.get_create_plist()
        codes = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
        if codes != [_BITSHUFFLE] or stored.filter_mask or dataset.file.userblock_size:
            return ("<", _plain(dataset, index)) if stored.size <= most else None
        # HDF5 would read it with its own lock and the interpreter's held; so several threads can.
        # Of a chunk that is too long only so much is read that decoding finds it damaged.
        return f"bs{dataset.dtype.itemsize * 8}-lz4<", os.pread(
            self._descriptor(dataset.file.filename), min(stored.size, most + 1), stored.byte_offset
        )

    def _descriptor(self, path: str) -> int:
        with self._lock:
            if path not in self._bytes:
                self._bytes[path] = os.open(path, os.O_RDONLY)
            return self._bytes[path]


def _starts(datasets: Iterable[h5py.Dataset]) -> tuple[list[int], int]:
    """Return the frame number with which each data file starts, and the one behind the last.

    The detector counts from 1 in `image_nr_low`. Where that is missing or cannot be, a file follows the one before.
    """
    starts: list[int] = []
    end = 0
    for dataset in datasets:
        low = np.asarray(dataset.attrs.get("image_nr_low", 0)).ravel()
        named = int(low[0]) - 1 if low.size and low.dtype.kind in "iu" else -1
        starts.append(named if end <= named < MAX_FRAMES else end)
        end = starts[-1] + len(dataset)
    return starts, end


def _text(dataset: Any) -> str:
    if not isinstance(dataset, h5py.Dataset):
        return ""
    value = dataset[()]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _plain(dataset: h5py.Dataset, index: int) -> bytes:
    pixels: NDArray[np.unsignedinteger] = dataset[index]
    return np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
