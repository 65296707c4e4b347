"""The ledger on disk: an SQLite file that only grows, one row an image message.

Tables: `frames` as they were booked, `flips` (later verdicts), `points` (what the scan said), `settings` (each version
with the frame from which it applies), `kept` (where a frame's bytes are), `events`, and `facts` of the series. The view
`ledger` is what a person wants to see: each frame with its last verdict, its point and its place.
"""

import base64
import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from processing.frame import CATEGORY_NAMES, SeriesHeader
from service.ledger import COLUMNS
from service.source import PointNote
from service.status import PURPOSES, Purpose

SUFFIX = ".ledger"
_BUSY_S = 5.0
_STATES = "'opened', 'reopened', 'resumed', 'ended', 'closed'"
_VERDICTS = " ".join(f"WHEN {number} THEN '{name}'" for number, name in enumerate(CATEGORY_NAMES))
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE settings (version INTEGER PRIMARY KEY, from_frame INTEGER, settings TEXT);
CREATE TABLE frames (row INTEGER PRIMARY KEY, frame INTEGER, verdict INTEGER, total INTEGER, chi2 REAL, dof INTEGER,
    parameters INTEGER);
CREATE TABLE flips (id INTEGER PRIMARY KEY, row INTEGER, verdict INTEGER, parameters INTEGER);
CREATE INDEX flips_row ON flips (row, id);
CREATE TABLE points (id INTEGER PRIMARY KEY, frame INTEGER, point INTEGER, x_um REAL, y_um REAL, void INTEGER);
CREATE INDEX points_frame ON points (frame, id);
CREATE TABLE kept (frame INTEGER PRIMARY KEY, file TEXT, offset INTEGER, size INTEGER);
CREATE TABLE events (id INTEGER PRIMARY KEY, moment TEXT, what TEXT, detail TEXT);
CREATE VIEW ledger AS
    SELECT f.row, f.frame, f.total, f.chi2, f.dof,
        CASE coalesce(v.verdict, f.verdict) VERDICTS WHEN 254 THEN 'lost' ELSE 'pending' END AS verdict,
        coalesce(v.parameters, f.parameters) AS parameters, p.point, p.x_um, p.y_um, p.void, k.file, k.offset, k.size
    FROM frames f
    LEFT JOIN flips v ON v.id = (SELECT max(id) FROM flips WHERE row = f.row)
    LEFT JOIN points p ON p.id = (SELECT max(id) FROM points WHERE frame = f.frame)
    LEFT JOIN kept k ON k.frame = f.frame;
"""
_GROWS = """
CREATE TRIGGER TABLE_ACT_not BEFORE ACT ON TABLE BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
"""
_INSERTS = {
    "settings": "INSERT OR IGNORE INTO settings VALUES (?, ?, ?)",
    "frames": "INSERT OR IGNORE INTO frames VALUES (?, ?, ?, ?, ?, ?, ?)",
    "flips": "INSERT INTO flips (row, verdict, parameters) VALUES (?, ?, ?)",
    "points": "INSERT INTO points (frame, point, x_um, y_um, void) VALUES (?, ?, ?, ?, ?)",
    "kept": "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)",
    "events": "INSERT INTO events (moment, what, detail) VALUES (?, ?, ?)",
}


NOTE = "note"
"""The event that says what a person wrote."""


class Entry(NamedTuple):
    """One row for a table.

    Attributes
    ----------
    table : str
    values : tuple
    """

    table: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerContent:
    """What a ledger file says about its series.

    Attributes
    ----------
    columns : dict of str to ndarray, shape (n,)
        As booked, in the order of booking.
    verdicts : ndarray of uint8, shape (n,)
        The last verdict of each row.
    closed : bool
        Whether its result file was final.
    ended : bool
        Whether the series had ended, its file perhaps not written yet.
    """

    facts: dict[str, Any]
    header: SeriesHeader
    versions: list[tuple[int, int, dict[str, Any]]]
    columns: dict[str, NDArray[Any]]
    verdicts: NDArray[np.uint8]
    notes: list[PointNote]
    expected: int | None
    purpose: Purpose
    closed: bool
    ended: bool
    hashes_proven: bool = False
    events: list[tuple[str, str, str]] = field(default_factory=list)


class LedgerFile:
    """Writes a ledger; used by one thread.

    Parameters
    ----------
    path : Path
    facts : dict
        Of the series, `header_facts` among them; written once, when the file is new.

    Raises
    ------
    sqlite3.Error, OSError
        When the disk refuses.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self._base = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            if not self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                with self._whole():
                    for statement in _statements():
                        self._base.execute(statement)
                    self._base.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
            self._log = os.open(f"{path}-wal", os.O_RDONLY)
        except BaseException:
            self._base.close()
            raise

    def _whole(self) -> "_Transaction":
        return _Transaction(self._base)

    def add(self, entries: Iterable[Entry]) -> None:
        """Commit entries together: after this a killed process loses none of them.

        Raises
        ------
        sqlite3.Error
            When the disk refuses; none of them is in then.
        """
        with self._whole():
            for table, values in entries:
                self._base.execute(_INSERTS[table], values)

    def sync(self) -> None:
        """Have what was committed on the disk itself: after this a power cut loses none of it.

        Raises
        ------
        OSError
        """
        os.fsync(self._log)

    def close(self) -> None:
        """Close the file; its log is taken over into it."""
        os.close(self._log)
        self._base.close()


class _Transaction:
    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base

    def __enter__(self) -> None:
        self._base.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            try:
                self._base.execute("COMMIT")
            except sqlite3.Error:
                self._undo()
                raise
        else:
            self._undo()

    def _undo(self) -> None:
        if self._base.in_transaction:
            self._base.execute("ROLLBACK")


def _statements() -> list[str]:
    """Return the statements that make a new ledger: tables, what keeps them from changing, and the view."""
    script = _SCHEMA.replace("VERDICTS", _VERDICTS)
    for table in ("settings", "frames", "flips", "points", "events"):
        for act in ("UPDATE", "DELETE"):
            script += _GROWS.replace("TABLE", table).replace("ACT", act)
    found, text = [], ""
    for piece in script.split(";")[:-1]:
        text += piece + ";"
        if sqlite3.complete_statement(text):  # a trigger holds a semicolon of its own
            found.append(text)
            text = ""
    return found


def event(what: str, detail: str = "") -> Entry:
    """Return an entry for something that happened now."""
    return Entry("events", (datetime.now(UTC).isoformat(timespec="milliseconds"), what, detail))


def note_event(path: Path, what: str, detail: str) -> None:
    """Enter something that happened to a finished series, if it has a ledger.

    Raises
    ------
    sqlite3.Error, OSError
        When the disk refuses.
    """
    if not path.is_file():
        return
    file = LedgerFile(path, {})
    try:
        file.add([event(what, detail)])
    finally:
        file.close()


def is_closed(path: Path) -> bool:
    """Whether the result file of a ledger's series was final; a quick look.

    Raises
    ------
    sqlite3.Error
    """
    if not path.is_file():
        return False
    base = sqlite3.connect(path, timeout=_BUSY_S)
    try:
        last = base.execute(f"SELECT what FROM events WHERE what IN ({_STATES}) ORDER BY id DESC LIMIT 1").fetchone()  # noqa: S608 - our own words
    finally:
        base.close()
    return last is not None and last[0] == "closed"


def read_ledger(path: Path) -> LedgerContent:
    """Read a ledger, also one whose writer was killed.

    Raises
    ------
    sqlite3.Error, OSError, ValueError
        When it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no ledger {path}")
    base = sqlite3.connect(path, timeout=_BUSY_S)
    try:
        facts = dict(base.execute("SELECT name, value FROM facts").fetchall())
        rows = base.execute("SELECT * FROM frames ORDER BY row").fetchall()
        rows = rows[: _unbroken([row[0] for row in rows])]
        versions = base.execute("SELECT * FROM settings ORDER BY version").fetchall()
        notes = base.execute("SELECT frame, point, x_um, y_um, void FROM points ORDER BY id").fetchall()
        events = base.execute("SELECT moment, what, detail FROM events ORDER BY id").fetchall()
        flips = base.execute("SELECT row, verdict FROM flips ORDER BY id").fetchall()
    finally:
        base.close()
    columns = _columns(rows)
    verdicts = columns["verdict"].copy()
    for row, verdict in flips:
        if row < len(verdicts):
            verdicts[row] = verdict
    header = header_of(facts)
    said = [detail for _, what, detail in events if what == "expected"]
    purposes = [name for _, what, detail in events if what == "purpose" for name in PURPOSES if name == detail]
    states = [what for _, what, _ in events if f"'{what}'" in _STATES]
    return LedgerContent(
        facts=facts,
        header=header,
        versions=[(version, first, json.loads(text)) for version, first, text in versions],
        columns=columns,
        verdicts=verdicts,
        notes=[
            PointNote(series=header.series, frame=frame, point=point, x_um=_nan(x), y_um=_nan(y), void=bool(void))
            for frame, point, x, y, void in notes
        ],
        expected=int(said[-1]) if said else None,
        purpose=purposes[-1] if purposes else "sample",
        closed=states[-1:] == ["closed"],
        ended=states[-1:] == ["ended"] or states[-2:] == ["ended", "resumed"],
        hashes_proven=any(what == "hashes are digests" for _, what, _ in events),
        events=events,
    )


def _unbroken(rows: Sequence[int]) -> int:
    return next((place for place, row in enumerate(rows) if row != place), len(rows))


def _columns(rows: Sequence[Sequence[Any]]) -> dict[str, NDArray[Any]]:
    names = ("frame", "verdict", "total", "chi2", "dof", "parameters")
    values = list(zip(*rows, strict=True)) if rows else [()] * 7
    columns: dict[str, NDArray[Any]] = {}
    for name, column in zip(names, values[1:], strict=True):
        whole = [np.nan if value is None else value for value in column] if name == "chi2" else column
        columns[name] = np.array(whole, COLUMNS[name])
    return columns


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


_HEADER_FIELDS = (
    "series", "pixel_type", "images", "beam_center_x", "beam_center_y", "count_time_s", "frame_time_s",
    "photon_energy_ev", "wavelength_m", "distance_m", "pixel_size_m", "count_cutoff", "channel",
)  # fmt: skip


def header_facts(header: SeriesHeader) -> dict[str, str]:
    """Return a series header as text, its pixel mask left out.

    Parameters
    ----------
    header : SeriesHeader
    """
    told = {name: getattr(header, name) for name in _HEADER_FIELDS}
    told |= {"shape": header.shape, "channels": header.channels, "config": header.config}
    if header.appendix is not None:
        told["appendix"] = base64.b64encode(header.appendix).decode()
    return {"header": json.dumps(told, default=str)}


def header_of(facts: dict[str, Any], valid: NDArray[np.bool_] | None = None) -> SeriesHeader:
    """Return the series header of `header_facts`.

    Raises
    ------
    ValueError
        When the text is not such a header.
    """
    try:
        told = json.loads(facts["header"])
        shape = told["shape"]
        appendix = told.get("appendix")
        return SeriesHeader(
            shape=None if shape is None else (int(shape[0]), int(shape[1])),
            channels=tuple(told["channels"]),
            config=dict(told["config"]),
            valid=valid,
            appendix=None if appendix is None else base64.b64decode(appendix),
            **{name: told[name] for name in _HEADER_FIELDS},
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the series header is not complete: {error!r}") from None
