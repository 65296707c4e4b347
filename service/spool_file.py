"""One data file of a spool: an HDF5 file as the detector's FileWriter writes it, with the index beside it."""

import contextlib
import errno
import os
import zlib
from dataclasses import dataclass
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from processing.frame import EncodedFrame, PixelType
from service.spool_index import BITSHUFFLE_LZ4, PLAIN, RECORD_BYTES, IndexWriter, Record, SpoolNames, unpack
from service.whole_file import WholeFile

_DATASET = "/entry/data/data"
_UNFILTERED = 1
"""HDF5 filter mask of a chunk that did not go through the first filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A frame that is in the spool: its bytes and its index record are with the operating system.

    Attributes
    ----------
    frame : int
        Number of the frame.
    file : str
        Final name of its data file; while that is written, ``.part`` stands behind it.
    offset, size : int
        Where the bytes lie, as of now: a restart after a kill may move them. `SpoolReader` knows.
    """

    frame: int
    file: str
    offset: int
    size: int


class _PartFile(WholeFile):
    """The file below HDF5, whose driver for Python files does not look how much was written."""

    given_up = False
    """HDF5 cannot close a file that it cannot write: then it may believe that it did. The index holds what is true."""

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes if self.given_up else super().write(data)

    def truncate(self, size: int | None = None) -> int:
        return (size or 0) if self.given_up else super().truncate(size)


class DataFile:
    """A data file that is being written. Made by `create`, `reopen` or `salvage`.

    Attributes
    ----------
    number : int
        Of the file, from 1.
    frames : set of int
        Numbers of the frames that are in it.
    """

    def __init__(self, names: SpoolNames, number: int, per_file: int, raw: _PartFile, index: IndexWriter) -> None:
        self.names, self.number, self.frames = names, number, set[int]()
        self._first = (number - 1) * per_file
        self._per_file, self._raw, self._index = per_file, raw, index
        self._unsynced, self._doubtful = True, False
        self._file: h5py.File | None = None
        self._dataset: h5py.Dataset | None = None

    @classmethod
    def create(cls, names: SpoolNames, number: int, per_file: int, *, aside: bool = False) -> "DataFile":
        """Start a new file, under the names that a salvage puts in the place of the old ones if `aside`.

        Raises
        ------
        OSError
            When the disk refuses.
        """
        part, index = names.part(number), names.index(number)
        if aside:
            part, index = names.aside(part), names.aside(index)
        raw = _PartFile(part, "w+b")  # before the index: an index aside without its part would count as finished
        try:
            return cls(names, number, per_file, raw, IndexWriter(index))
        except OSError:
            raw.close()
            raise

    @classmethod
    def reopen(cls, names: SpoolNames, number: int, per_file: int) -> "DataFile":
        """Go on in a file that was finished, and so is whole; it is a part again from here on.

        Raises
        ------
        OSError
            When the disk refuses, or the file is none of ours.
        """
        os.replace(names.data(number), names.part(number))
        file = cls(
            names, number, per_file, _PartFile(names.part(number), "r+b"), IndexWriter(names.index(number), keep=True)
        )
        file.frames.update(record.frame for record in _records(names, number))
        file._file = h5py.File(file._raw, "r+", libver=("earliest", "v110"))
        file._dataset = file._file[_DATASET]
        return file

    @classmethod
    def salvage(cls, names: SpoolNames, number: int, per_file: int) -> tuple["DataFile", int]:
        """Copy what is good of a part whose writer was killed into a fresh one, and go on in that.

        Returns
        -------
        file : DataFile
        dropped : int
            Index records whose bytes are not what was written.

        Raises
        ------
        OSError
            When the disk refuses; the old part and its index are then as they were.
        """
        part, index = names.part(number), names.index(number)
        if names.aside(index).exists() and not names.aside(part).exists():
            os.replace(names.aside(index), index)  # killed between the two renames below
        names.aside(index).unlink(missing_ok=True)  # this one first: see above
        names.aside(part).unlink(missing_ok=True)
        records = _records(names, number)
        file = cls.create(names, number, per_file, aside=True)
        dropped = 0
        try:
            with part.open("rb", buffering=0) as old:
                for record in records:
                    blob = record.blob(old.fileno())
                    good = blob is not None and file.takes(record.frame, record.shape, record.pixel_type)
                    if blob is None or not good:
                        dropped += 1
                    elif record.frame not in file.frames:
                        file.write(record.frame_of(0, blob))
            file.sync()
            os.replace(names.aside(part), part)
            os.replace(names.aside(index), index)
        except BaseException:
            file.give_up()
            raise
        return file, dropped

    def takes(self, frame: int, shape: tuple[int, int], pixel_type: PixelType) -> bool:
        """Whether a frame belongs in this file: by its number, and by shape and type as its first frame had them."""
        if not 0 <= frame - self._first < self._per_file:
            return False
        dataset = self._dataset
        return dataset is None or (dataset.shape[1:] == shape and dataset.dtype.name == pixel_type)

    def write(self, frame: EncodedFrame) -> Kept:
        """Write a frame's bytes, then its index record.

        Raises
        ------
        OSError
            When the disk refuses; the frame is then not in the file.
        """
        dataset = self._ready(frame)
        row = frame.frame - self._first
        plain, self._unsynced, self._doubtful = frame.encoding == "<", True, True
        if row >= dataset.shape[0]:
            dataset.resize(row + 1, axis=0)
        dataset.id.write_direct_chunk((row, 0, 0), frame.blob, filter_mask=_UNFILTERED if plain else 0)
        stored = dataset.id.get_chunk_info_by_coord((row, 0, 0))
        if stored.byte_offset is None:
            raise OSError(errno.EIO, "HDF5 has not noted the chunk")
        record = Record(
            frame=frame.frame,
            shape=frame.shape,
            offset=stored.byte_offset,
            size=stored.size,
            blob_crc=zlib.crc32(frame.blob),
            pixel_type=frame.pixel_type,
            encoding=PLAIN if plain else BITSHUFFLE_LZ4,
        )
        self._index.add(record)
        self._doubtful = False
        self.frames.add(frame.frame)
        return Kept(
            frame=frame.frame, file=self.names.data(self.number).name, offset=stored.byte_offset, size=stored.size
        )

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        if self._unsynced:
            os.fsync(self._raw.fileno())
            self._index.sync()
            self._unsynced = False

    def finish(self) -> bool:
        """Close the file and give it its final name; one without frames goes.

        Returns
        -------
        bool
            Whether there is a file now.

        Raises
        ------
        OSError, RuntimeError
            When the disk refuses; the part and its index stay for `salvage`.
        """
        try:
            if self._file is not None and self._dataset is not None:
                self._dataset.attrs["image_nr_high"] = np.uint64(self._first + self._dataset.shape[0])
                _check_noted(self._dataset, len(self.frames))
                self._file.flush()
                self._file.close()
            self._unsynced = True
            self.sync()
        except BaseException:
            self.give_up()
            raise
        self._close_files()
        if not self.frames:
            self.names.part(self.number).unlink(missing_ok=True)
            self.names.index(self.number).unlink(missing_ok=True)
            return False
        os.replace(self.names.part(self.number), self.names.data(self.number))
        return True

    def give_up(self) -> None:
        """Let go of a file that cannot be finished; what is in it is found by its index."""
        self._raw.given_up = True
        if self._file is not None:
            with contextlib.suppress(Exception):
                self._file.close()
        self._close_files()

    def _close_files(self) -> None:
        self._file = self._dataset = None
        self._index.close()
        self._raw.close()

    def _ready(self, frame: EncodedFrame) -> h5py.Dataset:
        """Return the dataset, made for the first frame."""
        if self._file is None or self._dataset is None:
            return self._start(frame)
        if self._doubtful:
            # HDF5 remembers the last chunk's place even where writing it failed, and would not note it the second time.
            self._dataset = None
            self._dataset = self._file[_DATASET]
            self._doubtful = False
        return self._dataset

    def _start(self, frame: EncodedFrame) -> h5py.Dataset:
        """Make the dataset; shape and type are those of the first frame."""
        if self._file is None:
            self._file = h5py.File(self._raw, "w", libver=("earliest", "v110"))
        dtype = np.dtype(frame.pixel_type).newbyteorder("<")
        self._file.require_group("entry").attrs["NX_class"] = "NXentry"
        self._file.require_group("entry/data").attrs["NX_class"] = "NXdata"
        self._file["entry/data"].attrs["signal"] = "data"
        self._dataset = self._file.create_dataset(
            _DATASET,
            shape=(0, *frame.shape),
            maxshape=(self._per_file, *frame.shape),
            chunks=(1, *frame.shape),
            dtype=dtype,
            fillvalue=np.iinfo(dtype).max,  # what the detector writes where it knows nothing
            **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
        )
        # Numbers of the detector's files count from 1.
        self._dataset.attrs["image_nr_low"] = np.uint64(self._first + 1)
        self._dataset.attrs["image_nr_high"] = np.uint64(self._first + self._per_file)
        return self._dataset


def _check_noted(dataset: h5py.Dataset, frames: int) -> None:
    if dataset.id.get_num_chunks() < frames:
        raise OSError(errno.EIO, "HDF5 has not noted every chunk")


def _records(names: SpoolNames, number: int) -> list[Record]:
    """Return the good records of a file's index, in the order of writing."""
    try:
        data = names.index(number).read_bytes()
    except FileNotFoundError:
        return []
    found = (unpack(data, position) for position in range(0, len(data), RECORD_BYTES))
    return [record for record in found if record is not None]
