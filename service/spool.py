"""The compressed frames of a series on disk, as they came, in files that read like the detector's own.

A thread of its own writes; whoever offers a frame never waits, and a failing disk costs spooled frames but no sum.
"""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import structlog

from processing.frame import MAX_FRAMES, EncodedFrame, SeriesHeader, why_not_shape
from service import config
from service.spool_budget import Budget
from service.spool_file import DataFile, Kept
from service.spool_index import RECORD_BYTES, SpoolNames, most_bytes
from service.spool_master import frames_per_file, write_master

_log = structlog.get_logger()

_HEADER = struct.Struct(">QI")
_DEFAULT_BLOCK_BYTES = 8192
_OPEN_FILES = 2
_SYNC_S = 1.0


class Spool:
    """Writes the frames of one series.

    Frame n lies in file ``n // frames_per_file + 1`` at row ``n % frames_per_file``. The newest two files are open:
    frames come a little out of order. Over files of the same stem it goes on: parts of a service that was killed are
    salvaged by their index, finished files are taken up again when frames for them come.

    Parameters
    ----------
    stem : Path
        Start of the names, for example ``output/series_5_spool``; the folder is made when missing.
    header : SeriesHeader
        Goes into the master file.
    settings : config.Spool
        `frames_per_file` counts for a new spool; one that goes on keeps its own.
    kept : callable
        Called from the spool's thread when a frame's bytes and its index record are written; not for the frames of a
        service before this one, which `SpoolReader` lists.
    troubled : callable
        Called from the spool's thread with a sentence when writing fails, and with None when it works again.

    Attributes
    ----------
    refused : int
        Frames that were taken by `offer` and not kept because they are duplicates, belong in a file that is closed, or
        are of another shape or type than the first of their file.
    failed : int
        Frames that were taken by `offer` and not kept because of the disk or the budget.
    """

    def __init__(
        self,
        stem: Path,
        header: SeriesHeader,
        settings: config.Spool,
        *,
        kept: Callable[[Kept], None],
        troubled: Callable[[str | None], None],
    ) -> None:
        self._names, self._header = SpoolNames(stem), header
        self._kept, self._troubled = kept, troubled
        self._queue_bytes = int(settings.queue_mib * 2**20)
        self._budget_bytes = int(settings.budget_gib * 2**30)
        self._per_file = settings.frames_per_file
        self.refused = 0
        self.failed = 0
        self._queue: deque[EncodedFrame] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        # Only the thread touches what follows.
        self._budget: Budget | None = None
        self._open: dict[int, DataFile] = {}
        self._trouble: str | None = None
        self._no_room = False
        self._need_bytes = 0
        self._thread = threading.Thread(target=self._run, name=f"spool-{header.series}", daemon=True)
        self._thread.start()

    def offer(self, frame: EncodedFrame) -> bool:
        """Take a frame for writing; never waits.

        Returns
        -------
        bool
            False when the frame will not be spooled: the queue is full, the budget is used up, the spool is closed, or
            its bytes cannot go into such a file. Bitshuffle-LZ4 and plain little-endian pixels can; an empty
            bitshuffle header, which some senders send, is filled in with what it stands for.
        """
        blob = _storable(frame, self._header.series)
        if blob is None or self._no_room:
            return False
        size = len(blob)
        with self._changed:
            if self._closing or self._waiting_bytes + size > self._queue_bytes:
                return False
            self._queue.append(frame if blob is frame.blob else replace(frame, blob=blob))
            self._waiting_bytes += size
            self._changed.notify_all()
        return True

    def close(self, timeout_s: float) -> bool:
        """Write what waits, close the files and give them their final names.

        Parameters
        ----------
        timeout_s : float
            After so long, frames that still wait are let go and the thread finishes on its own.

        Returns
        -------
        bool
            Whether everything was done in time.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            return True
        with self._changed:
            self.failed += len(self._queue)
            self._queue.clear()
        return False

    def _run(self) -> None:
        self._guarded(self._take_up)
        synced = time.monotonic()
        while True:
            frame = self._next(max(0.0, synced + _SYNC_S - time.monotonic()))
            if frame is not None:
                written = self._guarded(partial(self._write, frame))
                with self._changed:
                    self.failed += not written
                    self._waiting_bytes -= len(frame.blob)
            elif self._done():
                break
            if time.monotonic() - synced >= _SYNC_S:
                self._tick()
                synced = time.monotonic()
        for number in sorted(self._open):
            self._guarded(partial(self._finish, number))
        # Those that could not be finished when their turn came; the disk may be well again.
        for number in self._names.numbers(self._names.part):
            if self._guarded(partial(self._open_file, number)):
                self._guarded(partial(self._finish, number))

    def _next(self, timeout_s: float) -> EncodedFrame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing, timeout_s)
            return self._queue.popleft() if self._queue else None

    def _done(self) -> bool:
        with self._changed:
            return self._closing and not self._queue

    def _guarded(self, act: Callable[[], object]) -> bool:
        """Do something with the disk; what goes wrong is said and not raised."""
        try:
            act()
        except _NoRoomError as error:
            self._say(str(error))
        except Exception as error:  # noqa: BLE001 - HDF5 raises all sorts; the thread must go on
            self._say(self._sentence(error))
        else:
            return True
        return False

    def _say(self, trouble: str | None) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            _log.warning("spool cannot be written", reason=trouble)
        else:
            _log.info("spool can be written again", spool=str(self._names.stem))
        self._tell(partial(self._troubled, trouble))

    def _tell(self, listener: Callable[[], None]) -> None:
        """Call who listens; a mistake there must not stop the writing."""
        try:
            listener()
        except Exception:  # noqa: BLE001 - logged with its traceback
            _log.exception("spool's listener failed")

    def _sentence(self, error: Exception) -> str:
        said = error.strerror if isinstance(error, OSError) else None
        reason = said or next(iter(str(error).splitlines()), type(error).__name__)
        return (
            f"spool {self._names.stem} must be writable, got: {reason}; free space on the disk or mend its "
            "permissions (the sum goes on, frames are not kept)"
        )

    def _take_up(self) -> None:
        """Go on where a service before this one ended."""
        self._names.stem.parent.mkdir(parents=True, exist_ok=True)
        self._per_file = frames_per_file(self._names) or self._per_file
        self._budget = Budget(self._names.stem, self._budget_bytes)
        for number in self._names.numbers(self._names.part):
            self._guarded(partial(self._open_file, number))
        self._write_master()

    def _write(self, frame: EncodedFrame) -> None:
        if self._no_room:  # looked at again once a second, not for every frame that waits
            raise _NoRoomError(self._trouble)
        if self._budget is None:
            self._take_up()
        file = self._file_for(frame.frame)
        if file is None or frame.frame in file.frames or not file.takes(frame.frame, frame.shape, frame.pixel_type):
            self.refused += 1
            return
        size = len(frame.blob) + RECORD_BYTES
        self._make_room(size)
        try:
            kept = file.write(frame)
        except Exception:
            if not file.frames:  # perhaps half begun: costs nothing to begin again
                self._open.pop(file.number).give_up()
            raise
        if self._budget is not None:
            self._budget.took(size)
        self._say(None)
        self._tell(partial(self._kept, kept))

    def _make_room(self, size: int) -> None:
        why = self._budget.why_not(size) if self._budget is not None else ""
        self._need_bytes, self._no_room = size, bool(why)
        if why:
            raise _NoRoomError(why)

    def _file_for(self, frame: int) -> DataFile | None:
        number = frame // self._per_file + 1
        if number not in self._open:
            if len(self._open) == _OPEN_FILES and number < min(self._open):
                return None
            if self._names.data(number).exists() and not self._names.index(number).exists():
                return None  # without its index a kill would cost what is in it
            self._open_file(number)
        return self._open.get(number)

    def _open_file(self, number: int) -> None:
        names, per_file = self._names, self._per_file
        # Under its part's name a file is salvaged whenever it is not open here: a kill, or a disk that refused its end.
        if names.part(number).exists() and not names.data(number).exists():
            self._make_room(names.part(number).stat().st_size)
            self._open[number], dropped = DataFile.salvage(names, number, per_file)
            frames = len(self._open[number].frames)
            _log.info("spool file salvaged", file=names.data(number).name, frames=frames, dropped=dropped)
        elif names.data(number).exists():
            self._open[number] = DataFile.reopen(names, number, per_file)
        else:
            self._open[number] = DataFile.create(names, number, per_file)
        while len(self._open) > _OPEN_FILES:
            self._guarded(partial(self._finish, min(self._open)))

    def _finish(self, number: int) -> None:
        """Give a file its final name and link to it."""
        if self._open.pop(number).finish():
            self._write_master()

    def _write_master(self) -> None:
        write_master(self._names, self._header, self._per_file, self._names.numbers(self._names.data))

    def _tick(self) -> None:
        for file in self._open.values():
            self._guarded(file.sync)
        if self._no_room and self._guarded(partial(self._make_room, self._need_bytes)):
            self._say(None)


class _NoRoomError(Exception):
    """The budget or the disk has no room for a frame."""


def _storable(frame: EncodedFrame, series: int) -> bytes | memoryview | None:
    """Return the bytes to store, None where they cannot go into an Eiger file so that any reader understands them."""
    blob, (rows, cols) = frame.blob, frame.shape
    if frame.series not in (None, series) or not 0 <= frame.frame < MAX_FRAMES or why_not_shape(rows, cols):
        return None
    bits = np.dtype(frame.pixel_type).itemsize * 8
    raw_bytes = rows * cols * bits // 8
    if frame.encoding == "<":
        return blob if len(blob) == raw_bytes else None
    if frame.encoding not in (f"bs{bits}-lz4<", f"bs{bits}lz4<"):
        return None
    if not _HEADER.size <= len(blob) <= most_bytes(frame.shape, frame.pixel_type):
        return None
    claimed, block_bytes = _HEADER.unpack_from(blob)
    if claimed == block_bytes == 0:
        return _HEADER.pack(raw_bytes, _DEFAULT_BLOCK_BYTES) + bytes(blob[_HEADER.size :])
    return blob if claimed == raw_bytes else None
