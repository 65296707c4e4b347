"""Fetch frames again from where their bytes are: for verdicts that flip, and for frames that are missing.

A thread of its own, so that a slow disk keeps nobody else waiting.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from processing.frame import EncodedFrame, Refusal
from processing.read_frame import Contribution, Examined
from service.books import ErrorLog
from service.pipeline import examine
from service.series import Series

_POLL_S = 0.05
_AT_ONCE = 4
_log = structlog.get_logger()


class FrameStore(Protocol):
    """Somewhere frames lie."""

    def has(self, frame: int) -> bool:
        """Whether `frame` may give that number; quick."""

    def frame(self, series: int, frame: int) -> EncodedFrame | None:
        """Return a frame, None when it is not there; may wait for a disk."""

    def numbers(self) -> Iterable[int]:
        """Return the numbers it knows it has; empty when it cannot say."""

    def series_has_ended(self) -> None:
        """Take note that whoever writes there will finish now, so that it is worth waiting for."""


class Refetcher:
    """Serves `Series.to_fetch` of one series.

    Parameters
    ----------
    series : Series
    lock : threading.RLock
        Guards the series; never held while a disk is waited for.
    stores : sequence of FrameStore
        Asked in this order.
    errors : ErrorLog
    changed : callable
        Called after the books have changed.

    Attributes
    ----------
    read : int
        Frames read again for flips.
    recovered : int
        Missing frames that were found.
    """

    def __init__(
        self,
        series: Series,
        lock: "threading.RLock",
        stores: list[FrameStore],
        errors: ErrorLog,
        changed: Callable[[], None],
    ) -> None:
        self.series, self.stores = series, stores
        self._lock, self._errors, self._changed = lock, errors, changed
        self._stop = threading.Event()
        self._busy = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="refetch", daemon=True)
        self.read = 0
        self.recovered = 0
        series.elsewhere = self.has

    def has(self, frame: int) -> bool:
        """Whether any store may have a frame."""
        return any(store.has(frame) for store in self.stores)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End; what is not fetched stays as it is."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                if not self.turn():
                    self._stop.wait(_POLL_S)
            except Exception as error:  # noqa: BLE001 - a fault here must not end the fetching
                _log.exception("fault while fetching frames")
                self._errors.add("fault of the program", f"{type(error).__name__}: {error}; please report it")
                self._stop.wait(1.0)

    def turn(self) -> bool:
        """Fetch a few of the wanted frames; False when none is wanted."""
        with self._busy:
            with self._lock:
                column = self.series.ledger.column("frame")
                wanted = [(row, int(column[row])) for row in list(self.series.to_fetch)[:_AT_ONCE]]
            for row, number in wanted:
                examined = self._find(number)
                contribution: Contribution | None = None if examined is None else examined[1][0]
                with self._lock:
                    self.series.fetched(row, contribution)
                self.read += contribution is not None
            if wanted:
                self._changed()
            return bool(wanted)

    def look(self, number: int) -> EncodedFrame | None:
        """Read a frame for somebody who wants to see it; None when no store has it."""
        with self._busy:
            for store in self.stores:
                frame = store.frame(self.series.header.series, number) if store.has(number) else None
                if frame is not None:
                    return frame
        return None

    def _find(self, number: int) -> tuple[EncodedFrame, Examined] | None:
        """Read and score a frame; None when no store has it whole."""
        for store in self.stores:
            if not store.has(number):
                continue
            frame = store.frame(self.series.header.series, number)
            if frame is None:
                continue
            examined = examine(frame, self.series)
            if not isinstance(examined, Refusal):
                return frame, examined
        return None

    def complete(self, timeout_s: float, give_up: Callable[[], bool]) -> None:
        """Fetch what an ended series lacks, and have every wanted flip carried out.

        Parameters
        ----------
        timeout_s : float
            What is not there by then stays missing or unresolved.
        give_up : callable
            True ends the waiting.
        """
        deadline = time.monotonic() + timeout_s
        tried: set[int] = set()
        for store in self.stores:
            store.series_has_ended()
        with self._lock:
            self.series.judge_again()  # what could not be read before may be there now
        while not give_up() and time.monotonic() < deadline:
            if self.turn():
                continue
            missing = [number for number in self._missing() if number not in tried and self.has(number)]
            if not missing:
                break
            for number in missing:
                tried.add(number)
                if give_up() or time.monotonic() > deadline:
                    break
                self._recover(number)
            with self._lock:
                self.series.judge_again()
        with self._lock:
            for row in list(self.series.to_fetch):
                self.series.fetched(row, None)
        self._changed()

    def recover_known(self) -> None:
        """Book the frames that a store is known to have and the ledger does not: their rows went with the service."""
        for store in self.stores:
            with self._lock:
                lacking = [number for number in store.numbers() if not self.series.already_has(number)]
            for number in sorted(lacking):
                if self._stop.is_set():
                    return
                self._recover(number)

    def _missing(self) -> list[int]:
        with self._lock:
            return self.series.lacking_frames()

    def _recover(self, number: int) -> None:
        with self._busy:
            found = self._find(number)
        if found is None:
            return
        frame, examined = found
        with self._lock:
            if self.series.already_has(number):
                self.series.give_back(examined[0])
                return
            self.series.book_recovered(frame, *examined)
            self.recovered += 1
        self._changed()
