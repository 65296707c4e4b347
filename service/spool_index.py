"""Names of a spool's files, and the index beside each data file: what lies where, believed only by its checksums.

A record is written after the bytes it speaks of, so the index of a service that was killed never promises too much.
HDF5's own tables are written late and in no order; after a kill they are not looked at.
"""

import errno
import os
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from processing.frame import MAX_FRAMES, PIXEL_TYPES, EncodedFrame, PixelType, why_not_shape

_BODY = struct.Struct("<IHHQIIBBH")
"""Frame, rows, columns, offset, size, CRC-32 of the blob, pixel type, encoding, version."""
_CRC = struct.Struct("<I")
RECORD_BYTES = _BODY.size + _CRC.size
_VERSION = 1

PLAIN, BITSHUFFLE_LZ4 = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Where the bytes of one frame lie.

    Attributes
    ----------
    frame : int
    shape : tuple of int
        (rows, columns).
    offset, size : int
        In the data file, bytes.
    blob_crc : int
        CRC-32 of the bytes.
    encoding : int
        `PLAIN` or `BITSHUFFLE_LZ4`, both little-endian.
    """

    frame: int
    shape: tuple[int, int]
    offset: int
    size: int
    blob_crc: int
    pixel_type: PixelType
    encoding: int

    def pack(self) -> bytes:
        """Return the record with its own CRC-32 behind it."""
        kind = PIXEL_TYPES.index(self.pixel_type)
        body = _BODY.pack(self.frame, *self.shape, self.offset, self.size, self.blob_crc, kind, self.encoding, _VERSION)
        return body + _CRC.pack(zlib.crc32(body))

    def frame_of(self, series: int, blob: bytes) -> EncodedFrame:
        """Return the frame whose bytes these are."""
        bits = 8 << PIXEL_TYPES.index(self.pixel_type)
        return EncodedFrame(
            series=series,
            frame=self.frame,
            shape=self.shape,
            pixel_type=self.pixel_type,
            encoding=f"bs{bits}-lz4<" if self.encoding == BITSHUFFLE_LZ4 else "<",
            blob=blob,
        )

    def blob(self, descriptor: int) -> bytes | None:
        """Return the bytes out of the open data file, None where they are not those that were written."""
        try:
            blob = os.pread(descriptor, self.size, self.offset)
        except (OSError, OverflowError):
            return None
        return blob if len(blob) == self.size and zlib.crc32(blob) == self.blob_crc else None


def unpack(data: bytes, position: int = 0) -> Record | None:
    """Return the record at a position, None where its CRC-32 or what it says cannot be right."""
    body = data[position : position + _BODY.size]
    if len(data) < position + RECORD_BYTES or _CRC.unpack_from(data, position + _BODY.size)[0] != zlib.crc32(body):
        return None
    frame, rows, cols, offset, size, crc, kind, encoding, version = _BODY.unpack(body)
    if version != _VERSION or kind >= len(PIXEL_TYPES) or encoding > BITSHUFFLE_LZ4 or frame >= MAX_FRAMES:
        return None
    if why_not_shape(rows, cols) or size > most_bytes((rows, cols), PIXEL_TYPES[kind]):
        return None
    return Record(
        frame=frame,
        shape=(rows, cols),
        offset=offset,
        size=size,
        blob_crc=crc,
        pixel_type=PIXEL_TYPES[kind],
        encoding=encoding,
    )


def most_bytes(shape: tuple[int, int], pixel_type: str) -> int:
    """Return what a stored frame can have at most: LZ4 makes noise a little longer than it was."""
    raw = shape[0] * shape[1] * (int(pixel_type.removeprefix("uint")) // 8)
    return raw + raw // 8 + 4096


class IndexWriter:
    """Appends records to an index file.

    Parameters
    ----------
    path : Path
    keep : bool
        Go on behind the whole records that are there; else start anew.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | (0 if keep else os.O_TRUNC), 0o644)
        self._end = os.fstat(self._descriptor).st_size // RECORD_BYTES * RECORD_BYTES

    def add(self, record: Record) -> None:
        """Append a record.

        Raises
        ------
        OSError
            When the disk refuses. The next record goes over what was written of this one.
        """
        data = record.pack()
        # At a position of our own: behind half a record nothing could be found again.
        if os.pwrite(self._descriptor, data, self._end) != len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        self._end += len(data)

    def sync(self) -> None:
        """Wait until the records are on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class SpoolNames:
    """Paths of a spool's files.

    Attributes
    ----------
    stem : Path
        For example ``output/series_5_spool``.
    """

    stem: Path

    @property
    def master(self) -> Path:
        """The master file."""
        return self.stem.with_name(f"{self.stem.name}_master.h5")

    def data(self, file: int) -> Path:
        """Return the name of a finished data file; files count from 1."""
        return self.stem.with_name(f"{self.stem.name}_data_{file:06d}.h5")

    def part(self, file: int) -> Path:
        """Return the name of a data file that is being written."""
        return self.data(file).with_suffix(".h5.part")

    def index(self, file: int) -> Path:
        """Return the index that is beside either."""
        return self.data(file).with_suffix(".index")

    def aside(self, path: Path) -> Path:
        """Return where a fresh part or index is written before it takes the old one's place."""
        return path.with_name(f"{path.name}.new")

    def numbers(self, kind: Callable[[int], Path]) -> list[int]:
        """Return the file numbers there are of one kind (`data`, `part`, `index`), lowest first."""
        pattern = re.compile(re.escape(self.stem.name) + r"_data_(\d{6,8})\.[a-z0-9.]+")
        try:
            found = {match[1] for name in os.listdir(self.stem.parent) if (match := pattern.fullmatch(name))}
        except FileNotFoundError:
            return []
        return sorted(file for file in map(int, found) if file > 0 and kind(file).exists())
