"""The whole way of one exposure, in the order in which it happens.

    receive -> decode -> screen -> accumulate -> snapshot -> prepare -> reconstruct -> publish

    stage        does                                              file
    receive      bytes off the wire become a typed message         service/receive.py, processing/wire.py
    decode       compressed bytes stay in bit planes, or pixels    processing/read_frame.py, bitplane.py, decode.py
    screen       pixels become exact integers, then a verdict      processing/screen.py
    accumulate   accepted and background frames are summed         service/series.py, processing/fast_sum.py
    snapshot     a copy of the sums that never changes             processing/snapshot.py
    prepare      centre, background, symmetry, bins, amplitude     processing/prepare.py      (in a child process)
    reconstruct  the amplitude becomes an image                    processing/reconstruct.py (in a child process)
    publish      file, page, PVs                                   service/store.py, web.py, pvs.py

This file computes nothing itself. `Pipeline` carries one frame to the sums; `service/live.py` calls the later stages.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.decode import decode
from processing.frame import EncodedFrame, Refusal, SeriesEnd, SeriesHeader
from processing.hash_check import HashCheck
from processing.read_frame import Examined
from processing.spot import find_spot
from service.books import ErrorLog, RateMeter, StrideWatch
from service.config import Settings
from service.mailbox import Letter
from service.router import WaitingRoom
from service.series import Remark, Series
from service.source import PointNote
from service.status import DirectBeam, Purpose, State

_MAX_EARLY_NOTES = 1000
_FILES_BEING_WRITTEN = float("inf")


class Pipeline:
    """Carries messages to the sums and knows in which state the series is.

    `take` and `tick` are called by one thread; everything another thread may read or call stands under `lock`.

    Parameters
    ----------
    settings : Settings
    user_mask : ndarray of bool or None
        True where a pixel may count.
    on_open : callable
        Called under the lock with the series when it opens.
    on_end : callable
        Called with the series, outside the lock, when it has ended.
    on_booked : callable
        Called under the lock with the series and each frame that has been scored and booked; must be quick.
    on_reopen : callable
        Called under the lock when the books of an ended series change.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        user_mask: NDArray[np.bool_] | None,
        on_open: Callable[[Series], None],
        on_end: Callable[[Series], None],
        on_booked: Callable[[Series, EncodedFrame], None] = lambda _series, _frame: None,
        on_reopen: Callable[[Series], None] = lambda _series: None,
    ) -> None:
        self.lock = threading.RLock()
        self.settings = settings
        self.errors = ErrorLog()
        self.rate = RateMeter()
        self.state: State = "idle"
        self.series: Series | None = None
        self.last_frame: EncodedFrame | None = None
        self.last_row = -1
        self.direct_beam: DirectBeam | None = None
        self.foreign = 0
        self.images_before = 0
        self.paused = False
        self.ending_at: float | None = None
        self.waiting = WaitingRoom()
        self._hashes = HashCheck(settings.stream.check_hash)
        self._user_mask = user_mask
        self._on_open, self._on_end = on_open, on_end
        self._on_booked, self._on_reopen = on_booked, on_reopen
        self._strides = StrideWatch()
        self._next_expected: int | None = None
        self._early_notes: list[PointNote] = []
        self._last_message = time.monotonic()
        self._pool = ThreadPoolExecutor(settings.stream.workers, "examine")
        self._most_under_way = 2 * settings.stream.workers
        self._under_way: deque[_UnderWay] = deque()

    # -- receive -> decode -> screen -> accumulate -----------------------------------------------------------------

    def take(self, letter: Letter, done: Callable[[], None] = lambda: None) -> None:
        """Carry one message as far as the sums; `done` is called under the lock once it is booked.

        Frames are decoded and scored side by side, but booked in the order in which they came; `catch_up` waits for
        those under way.
        """
        self._last_message = time.monotonic()
        if isinstance(letter.message, EncodedFrame):
            self._take_frame(letter.message, done)
            return
        self.catch_up()
        match letter.message:
            case SeriesHeader() as header:
                self._open(header, letter.image_number)
            case SeriesEnd() as end:
                self._take_end(end)
            case Refusal() as refusal:
                self._take_refusal(refusal, done)

    def _take_frame(self, frame: EncodedFrame, done: Callable[[], None]) -> None:
        series = self._series_of(frame)
        if series is None:
            with self.lock:
                self.foreign += self.waiting.admit(frame, time.monotonic())
                done()
            return
        beyond = series.header.images is not None and frame.frame >= series.header.images
        refusal = _beyond(frame, series) if beyond else self._hashes.refuse(frame, time.monotonic())
        if self._hashes.proven and not series.hashes_proven:
            with self.lock:
                series.prove_hashes()
        if refusal is None and series.shape is None:
            refusal = self._learn_shape(series, frame)
        self._name_doubts(series)
        self._under_way.append(_UnderWay(series, frame, refusal or self._pool.submit(examine, frame, series), done))
        while len(self._under_way) > self._most_under_way or (self._under_way and self._under_way[0].ready()):
            self._book_next()

    def catch_up(self) -> None:
        """Book every frame that is being decoded, in order."""
        while self._under_way:
            self._book_next()

    def busy(self) -> bool:
        """Whether frames are being decoded."""
        return bool(self._under_way)

    def _book_next(self) -> None:
        next_one = self._under_way.popleft()
        series, frame = next_one.series, next_one.frame
        outcome = next_one.outcome()
        beam = find_direct_beam(series, frame) if series.purpose == "alignment" else None
        with self.lock:
            if series.already_has(frame.frame):
                series.book_duplicate(frame.frame)
            elif isinstance(outcome, Refusal):
                self._book_refusal(series, outcome)
            else:
                self.last_row = series.book(frame, *outcome)
                self.last_frame, self.direct_beam = frame, beam
                self._on_booked(series, frame)
                self._name_receivers(series, frame)
            self.rate.count(time.monotonic())
            self.state = "receiving"
            if self.ending_at is not None or series.ended:  # a late frame: wait for more of its kind
                self._reopen(series)
                self.ending_at = time.monotonic() + self.settings.stream.drain_s
            next_one.done()

    def _name_receivers(self, series: Series, frame: EncodedFrame) -> None:
        """A PUSH socket deals its messages out in turn: another PULL client shows as a regular stride of gaps."""
        stride = self._strides.take(frame.frame)
        if stride:
            others = "another receiver is" if stride == 2 else f"{stride - 1} other receivers are"
            self.errors.add(
                "another receiver is taking frames",
                f"only every {_ordinal(stride)} frame comes here since frame {self._strides.since}: {others} connected "
                "to the detector's stream and gets the rest; stop it (another xedm live, a viewer, an old process?)",
                series=series.header.series,
                frame=frame.frame,
            )

    def _learn_shape(self, series: Series, frame: EncodedFrame) -> Refusal | None:
        """Only a frame that decodes may say how large the others are."""
        pixels = decode(frame, frame.shape)
        if isinstance(pixels, Refusal):
            return pixels
        with self.lock:
            self._shape(series, lambda: series.set_shape(frame.shape))
        return None

    def _shape(self, series: Series, take_shape: Callable[[], None]) -> None:
        """Have a series take memory; a mask of another detector must not stop the beam."""
        try:
            take_shape()
        except ValueError as error:
            self._name_mask(error, series.header)
            series.drop_user_mask()
            take_shape()

    def _name_mask(self, error: ValueError, header: SeriesHeader) -> None:
        self.errors.add("mask refused", f"{error}; summing goes on without it", series=header.series)

    def _name_doubts(self, series: Series) -> None:
        for number in self._hashes.doubts():
            message = "its hash did not match its bytes before later hashes of the series did; it may hold wrong pixels"
            self.errors.add("doubtful frame", message, series=series.header.series, frame=number)

    def _take_refusal(self, refusal: Refusal, done: Callable[[], None]) -> None:
        with self.lock:
            series = self._series_of(refusal)
            if not refusal.image:
                self.errors.add("unreadable message", refusal.reason, series=refusal.series)
            elif series is None:
                self.foreign += self.waiting.admit(refusal, time.monotonic())
            else:
                self._book_refusal(series, refusal)
                self.state = "receiving"
            done()

    def _book_refusal(self, series: Series, refusal: Refusal) -> None:
        if refusal.frame is not None and series.already_has(refusal.frame):
            series.book_duplicate(refusal.frame)
            return
        row = series.book_refusal(refusal)
        if refusal.frame is not None:  # it has come: whoever waits for it must see it, and that it is corrupt
            self.last_row = row
        self.errors.add("corrupt frame", refusal.reason, series=refusal.series, frame=refusal.frame)

    def _series_of(self, message: EncodedFrame | Refusal) -> Series | None:
        series = self.series
        return series if series is not None and message.series in (series.header.series, None) else None

    # -- opening and ending ----------------------------------------------------------------------------------------

    def _open(self, header: SeriesHeader, image_number: int) -> None:
        before = self.series
        for remark in header.remarks:
            self.errors.add("header", remark, series=header.series)
        if before is not None and header.completes:
            self._complete(before, header)
            return
        open_still = self.state in ("armed", "receiving") and self.ending_at != _FILES_BEING_WRITTEN
        if before is not None and open_still and len(before.ledger):
            if self.ending_at is None:
                self.errors.add(
                    "series cut short",
                    f"series {before.header.series} got no end message before the next "
                    f"series ({header.series}) began; it is saved as it stands",
                    series=before.header.series,
                )
            self._end(before)
        try:
            series = Series(header, self.settings, user_mask=self._user_mask)
        except ValueError as error:
            self._name_mask(error, header)
            series = Series(header, self.settings)
        with self.lock:
            mine = self.waiting.claim(header.series)
            self.series, self.state, self.foreign, self.ending_at = series, "armed", 0, None
            self._hashes = HashCheck(self.settings.stream.check_hash)
            self.images_before = image_number - len(self.waiting)
            self.last_frame, self.last_row, self.direct_beam = None, -1, None
            self._strides = StrideWatch()
            self._on_open(series)  # with the lock: nobody may see a series without its result file's name
            if self._next_expected is not None:
                series.expect(self._next_expected)
                self._next_expected = None
            for note in self._early_notes:
                if note.series == header.series:
                    series.note_point(note)
            self._early_notes = [note for note in self._early_notes if note.series != header.series]
        for message in mine:
            self.take(Letter(message=message, image_number=image_number), self.waiting.leave)
        self.catch_up()

    def resume(self, series: Series) -> None:
        """Go on with a series that was restored from the disk; its header will not come again."""
        with self.lock:
            self.series, self.state, self.foreign, self.ending_at = series, "receiving", 0, None
            self._hashes = HashCheck(self.settings.stream.check_hash, proven=series.hashes_proven)
            self.settings = series.settings  # what was steered before the kill stays in force
            self.images_before = 0
            self._last_message = time.monotonic()

    def _complete(self, series: Series, header: SeriesHeader) -> None:
        """Take the rest of a header that came in pieces."""
        if series.header.series == header.series and not len(series.ledger):
            with self.lock:
                self._shape(series, lambda: series.replace_header(header))
            return
        message = "more of the header came after the first frame; the series goes on without it"
        self.errors.add("header", message, series=header.series)

    def _take_end(self, end: SeriesEnd) -> None:
        series = self.series
        if series is None or end.series not in (series.header.series, None):
            self.errors.add("stray end message", f"end of series {end.series}, which is not open", series=end.series)
            return
        if self.state not in ("armed", "receiving") or self.ending_at is not None:
            return
        if not len(series.ledger) and not series.expected:
            with self.lock:
                self.series, self.state = None, "idle"
            return
        announced = series.announced
        whole = announced is not None and series.ledger.distinct() >= announced and not len(self.waiting)
        self.ending_at = time.monotonic() + (0.0 if whole else self.settings.stream.drain_s)

    def tick(self, now: float, *, idle: bool) -> None:
        """Look at the clock: late frames, silent senders, waiting images. `idle`: the mailbox is empty."""
        with self.lock:
            self.foreign += self.waiting.expire(now)
        series = self.series
        if series is None or self.state not in ("armed", "receiving") or not idle:
            return
        if self.ending_at is not None:
            if now >= self.ending_at:
                self._end(series)
            return
        if self.paused:
            self._last_message = now
        elif now - self._last_message > self.idle_timeout_s(series):
            self.errors.add(
                "series never ended",
                f"no message of series {series.header.series} for {self.idle_timeout_s(series):g} s and no end "
                "message; it is saved as it stands, later frames reopen it; look at the detector's state",
                series=series.header.series,
            )
            self._end(series)

    def idle_timeout_s(self, series: Series | None) -> float:
        """Return after how much silence a series counts as ended."""
        wanted = self.settings.stream.idle_timeout_s
        frame_time_s = (series.header.frame_time_s if series is not None else None) or 0.0
        return wanted if wanted is not None else max(120.0, 3 * frame_time_s)

    def ends_within_s(self) -> float:
        """Return how long after its last message a series may take to its final state, the writing not counted."""
        image = self.settings.reconstruction
        return self.idle_timeout_s(self.series) + (image.timeout_s if image.enabled else 0.0)

    def end_now(self) -> None:
        """End the open series, if any, as on SIGTERM; unless its end had come, the next service goes on with it."""
        self.catch_up()
        open_still = self.state in ("armed", "receiving") and self.ending_at != _FILES_BEING_WRITTEN
        if self.series is not None and open_still:
            self.series.interrupted = self.ending_at is None and not self.series.ended
            self._end(self.series)

    def end_restored(self) -> None:
        """End the series that was taken up again, since no more of it will come."""
        if self.series is not None:
            self._end(self.series)

    def _end(self, series: Series) -> None:
        with self.lock:
            series.finish()
            series.ended = True
            self.ending_at = _FILES_BEING_WRITTEN
        self._on_end(series)

    def conclude(self, series: Series, *, saved: bool) -> None:
        """Leave the state `receiving`, once the file of a series is final, or `failed`, once it is after all."""
        with self.lock:
            late = saved and self.state == "failed" and self.ending_at is None
            if self.series is not series or not (late or self.ending_at == _FILES_BEING_WRITTEN):
                return
            self.ending_at = None
            missing = series.ledger.missing_frames(series.announced)
            usable = len(series.ledger.scored_rows())
            if not saved or (len(series.ledger) and not usable):
                self.state = "failed"
            else:
                self.state = "incomplete" if missing or series.ledger.counts["corrupt"] else "complete"

    # -- what the scan says ----------------------------------------------------------------------------------------

    def note_point(self, note: PointNote) -> None:
        """Join a scan point to a frame; notes that come before their series wait for it."""
        with self.lock:
            if self.series is not None and self.series.header.series == note.series:
                self.series.note_point(note)
                self._write_again(self.series)
            else:
                self._early_notes = [*self._early_notes[-_MAX_EARLY_NOTES:], note]

    def remark(self, remark: Remark) -> None:
        """Take what a person wrote about the series."""
        with self.lock:
            if self.series is not None:
                self.series.remark(remark)
                self._write_again(self.series)

    def expect(self, frames: int) -> None:
        """Say how many frames the open series, or else the next one, is meant to have."""
        with self.lock:
            if self.series is not None and self.state in ("armed", "receiving") and self.ending_at is None:
                self.series.expect(frames)
            else:
                self._next_expected = frames

    def declare(self, purpose: Purpose) -> None:
        """Say what the open series is for.

        Raises
        ------
        ValueError
            When none is open: a purpose that waited for the next series could fall upon a scan that knows nothing of
            it.
        """
        with self.lock:
            if self.series is None or self.state not in ("armed", "receiving") or self.ending_at is not None:
                raise ValueError(f"a series must be open to be for {purpose}, got none; arm the detector first")
            self.series.declare(purpose)

    def apply_settings(self, settings: Settings) -> None:
        """Put settings in force now; verdicts of the open series are derived again."""
        with self.lock:
            self.settings = settings
            if self.series is not None:
                self.series.apply_settings(settings)
                self._write_again(self.series)

    def _write_again(self, series: Series) -> None:
        """Have the final file of an ended series made anew, since its books have changed."""
        if series.ended:
            self._reopen(series)
            self.state, self.ending_at = "receiving", time.monotonic()

    def _reopen(self, series: Series) -> None:
        if series.ended:
            self._on_reopen(series)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A frame being decoded, or refused already."""

    series: Series
    frame: EncodedFrame
    examined: Future[Examined | Refusal] | Refusal
    done: Callable[[], None]

    def ready(self) -> bool:
        return isinstance(self.examined, Refusal) or self.examined.done()

    def outcome(self) -> Examined | Refusal:
        if isinstance(self.examined, Refusal):
            return self.examined
        try:
            return self.examined.result()
        except Exception as error:  # noqa: BLE001 - a fault of ours costs this frame, never the series
            reason = f"frame could not be examined ({type(error).__name__}: {error}); please report it"
            return Refusal(reason=reason, series=self.frame.series, frame=self.frame.frame, image=True)


def examine(frame: EncodedFrame, series: Series) -> Examined | Refusal:
    """Decode and score one frame; touches no sum and no book, so that several may run side by side."""
    if series.reader is None:
        raise RuntimeError("series must know its shape before a frame is examined")
    return series.reader.read(frame)


def find_direct_beam(series: Series, frame: EncodedFrame) -> DirectBeam | None:
    """Return the brightest spot of a frame, None where there is none or the frame cannot be decoded."""
    pixels = decode(frame, series.shape or frame.shape)
    spot = None if isinstance(pixels, Refusal) else find_spot(pixels, series.valid)
    return None if spot is None else DirectBeam(row=spot.row, col=spot.col, peak=spot.peak, photons=spot.photons)


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _beyond(frame: EncodedFrame, series: Series) -> Refusal:
    return Refusal(
        reason=f"frame number must be below the announced {series.header.images}, got {frame.frame}",
        series=frame.series,
        image=True,
    )
