"""The live service: the pipeline with its threads, seen from outside as a `LiveSource`."""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from processing import plane_sum
from processing.accumulate import ExactSum
from processing.decode import decode
from processing.frame import EncodedFrame, Refusal
from processing.screen import score
from service import preview
from service.board import StatusBoard
from service.claim import Claim
from service.config import Settings
from service.errors import ConfigurationError, UserError
from service.frame_stores import SpoolStore, spool_stem
from service.hand import Hand
from service.ledger import LOST
from service.mailbox import Mailbox, is_image
from service.office import Folder, Office
from service.pipeline import Pipeline
from service.pooled_sums import PooledSums
from service.preview import make_image_preview, make_preview
from service.receive import Receiver
from service.restore import Unfinished, find_unfinished, restored
from service.ring_watch import RingWatch
from service.safety import Safety
from service.series import Series
from service.source import PointNote, Preview, PreviewName
from service.status import Purpose, Status, WhatIf
from service.store import free_path
from service.views import Views
from service.what_if import check_changeable, what_if

_PREVIEW_EVERY_S = 0.5
_log = structlog.get_logger()


def load_mask(settings: Settings) -> NDArray[np.bool_] | None:
    """Read the user's mask, if one is configured.

    Raises
    ------
    ConfigurationError
        When the file cannot be read or is not a 2-D array.
    """
    path = settings.detector.mask_file
    if path is None:
        return None
    try:
        mask = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"detector.mask_file {path} cannot be read as .npy: {error}") from None
    if mask.ndim != 2:
        raise ConfigurationError(f"detector.mask_file {path} must hold a 2-D array, got {mask.ndim} dimensions")
    return np.asarray(mask != 0)


def check_output(directory: Path) -> None:
    """Make the output folder, or say why results could not be written there.

    Raises
    ------
    ConfigurationError
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"output folder {directory} cannot be written: {error.strerror}; choose another with --output"
        ) from None


def warm_up() -> None:
    """Compile the kernels for every pixel type, so that the first frame is as quick as the tenth."""
    valid = np.ones((4, 4), np.uint8)
    for dtype in (np.uint8, np.uint16, np.uint32):
        pixels = np.ones((4, 4), dtype)
        pixels.flags.writeable = False  # as real frames come
        score(pixels, valid, np.arange(2))
        ExactSum(valid).add(pixels)
    preview.warm_up()
    plane_sum.warm_up()


class LiveService:
    """Receives, screens, sums and publishes until it is stopped.

    Parameters
    ----------
    settings : Settings
        With an address to connect to or to bind.

    Raises
    ------
    UserError
        When the output, the mask or the address cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        check_output(settings.output.directory)
        self.settings = settings
        self._change = threading.Condition()
        self._changes = 0
        self._paths: set[Path] = set()
        self.mailbox = Mailbox(settings.stream.queue_frames)
        self.pipeline = Pipeline(
            settings,
            user_mask=load_mask(settings),
            on_open=self._opened,
            on_end=self._ended,
            on_booked=self._booked,
            on_reopen=self._reopened,
        )
        self.office = Office(
            self.pipeline.lock,
            self.pipeline.errors,
            settings.output.directory,
            self._concluded,
            self._changed,
            complete=self._complete,
        )
        self._safeties: list[Safety] = []
        self.receiver = Receiver(settings.stream, self.mailbox)
        self._board = StatusBoard(
            self.pipeline, self.office, self.mailbox, self.receiver.endpoint, lambda: self._safety(self.pipeline.series)
        )
        self._sums = PooledSums(self.pipeline, lambda: self._changes)
        self.views = Views(self.pipeline, self.office, self._sums, self._find)
        self.ended_series = 0
        self._stop = threading.Event()
        self._previews: dict[PreviewName, tuple[float, int, Preview | None]] = {}
        self._worker = threading.Thread(target=self._work, name="sum", daemon=True)

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Compile, then receive."""
        warm_up()
        self.office.start()
        if self.settings.recovery.enabled:
            self._take_up()
        self._worker.start()
        self.receiver.start()

    def stop(self, timeout_s: float = 9.0) -> None:
        """Take what has been received to the sums, save it and end."""
        deadline = time.monotonic() + timeout_s
        self.receiver.stop()
        self.office.hurry()
        while self.mailbox.count()[1] and time.monotonic() < deadline - 3:
            time.sleep(0.01)
        self._stop.set()
        if self._worker.is_alive():
            self._worker.join(1.0)
        self.pipeline.end_now()
        for safety in self._safeties:
            if safety.series.interrupted:  # its checkpoint may be written while its file is
                safety.keeper.hurry()
        self.office.stop(max(1.0, deadline - time.monotonic()))
        for safety in self._safeties:
            safety.stop(1.0)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one message, the next ones must be summed
                _log.exception("message not carried")
                sentence = f"{type(error).__name__}: {error}; please report it with the service's log"
                self.pipeline.errors.add("fault of the program", sentence)
                self._changed()

    def _step(self) -> None:
        """Carry one message, or what is under way when none waits, and look at the clock."""
        before = (self.pipeline.state, self.pipeline.busy())
        letter = self.mailbox.take(0.0 if before[1] else 0.05)
        if letter is None:
            self.pipeline.catch_up()
        else:
            self.pipeline.take(letter, self.mailbox.done if is_image(letter.message) else _nothing)
        self.office.look()
        self.pipeline.tick(time.monotonic(), idle=letter is None)
        if letter is not None or before != (self.pipeline.state, False):
            self._changed()

    def _opened(self, series: Series) -> None:
        path, claim = self._free_place(series)
        self._previews.clear()
        folder = Folder(series=series, path=path)
        self._keep_safe(folder, claim)
        self.office.open(folder)

    def _free_place(self, series: Series) -> tuple[Path, Claim | None]:
        """Return a result file's name that nobody has, and the right to it; a folder that is gone gives no right."""
        while True:
            path = free_path(self.settings.output.directory, series.header.series, self._paths)
            self._paths.add(path)
            try:
                claim = Claim.take(path)
            except OSError:
                return path, None
            if claim is not None:
                return path, claim

    def _keep_safe(
        self, folder: Folder, claim: Claim | None, *, spooled: SpoolStore | None = None, resumed: str = ""
    ) -> Safety:
        """Begin to keep a series safe; the checkpoints of those whose file is final go."""
        final = [one for one in self._safeties if one.series.concluded]
        self._safeties = [one for one in self._safeties if one not in final]
        safety = Safety(
            folder.series,
            folder.path,
            folder.started,
            self.settings,
            claim=claim,
            spooled=spooled,
            lock=self.pipeline.lock,
            errors=self.pipeline.errors,
            degraded=self.office.degraded,
            changed=self._changed,
        )
        self._safeties.append(safety)
        safety.open(resumed=resumed)
        if final:
            threading.Thread(target=_forget, args=(final,), name="forget", daemon=True).start()
        return safety

    def _safety(self, series: Series | None) -> Safety | None:
        return next((one for one in self._safeties if one.series is series), None)

    def _find(self, series: Series, number: int) -> EncodedFrame | None:
        """Read a frame of a series from where its bytes lie; may wait for a disk."""
        safety = self._safety(series)
        return None if safety is None else safety.refetcher.look(number)

    def _booked(self, series: Series, frame: EncodedFrame) -> None:
        safety = self._safety(series)
        if safety is not None:
            safety.booked(frame)

    def _ended(self, series: Series) -> None:
        safety = self._safety(series)
        if safety is not None and not series.interrupted:
            safety.ended()
        self.office.finish(series)

    def _reopened(self, series: Series) -> None:
        series.concluded = False
        safety = self._safety(series)
        if safety is not None:
            safety.reopened()

    def _complete(self, series: Series) -> None:
        safety = self._safety(series)
        if safety is not None:
            safety.complete(self._stop.is_set)

    def _concluded(self, series: Series, saved: bool) -> None:
        series.concluded = saved and not series.interrupted
        safety = self._safety(series)
        if safety is not None and series.concluded:
            safety.concluded()
        self.pipeline.conclude(series, saved=saved)
        self.ended_series += 1

    def _take_up(self) -> None:
        """Go on with what a killed service left behind: the newest series is received on, older ones get their file."""
        found, troubles = find_unfinished(self.settings.output.directory)
        for sentence in troubles:
            self.pipeline.errors.add("not recovered", sentence)
        for one in found:
            try:
                self._take_up_one(one, newest=one is found[-1])
            except (UserError, ValueError, OSError) as error:
                self.pipeline.errors.add("not recovered", f"series of {one.result} cannot be taken up again: {error}")

    def _take_up_one(self, one: Unfinished, *, newest: bool) -> None:
        header = one.state.header
        for sentence in one.remarks:
            self.pipeline.errors.add("recovery", sentence, series=header.series)
        spooled = SpoolStore(spool_stem(one.result))
        stored = restored(one.state, self.settings, ledger=one.ledger, elsewhere=spooled.has)
        folder = Folder(series=stored, path=one.result, started=one.state.started)
        self._paths.add(one.result)
        rows = int((stored.ledger.column("verdict") != LOST).sum())
        lost = len(stored.ledger) - rows
        said = (
            f"series {header.series} was taken up again with {rows} frames, {len(stored.to_fetch)} of them to be read "
            f"from the spool; {lost} went with the killed service and count as missing"
        )
        self.pipeline.errors.add("recovered", said, series=header.series)
        self.office.open(folder)
        self.pipeline.resume(stored)
        safety = self._keep_safe(folder, one.claim, spooled=spooled, resumed=said)
        if one.ended or not newest:
            self.pipeline.end_restored()
        else:
            threading.Thread(target=safety.refetcher.recover_known, name="recover", daemon=True).start()

    def _changed(self) -> None:
        with self._change:
            self._changes += 1
            self._change.notify_all()

    # -- LiveSource ------------------------------------------------------------------------------------------------

    def change_count(self) -> int:
        """Return a number that grows with every change of the status."""
        return self._changes

    def watch_ring(self, addresses: str) -> RingWatch:
        """Show the storage ring from now on; the caller stops it."""
        watch = RingWatch(addresses, self.settings.beamline, self._changed)
        self._board.ring = watch.now
        return watch

    def wait_for_change(self, seen: int, timeout_s: float) -> int:
        """Wait until `change_count` exceeds `seen` or the time is over; return the count."""
        with self._change:
            self._change.wait_for(lambda: self._changes > seen, timeout_s)
            return self._changes

    def status(self) -> Status:
        """Return the books and the state at this moment."""
        return self._board.status()

    def preview(self, what: PreviewName) -> Preview | None:
        """Return the newest small picture; made at most twice a second."""
        made, changes, picture = self._previews.get(what, (0.0, -1, None))
        now = time.monotonic()
        if now - made < _PREVIEW_EVERY_S or changes == self._changes:
            return picture
        fresh = self._changes
        picture = self._make_preview(what, fresh)
        # One of a sum that somebody else has read a moment ago is as old as that, and made again when things change.
        self._previews[what] = (time.monotonic(), fresh if picture is None else picture.version, picture)
        return picture

    def _make_preview(self, what: PreviewName, number: int) -> Preview | None:
        pipeline, folder = self.pipeline, self.office.current
        if what == "reconstruction":
            result = folder.imaging if folder else None
            if result is None or result.image is None:
                return None
            return make_image_preview(result.image, version=number, frames=result.frames)
        if what != "last":
            pooled = self._sums.get(what)
            if pooled is None:
                return None
            return Preview(pixels=pooled.pixels, step=pooled.step, version=pooled.version, frames=pooled.frames)
        with pipeline.lock:
            series, frame = pipeline.series, pipeline.last_frame
        return None if series is None or frame is None else _frame_preview(frame, series, number)

    def book_point(self, note: PointNote) -> None:
        """Join a scan point to a frame; `void` takes that frame out of the sum."""
        self.pipeline.note_point(note)
        self._changed()

    def expect(self, frames: int) -> None:
        """Say how many frames the client intends to take in this series."""
        self.pipeline.expect(frames)
        self._changed()

    def declare(self, purpose: Purpose) -> None:
        """Say what the open series is for.

        Raises
        ------
        ValueError
            When no series is open.
        """
        self.pipeline.declare(purpose)
        self._changed()

    def pause(self, paused: bool) -> None:
        """Suspend the idle timeout while the plan is paused."""
        self.pipeline.paused = paused
        self._changed()

    def change_settings(self, changes: Mapping[str, object], who: str) -> int:
        """Apply screening and reconstruction settings by their contract names; return the new version.

        Raises
        ------
        ValueError
            When a name is unknown, cannot change while the service runs, or a value is outside its limits.
        """
        try:
            check_changeable(changes)
            settings = self.pipeline.settings.changed(changes)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        self.pipeline.apply_settings(settings)
        _log.info("settings changed", who=who, **changes)
        self._changed()
        series = self.pipeline.series
        return series.version if series else 1

    def what_if(self, cases: Sequence[Mapping[str, object]]) -> list[WhatIf]:
        """Say what several sets of settings would change.

        Raises
        ------
        ValueError
            When there is no series, or a setting cannot be used.
        """
        with self.pipeline.lock:
            if self.pipeline.series is None:
                raise ValueError("there is no series to try settings on yet")
            scored, settings = self.pipeline.series.scored(), self.pipeline.settings
        try:
            return what_if(scored, settings, cases)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None

    def mark(self, frames: Sequence[int], who: str, *, out: bool) -> None:
        """Leave frames out of the sum by hand, or take them back.

        Raises
        ------
        ValueError
            When there is no series or no such frame.
        """
        Hand(self.pipeline).mark(frames, out=out)
        _log.info("frames marked", who=who, frames=len(frames), out=out)
        self._changed()

    def write_note(self, text: str, who: str) -> None:
        """Write a note into the record of the run.

        Raises
        ------
        ValueError
            When there is no series, or the text cannot be taken.
        """
        Hand(self.pipeline).write(text)
        _log.info("note written", who=who)
        self._changed()

    def request_reconstruction(self, who: str) -> None:
        """Reconstruct from what is there now."""
        _log.info("reconstruction requested", who=who)
        self.office.request_image()

    def request_snapshot(self, who: str) -> str:
        """Write the result file now; return its path.

        Raises
        ------
        ValueError
            When there is no series, or the disk refuses.
        """
        folder = self.office.current
        if folder is None:
            raise ValueError("there is no series to save yet")
        _log.info("snapshot requested", who=who)
        if not self.office.save(folder):
            raise ValueError(self.office.degraded.get("disk", "the result file could not be written"))
        return str(folder.path)


def _forget(final: "list[Safety]") -> None:
    for one in final:
        one.forget()


def _nothing() -> None:
    """Do nothing: only images are counted."""


def _frame_preview(frame: EncodedFrame, series: Series, number: int) -> Preview | None:
    pixels = decode(frame, series.shape or frame.shape)
    if isinstance(pixels, Refusal):
        return None
    below = int(np.iinfo(pixels.dtype).max) - 1
    return make_preview(pixels, series.valid, version=number, frames=1, below=below)
