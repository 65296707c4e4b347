"""The frames of one series, one row an image message, and who is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processing.frame import CATEGORY_NAMES, Category, FrameScore
from service.ranges import true_ranges
from service.source import PointNote

PENDING = 255
LOST = 254
"""Verdict of a row whose frame went with a killed service before its bytes were safe: it counts as missing."""
_LEAST_ROOM, _MOST_ROOM = 1 << 10, 1 << 18
"""Rows to have room for from the start, 9 MB at most; more grow by doubling."""
_UNREADABLE = 0xFFFFFFFF
COLUMNS: Mapping[str, type] = {
    "frame": np.uint32,
    "verdict": np.uint8,
    "total": np.uint64,
    "chi2": np.float64,
    "dof": np.int64,
    "parameters": np.uint16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRows:
    """A copy of the ledger as it goes into the result file: received messages, then missing frames.

    Attributes
    ----------
    columns : dict of str to ndarray, shape (n,)
        Named as in the result file's `/entry/frames`.
    """

    columns: dict[str, NDArray[Any]]


class Ledger:
    """Rows that grow by one an image message; columns are NumPy arrays so that re-judging is quick.

    Parameters
    ----------
    announced : int or None
        For how many frames to have room from the start, within limits: a header may announce anything.
    """

    def __init__(self, announced: int | None = None) -> None:
        room = min(max(announced or 0, _LEAST_ROOM), _MOST_ROOM)
        # np.full touches the memory, np.zeros does not: a process that grows all night looks like one that leaks.
        self._columns: dict[str, NDArray[Any]] = {name: np.full(room, 0, dtype) for name, dtype in COLUMNS.items()}
        self._rows = 0
        # Of a frame number: its row plus one, 0 for none.
        self._row_after: NDArray[np.int32] = np.full(room, 0, np.int32)
        self._distinct = 0
        self.highest_frame = -1
        self.counts = dict.fromkeys(CATEGORY_NAMES, 0)
        self.pending = 0
        self.notes: dict[int, PointNote] = {}

    def __len__(self) -> int:
        return self._rows

    def column(self, name: str) -> NDArray[Any]:
        """Return a view of one column, shape (rows,)."""
        return self._columns[name][: self._rows]

    def row_of(self, frame: int) -> int | None:
        """Return the row that speaks for a frame number, None before any readable message of it."""
        row = int(self._row_after[frame]) if 0 <= frame < len(self._row_after) else 0
        return row - 1 if row else None

    def _speaks(self, row: int, frame: int) -> None:
        """Have a row speak for a frame number."""
        while frame >= len(self._row_after):
            self._row_after = np.concatenate([self._row_after, np.zeros_like(self._row_after)])
        self._distinct += not self._row_after[frame]
        self._row_after[frame] = row + 1

    def enter(self, frame: int | None, category: Category | None, score: FrameScore | None, parameters: int) -> int:
        """Add a row; `category` None means pending. Return the row's index.

        Parameters
        ----------
        frame : int or None
            None when the message was too damaged to say.
        """
        if self._rows == len(self._columns["frame"]):
            self._columns = {
                name: np.concatenate([column, np.zeros_like(column)]) for name, column in self._columns.items()
            }
        row = self._rows
        self._rows += 1
        columns = self._columns
        columns["frame"][row] = _UNREADABLE if frame is None else frame
        columns["parameters"][row] = parameters
        columns["verdict"][row] = PENDING if category is None else category
        columns["total"][row] = score.total if score else 0
        columns["chi2"][row] = score.chi2 if score else np.nan
        columns["dof"][row] = score.dof if score else -1
        if category is None:
            self.pending += 1
        else:
            self.counts[category.label] += 1
        if frame is not None:
            if category is not Category.DUPLICATE:
                self._speaks(row, frame)
            self.highest_frame = max(self.highest_frame, frame)
        return row

    def judge(self, row: int, category: Category, parameters: int) -> None:
        """Give a row its (new) verdict and keep the counts in step."""
        before = self._columns["verdict"][row]
        if before == PENDING:
            self.pending -= 1
        else:
            self.counts[CATEGORY_NAMES[before]] -= 1
        self._columns["verdict"][row] = category
        self._columns["parameters"][row] = parameters
        self.counts[category.label] += 1

    def lose(self, row: int) -> None:
        """Take a row out of the books; unless another row speaks for its frame, that is missing now."""
        before = self._columns["verdict"][row]
        if before == PENDING:
            self.pending -= 1
        elif before != LOST:
            self.counts[CATEGORY_NAMES[before]] -= 1
        self._columns["verdict"][row] = LOST
        frame = int(self._columns["frame"][row])
        if self.row_of(frame) == row:
            self._row_after[frame] = 0
            self._distinct -= 1

    def load(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Take over the rows of an earlier life of the series, into an empty ledger.

        Parameters
        ----------
        columns : dict of str to ndarray, shape (n,)
            One for each of `COLUMNS`.
        """
        self._rows = len(columns["frame"])
        room = max(_LEAST_ROOM, 2 * self._rows)
        for name, dtype in COLUMNS.items():
            self._columns[name] = np.zeros(room, dtype)
            self._columns[name][: self._rows] = columns[name]
        verdicts, frames = columns["verdict"], columns["frame"]
        self.pending = int((verdicts == PENDING).sum())
        self.counts = {name: int((verdicts == number).sum()) for number, name in enumerate(CATEGORY_NAMES)}
        speaks = (verdicts != Category.DUPLICATE) & (verdicts != LOST) & (frames != _UNREADABLE)
        for row in np.flatnonzero(speaks).tolist():
            self._speaks(row, int(frames[row]))
        known = frames[frames != _UNREADABLE]
        self.highest_frame = int(known.max(initial=0)) if known.size else -1

    def stamp(self, rows: list[int], parameters: int) -> None:
        """Say by which version of the settings rows have been judged."""
        self._columns["parameters"][rows] = parameters

    def scored_rows(self) -> NDArray[np.int64]:
        """Return the rows that carry a score of their own (not corrupt, not duplicate, not lost)."""
        verdict = self.column("verdict")
        return np.flatnonzero((verdict != Category.CORRUPT) & (verdict != Category.DUPLICATE) & (verdict != LOST))

    def missing_frames(self, upto: int | None = None) -> list[tuple[int, int]]:
        """Return the ranges (both ends included) of frame numbers below `upto` that never came.

        Parameters
        ----------
        upto : int or None
            None: only holes below the highest number seen.
        """
        limit = self.highest_frame + 1 if upto is None else upto
        seen = np.zeros(limit, bool)
        known = self._row_after[:limit]
        seen[: len(known)] = known != 0
        return true_ranges(~seen)

    def distinct(self) -> int:
        """Return how many different frame numbers were seen."""
        return self._distinct

    def rows(self, upto: int | None) -> LedgerRows:
        """Return all rows, the missing frames behind the received ones, joined with the scan's points."""
        holes = [np.arange(first, last + 1) for first, last in self.missing_frames(upto)]
        missing = np.concatenate([np.zeros(0, np.int64), *holes])
        columns: dict[str, NDArray[Any]] = {}
        booked = self.column("verdict") != LOST
        blanks = {"verdict": Category.MISSING, "chi2": np.nan, "dof": -1}
        for name, dtype in COLUMNS.items():
            tail = missing if name == "frame" else np.full(len(missing), blanks.get(name, 0))
            columns[name] = np.concatenate([self.column(name)[booked], np.asarray(tail, dtype)])
        columns |= self._notes_of(columns["frame"])
        return LedgerRows(columns=columns)

    def _notes_of(self, frames: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
        """Return point and position for each frame number; -1 and NaN where the scan said nothing."""
        point, x, y = np.full(len(frames), -1, np.int64), np.full(len(frames), np.nan), np.full(len(frames), np.nan)
        if self.notes:
            notes = [self.notes[number] for number in sorted(self.notes)]
            numbers = np.array([note.frame for note in notes])
            place = np.minimum(np.searchsorted(numbers, frames), len(numbers) - 1)
            noted = numbers[place] == frames
            place = place[noted]
            point[noted] = np.array([-1 if note.void else note.point for note in notes])[place]
            x[noted] = np.array([note.x_um for note in notes])[place]
            y[noted] = np.array([note.y_um for note in notes])[place]
        return {"point": point, "x": x, "y": y}
