"""Where frames lie besides the wire: our spool, and the detector's own files."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from processing.frame import EncodedFrame
from service.errors import UserError
from service.foreign_files import ForeignFrames, detector_master
from service.spool_reader import SpoolReader

_WRITING_S = 2.0
_REOPEN_EVERY_S = 0.5
_FILES_PATIENCE_S = 10.0
_ANSWER_S = 30.0


def spool_stem(result: Path) -> Path:
    """Return how the names of the spool's files begin, from that of the result file."""
    return result.with_name(f"{result.stem}_spool")


class SpoolStore:
    """The service's own spool of a series.

    Parameters
    ----------
    stem : Path
        From `spool_stem`.
    """

    def __init__(self, stem: Path) -> None:
        self._reader = SpoolReader(stem)
        self._known: set[int] = set(self._reader.numbers())
        self._offered: set[int] = set()

    def offered(self, frame: int) -> None:
        """Say that a frame is on its way into the spool."""
        self._offered.add(frame)

    def kept(self, frame: int) -> None:
        """Say that a frame is in the spool."""
        self._offered.discard(frame)
        self._known.add(frame)

    def dropped(self, frame: int) -> None:
        """Say that a frame did not get into the spool."""
        self._offered.discard(frame)

    def has(self, frame: int) -> bool:
        """Whether the frame is there or on its way."""
        return frame in self._known or frame in self._offered

    def numbers(self) -> Iterable[int]:
        """Return the numbers of the frames that are there."""
        return sorted(self._known)

    def series_has_ended(self) -> None:
        """Do nothing: the spool says itself what is on its way."""

    def frame(self, series: int, frame: int) -> EncodedFrame | None:
        """Return a frame; one on its way is waited for."""
        deadline = time.monotonic() + _WRITING_S
        while True:
            if frame in self._known:
                self._reader.refresh()
                return self._reader.frame(series, frame)
            if frame not in self._offered or time.monotonic() > deadline:
                self._offered.discard(frame)
                return None
            time.sleep(0.02)


class DetectorFiles:
    """The files that the detector's FileWriter makes of the same series, read in a process of its own.

    Parameters
    ----------
    pattern : str
        Path of the master file, `$id` for the series.
    series : int
    say : callable
        Told, once each, what is wrong with the files.
    """

    def __init__(self, pattern: str, series: int, say: Callable[[str], None]) -> None:
        self.path = detector_master(pattern, series)
        self._say = say
        self._file: ForeignFrames | None = None
        self._patience_s = 0.0
        self._said: set[str] = set()

    def has(self, frame: int) -> bool:  # noqa: ARG002 - nobody knows before looking
        """Whether it is worth asking."""
        return True

    def numbers(self) -> Iterable[int]:
        """Return nothing: the files may not be there yet."""
        return ()

    def series_has_ended(self) -> None:
        """From now on files that are still being written are waited for, some seconds in all."""
        self._patience_s = _FILES_PATIENCE_S

    def frame(self, series: int, frame: int) -> EncodedFrame | None:
        """Return a frame, None when the files do not have it (yet)."""
        while True:
            begun = time.monotonic()
            found = self._ask(series, frame)
            if found is not None or self._patience_s <= 0:
                return found
            self.close()
            time.sleep(_REOPEN_EVERY_S)
            self._patience_s -= time.monotonic() - begun

    def _ask(self, series: int, frame: int) -> EncodedFrame | None:
        try:
            if self._file is None:
                self._file = ForeignFrames(self.path, _ANSWER_S)
            return self._file.frame(series, frame)
        except UserError as error:
            self.close()
            if str(error) not in self._said:
                self._said.add(str(error))
                self._say(str(error))
            return None

    def close(self) -> None:
        """End the process that reads."""
        if self._file is not None:
            self._file.close()
            self._file = None
