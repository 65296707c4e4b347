"""Keeps a series safe while it grows: its ledger and its checkpoints, written by a thread that may wait for a disk.

Nothing here is waited for by the sums. What the disk refuses stays in memory and is tried again; `degraded` says so.
"""

import contextlib
import math
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from processing.snapshot import freeze
from service.checkpoint import remove_checkpoints, write_checkpoint
from service.config import Recovery
from service.ledger import COLUMNS
from service.ledger_file import NOTE, SUFFIX, Entry, LedgerFile, event, header_facts
from service.series import Remark, Series, SettingsVersion
from service.source import PointNote
from service.status import Purpose

CHECKPOINT_SUFFIX = ".checkpoint"
COMMIT_EVERY_S = 0.02
SYNC_EVERY_S = 0.5
_CHECKPOINT_SHARE = 20  # a checkpoint may take a twentieth of the time
_RETRY_S = 1.0
_log = structlog.get_logger()


def ledger_path(result: Path) -> Path:
    """Return the name of the ledger of a result file."""
    return result.with_suffix(SUFFIX)


def checkpoint_path(result: Path) -> Path:
    """Return the name of the newest checkpoint of a result file."""
    return result.with_suffix(CHECKPOINT_SUFFIX)


class Keeper:
    """The ledger and the checkpoints of one series; is its `Journal`.

    Parameters
    ----------
    series : Series
    lock : threading.RLock
        Guards the series; held only while copying.
    result : Path
        The result file, whose name they share.
    started : str
        When the series opened, UTC.
    settings : Recovery
    degraded : dict
        Gets a sentence under "ledger" and "checkpoint" as long as the disk refuses one.

    Attributes
    ----------
    ledger_through, checkpoint_through : int
        Rows that the disk has.
    """

    def __init__(
        self,
        series: Series,
        lock: "threading.RLock",
        result: Path,
        started: str,
        settings: Recovery,
        degraded: dict[str, str],
    ) -> None:
        self.series, self.result, self.started = series, result, started
        self._lock, self._settings, self._degraded = lock, settings, degraded
        self._entries: deque[Entry] = deque()
        self._file: LedgerFile | None = None
        self._rows_given = 0
        self._rows_committed = 0
        self._synced_at = 0.0
        self._checkpoint_at = time.monotonic() + settings.checkpoint_every_s
        self._retry_at = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing: threading.Event | None = None
        self.ledger_through = 0
        self.checkpoint_through = 0
        self.checkpoint_s = 0.0

    # -- life ------------------------------------------------------------------------------------------------------

    def open(self, *, resumed: str = "") -> None:
        """Begin with a series that is new, or go on with one that was restored.

        Parameters
        ----------
        resumed : str
            What was found, for the ledger; empty for a new series.
        """
        if resumed:
            self._rows_given = self._rows_committed = len(self.series.ledger)
            self._entries.append(event("resumed", resumed))
            self._checkpoint_at = 0.0
        else:
            self._entries.append(event("opened", self.started))
        for version in self.series.versions:
            self.versioned(version)
        self.series.journal = self
        self._run()

    def _run(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._work, name="keep", daemon=True)
        self._thread.start()

    def ended(self) -> None:
        """Say that the series has ended; its file is being made."""
        self._entries.append(event("ended"))

    def reopened(self) -> None:
        """Say that the books of an ended series have changed."""
        self._entries.append(event("reopened"))
        if self._thread is None or not self._thread.is_alive():
            self._run()

    def concluded(self) -> None:
        """Say that the result file is final; ledger and checkpoint stay for what may still change."""
        self._entries.append(event("closed"))

    def hurry(self) -> None:
        """Begin to write what is left; `stop` waits for it."""
        self._stop.set()

    def stop(self, timeout_s: float) -> None:
        """Write what is left and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def forget(self) -> None:
        """End, and remove the checkpoints of a series whose result file is final."""
        self.stop(5.0)
        remove_checkpoints(checkpoint_path(self.result))

    # -- Journal: called under the lock ----------------------------------------------------------------------------

    def entered(self, row: int) -> None:
        """Take a new row."""
        column = self.series.ledger.column
        frame, verdict, total, chi2, dof, version = (column(name)[row].item() for name in COLUMNS)
        self._entries.append(
            Entry("frames", (row, frame, verdict, total, None if math.isnan(chi2) else chi2, dof, version))
        )
        self._rows_given = row + 1

    def judged(self, row: int, verdict: int, parameters: int) -> None:
        """Take another verdict of an earlier row."""
        self._entries.append(Entry("flips", (row, verdict, parameters)))

    def noted(self, note: PointNote) -> None:
        """Take what the scan said."""
        self._entries.append(Entry("points", (note.frame, note.point, note.x_um, note.y_um, int(note.void))))

    def versioned(self, version: SettingsVersion) -> None:
        """Take other settings."""
        text = version.settings.model_dump_json(exclude={"beamline"})
        self._entries.append(Entry("settings", (version.version, version.from_frame, text)))

    def remarked(self, remark: Remark) -> None:
        """Take what a person wrote."""
        self._entries.append(Entry("events", (remark.when, NOTE, remark.text)))

    def expects(self, frames: int) -> None:
        """Take how many frames are meant to come."""
        self._entries.append(event("expected", str(frames)))

    def declared(self, purpose: Purpose) -> None:
        """Take what the series is for."""
        self._entries.append(event("purpose", purpose))

    def proved(self) -> None:
        """Take that the sender's hashes are digests."""
        self._entries.append(event("hashes are digests"))

    def kept(self, frame: int, file: str, offset: int, size: int) -> None:
        """Take where the bytes of a frame are."""
        self._entries.append(Entry("kept", (frame, file, offset, size)))

    # -- the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stop.wait(COMMIT_EVERY_S):
            self._turn(time.monotonic())
        deadline = time.monotonic() + 2.0
        self._retry_at = 0.0
        while self._entries and time.monotonic() < deadline:
            self._turn(time.monotonic(), last=True)
        if self.ledger_through < self._rows_committed:
            self._synced_at = 0.0
            self._turn(time.monotonic(), last=True)
        if not self.series.concluded:  # the next service goes on from here
            self._try_checkpoint()
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error, OSError):
                self._file.close()
            self._file = None

    def _turn(self, now: float, *, last: bool = False) -> None:
        if now < self._retry_at:
            return
        try:
            self._commit()
            if now - self._synced_at >= SYNC_EVERY_S or last:
                self._sync()
                self._synced_at = now
            self._degraded.pop("ledger", None)
        except Exception as error:  # noqa: BLE001 - whatever it is, entries stay and are tried again
            if not isinstance(error, sqlite3.Error | OSError):
                _log.exception("ledger not written")
            self._retry_at = now + _RETRY_S
            self._degraded["ledger"] = (
                f"ledger {ledger_path(self.result)} cannot be written: {error}; {len(self._entries)} entries wait in "
                "memory, make room or rights and they are written"
            )
        if not last and now >= self._checkpoint_at:
            self._try_checkpoint()

    def _commit(self) -> None:
        entries = list(self._entries)
        if not entries:
            return
        if self._file is None:
            facts = self._facts()
            if facts is None:
                return
            self._file = LedgerFile(ledger_path(self.result), facts)
        self._file.add(entries)
        for _ in entries:
            self._entries.popleft()
        rows = [values[0] for table, values in entries if table == "frames"]
        self._rows_committed = max([self._rows_committed, *(row + 1 for row in rows)])

    def _sync(self) -> None:
        if self._file is not None and self.ledger_through < self._rows_committed:
            rows = self._rows_committed
            self._file.sync()
            self.ledger_through = rows

    def _facts(self) -> dict[str, Any] | None:
        """Return what makes the series again; None before its shape is known."""
        with self._lock:
            header, shape = self.series.header, self.series.shape
            valid = None if shape is None else self.series.valid
        if shape is None or valid is None:
            return None
        return {
            **header_facts(header),
            "rows": shape[0],
            "columns": shape[1],
            "valid": zlib.compress(np.packbits(valid).tobytes(), 1),
            "result": self.result.name,
            "started": self.started,
        }

    def _try_checkpoint(self) -> None:
        begun = time.monotonic()
        try:
            self._checkpoint()
            self._degraded.pop("checkpoint", None)
        except OSError as error:
            self._degraded["checkpoint"] = (
                f"checkpoint {checkpoint_path(self.result)} cannot be written: {error.strerror or error}; frames since "
                "the last one would be lost with the service, make room or rights and it is written again"
            )
        except Exception as error:  # noqa: BLE001 - the ledger must go on, whatever is wrong here
            _log.exception("no checkpoint")
            self._degraded["checkpoint"] = f"no checkpoint: {type(error).__name__}: {error}; please report it"
        self.checkpoint_s = time.monotonic() - begun
        pause = max(self._settings.checkpoint_every_s, _CHECKPOINT_SHARE * self.checkpoint_s)
        self._checkpoint_at = time.monotonic() + pause

    def _checkpoint(self) -> None:
        with self._lock:
            series = self.series
            rows = len(series.ledger)
            if series.accepted is None or series.background is None or rows == self.checkpoint_through:
                return
            accepted, background = freeze(series.accepted), freeze(series.background)
            even = None if series.even is None else freeze(series.even)
            columns = {name: series.ledger.column(name).copy() for name in COLUMNS}
            facts = self._state_facts()
        arrays: dict[str, Any] = {f"ledger/{name}": column for name, column in columns.items()}
        for name, part in (("accepted", accepted), ("background", background), ("even", even)):
            if part is None:
                continue
            arrays |= {f"{name}/data": part.data, f"{name}/excluded": part.excluded}
            facts[f"{name}_frames"] = part.frames
        arrays["valid"] = series.valid
        write_checkpoint(checkpoint_path(self.result), facts, arrays)
        self.checkpoint_through = rows

    def _state_facts(self) -> dict[str, Any]:
        series = self.series
        return {
            **header_facts(series.header),
            "result": self.result.name,
            "started": self.started,
            "expected": series.expected,
            "purpose": series.purpose,
            "versions": [
                [entry.version, entry.from_frame, entry.settings.model_dump(mode="json", exclude={"beamline"})]
                for entry in series.versions
            ],
            "notes": [note.model_dump(mode="json") for note in series.ledger.notes.values()],
        }


def valid_of(facts: Mapping[str, Any]) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return the static mask from the facts of a ledger, shape (rows, columns).

    Raises
    ------
    ValueError
        When they do not hold one.
    """
    rows, columns = int(facts["rows"]), int(facts["columns"])
    size = -(-rows * columns // 8)
    opened = zlib.decompressobj()
    packed = opened.decompress(facts["valid"], size)
    if len(packed) != size:
        raise ValueError(f"mask must have {size} bytes, got {len(packed)}")
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=rows * columns).reshape(rows, columns) != 0
