"""Everything that makes one series survive: ledger, checkpoints, spool, and who fetches frames again."""

import threading
from collections.abc import Callable
from pathlib import Path

from processing.frame import EncodedFrame
from service.books import ErrorLog
from service.claim import Claim
from service.config import Settings
from service.frame_stores import DetectorFiles, SpoolStore, spool_stem
from service.keeper import Keeper
from service.refetch import FrameStore, Refetcher
from service.series import Series
from service.spool import Spool
from service.spool_file import Kept


class Safety:
    """The safety of one series.

    Parameters
    ----------
    series : Series
    result : Path
        The result file, whose name all files share.
    started : str
        When the series opened, UTC.
    settings : Settings
    claim : Claim or None
        The right to write the series, given back at the end.
    spooled : SpoolStore or None
        What the spool has of it already, where somebody has looked.
    lock : threading.RLock
        Guards the series.
    errors : ErrorLog
    degraded : dict
        Gets a sentence for what does not work.
    changed : callable
        Called after the books have changed.

    Attributes
    ----------
    not_spooled : int
        Frames that were summed but are not in the spool, although it is on.
    """

    def __init__(
        self,
        series: Series,
        result: Path,
        started: str,
        settings: Settings,
        *,
        claim: Claim | None,
        spooled: SpoolStore | None = None,
        lock: "threading.RLock",
        errors: ErrorLog,
        degraded: dict[str, str],
        changed: Callable[[], None],
    ) -> None:
        self.series, self.result, self._claim = series, result, claim
        self._settings, self._errors, self._degraded = settings, errors, degraded
        self.keeper = Keeper(series, lock, result, started, settings.recovery, degraded)
        self._spooled = spooled or SpoolStore(spool_stem(result))
        self._spool: Spool | None = None
        self._files: DetectorFiles | None = None
        self._given: set[int] = set()
        stores: list[FrameStore] = [self._spooled]
        if settings.spool.detector_files is not None:
            self._files = DetectorFiles(settings.spool.detector_files, series.header.series, self._say_files)
            stores.append(self._files)
        self.refetcher = Refetcher(series, lock, stores, errors, changed)
        self.not_spooled = 0

    def open(self, *, resumed: str = "") -> None:
        """Begin; `resumed` says what was found of a series that is not new."""
        if self._settings.recovery.enabled:
            self.keeper.open(resumed=resumed)
        self.refetcher.start()
        if resumed and self._settings.spool.enabled:
            self._open_spool()

    def booked(self, frame: EncodedFrame) -> None:
        """Spool a frame that was booked; quick."""
        if not self._settings.spool.enabled:
            return
        spool = self._spool or self._open_spool()
        self._spooled.offered(frame.frame)
        self._given.add(frame.frame)
        if not spool.offer(frame):
            self._not_kept(frame.frame)

    def _open_spool(self) -> Spool:
        self._spool = Spool(
            spool_stem(self.result),
            self.series.header,
            self._settings.spool,
            kept=self._kept,
            troubled=self._troubled,
        )
        return self._spool

    def _kept(self, kept: Kept) -> None:
        self._given.discard(kept.frame)
        self._spooled.kept(kept.frame)
        if self._settings.recovery.enabled:
            self.keeper.kept(kept.frame, kept.file, kept.offset, kept.size)

    def _not_kept(self, frame: int) -> None:
        self._spooled.dropped(frame)
        self._given.discard(frame)
        self.not_spooled += 1
        self._degraded["spool"] = (
            f"the spool cannot keep up or refused {self.not_spooled} frames of series {self.series.header.series}; "
            "they are summed all the same, but cannot be read again"
        )

    def _troubled(self, sentence: str | None) -> None:
        if sentence is None:
            self._degraded.pop("spool disk", None)
        else:
            self._degraded["spool disk"] = sentence

    def _say_files(self, sentence: str) -> None:
        self._errors.add("detector files", sentence, series=self.series.header.series)

    def durable_through(self) -> int:
        """Return how many rows would survive a killed service: in ledger and spool, or in a checkpoint."""
        keeper = self.keeper
        if not self._settings.recovery.enabled:
            return 0
        if not self._settings.spool.enabled or self.not_spooled:
            return keeper.checkpoint_through
        return max(keeper.checkpoint_through, keeper.ledger_through - len(self._given))

    def ended(self) -> None:
        """Say that the series has ended."""
        self.keeper.ended()

    def reopened(self) -> None:
        """Say that the books have changed after the end."""
        if self._settings.recovery.enabled:
            self.keeper.reopened()

    def complete(self, give_up: Callable[[], bool]) -> None:
        """Have the ended series completed from what lies elsewhere."""
        self.refetcher.complete(self._settings.recovery.fetch_timeout_s, give_up)

    def concluded(self) -> None:
        """Say that the result file is final; the spool's files get their final names."""
        self.keeper.concluded()
        self._close_spool(10.0)

    def _close_spool(self, timeout_s: float) -> None:
        if self._spool is not None:
            self._spool.close(timeout_s)
            self._spool = None

    def stop(self, timeout_s: float) -> None:
        """End everything; what is not written by then is not."""
        self.refetcher.stop()
        self._close_spool(timeout_s)
        if self._files is not None:
            self._files.close()
        self.keeper.stop(timeout_s)
        if self._claim is not None:
            self._claim.give_back()

    def forget(self) -> None:
        """End, and leave no checkpoint: a newer series has begun and the result file of this one is final."""
        self.stop(5.0)
        self.keeper.forget()
        self.series.release()
