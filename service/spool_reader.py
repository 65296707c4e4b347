"""Read frames of a spool without HDF5: while it is written, after a kill, and when it is finished."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from processing.frame import EncodedFrame
from service.spool_index import RECORD_BYTES, Record, SpoolNames, unpack


class SpoolReader:
    """The frames of a spool.

    Parameters
    ----------
    stem : Path
        The spool's, for example ``output/series_5_spool``; nothing need be there yet.

    Notes
    -----
    For one thread at a time. Files are opened for each frame: a data file may get its final name, and a part may be
    salvaged into a fresh one, between two frames.
    """

    def __init__(self, stem: Path) -> None:
        self._names = SpoolNames(stem)
        self._records: dict[int, dict[int, Record]] = {}
        self._read: dict[int, tuple[int, int]] = {}
        self.refresh()

    def numbers(self) -> NDArray[np.int64]:
        """Return the numbers of the frames that the index lists, lowest first."""
        found = [frame for records in self._records.values() for frame in records]
        return np.sort(np.asarray(found, np.int64))

    def __contains__(self, number: object) -> bool:
        return any(number in records for records in self._records.values())

    def refresh(self) -> None:
        """Take in what was written since."""
        present = set(self._names.numbers(self._names.data)) | set(self._names.numbers(self._names.part))
        for file in self._records.keys() - present:
            del self._records[file]
            self._read.pop(file, None)
        for file in present:
            self._read_index(file)

    def frame(self, series: int, number: int) -> EncodedFrame | None:
        """Return a frame with its bytes as they came, None when it is not there or not what was written.

        Hash, times and channel of the message are not kept.

        Parameters
        ----------
        series : int
            Number to give the series; the index does not hold it.
        number : int
            Of the frame.
        """
        for _ in range(2):
            file, record = self._find(number)
            if record is None:
                return None
            blob = self._blob(file, record)
            if blob is not None:
                return record.frame_of(series, blob)
            self.refresh()  # the part may have been salvaged: other offsets
        return None

    def _find(self, number: int) -> tuple[int, Record | None]:
        for file, records in self._records.items():
            if number in records:
                return file, records[number]
        return 0, None

    def _blob(self, file: int, record: Record) -> bytes | None:
        for path in (self._names.data(file), self._names.part(file)):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError:
                continue
            try:
                return record.blob(descriptor)
            finally:
                os.close(descriptor)
        return None

    def _read_index(self, file: int) -> None:
        """Read the records behind those already known; the first that is not good is looked at again next time."""
        path, fresh = self._names.index(file), self._names.aside(self._names.index(file))
        if fresh.exists() and not self._names.aside(self._names.part(file)).exists():
            path = fresh  # killed between the two renames of a salvage
        try:
            with path.open("rb", buffering=0) as index:
                status = os.fstat(index.fileno())
                identity = status.st_ino
                known, start = self._read.get(file, (identity, 0))
                if known != identity or start > status.st_size:
                    start = 0
                index.seek(start)
                data = index.readall()
        except OSError:
            return
        if start == 0:
            self._records[file] = {}
        good = True
        for position in range(0, len(data) - RECORD_BYTES + 1, RECORD_BYTES):
            record = unpack(data, position)
            if record is not None:
                self._records[file].setdefault(record.frame, record)
            good = good and record is not None
            start += RECORD_BYTES if good else 0
        self._read[file] = (identity, start)
