"""Pieces of arrays for the page: the values themselves, cut to what is on the screen and bounded in size."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from processing.pooling import pool_max
from service.page_source import PageSource, Rows, Sight, SightName
from service.preview import step_of

MOST_SIDE = 1024
"""The longest side of a piece: four million values at the most leave the service at once."""
_EXACT_IN_FLOAT32 = 1 << 24
_KEPT = 12
_COMPRESSION = 0  # the quickest: a piece is made once and goes over a socket of this machine or a tunnel


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants to see.

    Attributes
    ----------
    what : str
    frame : int or None
        Number of the frame for "frame".
    window : tuple of int or None
        First row, first column, rows, columns in pixels of the array; None: all of it.
    side : int
        The piece's longest side at the most; the blocks that become one value grow until it fits.
    """

    what: SightName
    frame: int | None
    window: tuple[int, int, int, int] | None
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece ready to be sent.

    Attributes
    ----------
    body : bytes
        Compressed values, row by row, float32 or float64; NaN where nothing was measured.
    facts : dict
        Where it lies (`first_row`, `first_col`), `rows`, `cols`, `step`, `type`, the array's `shape` and `version`.
    """

    body: bytes
    facts: dict[str, Any]


def cut(sight: Sight, wanted: Wanted) -> Piece:
    """Cut a piece out of an array; each value is the brightest pixel of its block.

    A block begins where its number in the whole array says, so that moving the window never moves the blocks.
    """
    rows, cols = sight.shape
    top, left, height, width = wanted.window or (0, 0, rows, cols)
    step = sight.step if sight.step > 1 else step_of((height, width), wanted.side)
    top, left = (min(max(0, top), rows - 1) // step * step, min(max(0, left), cols - 1) // step * step)
    bottom, right = min(rows, top + max(1, height)), min(cols, left + max(1, width))
    bottom, right = (min(rows, -(-bottom // step) * step), min(cols, -(-right // step) * step))
    window = slice(top, bottom), slice(left, right)
    values = sight.values if sight.step > 1 else _values(sight, window, step)
    facts = {
        **sight.facts,
        "what": wanted.what,
        "first_row": top,
        "first_col": left,
        "rows": values.shape[0],
        "cols": values.shape[1],
        "step": step,
        "type": values.dtype.name,
        "shape": [rows, cols],
        "version": sight.version,
        "frames": sight.frames,
    }
    return Piece(body=igzip.compress(np.ascontiguousarray(values).tobytes(), _COMPRESSION), facts=facts)


def _values(sight: Sight, window: tuple[slice, slice], step: int) -> NDArray[Any]:
    part = sight.values[window]
    valid = np.ones(part.shape, np.uint8) if sight.valid is None else sight.valid[window]
    if part.dtype.kind == "f":
        small = part[::step, ::step]
        return np.where(valid[::step, ::step] != 0, small, np.float32(np.nan)).astype(np.float32)
    if step > 1:
        return pool_max(part, valid, step, sight.below)
    measured = valid != 0 if sight.below is None else (valid != 0) & (part < sight.below)
    exact = np.float32 if part.max(initial=0) < _EXACT_IN_FLOAT32 else np.float64
    return np.where(measured, part, np.nan).astype(exact)


def pack_rows(rows: Rows) -> Piece:
    """Put ledger rows one column behind the other, the widest first, so that each begins where its type may."""
    columns = sorted(rows.columns.items(), key=lambda item: -item[1].dtype.itemsize)
    facts = {
        **rows.facts,
        "first": rows.first,
        "total": rows.total,
        "columns": [[name, column.dtype.name, len(column)] for name, column in columns],
    }
    body = b"".join(np.ascontiguousarray(column).tobytes() for _, column in columns)
    return Piece(body=igzip.compress(body, _COMPRESSION), facts=facts)


class Regions:
    """Makes each piece once, however many want it.

    Parameters
    ----------
    source : PageSource
    """

    def __init__(self, source: PageSource) -> None:
        self._source = source
        self._made: OrderedDict[tuple[Wanted, int], Piece] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}
        self.cut = 0

    async def get(self, wanted: Wanted) -> Piece | None:
        """Return a piece, None before there is anything to cut it from.

        One at a time of each kind: a slow disk behind a frame keeps one thread waiting, never all of them.

        Raises
        ------
        NowhereError
            When a frame's bytes cannot be had.
        """
        async with self._locks.setdefault(wanted.what, asyncio.Lock()):
            side = wanted.side if wanted.window is None else None
            sight = await asyncio.to_thread(self._source.look, wanted.what, wanted.frame, side)
            if sight is None:
                return None
            key = wanted, sight.version
            piece = self._made.get(key)
            if piece is None:
                piece = await asyncio.to_thread(cut, sight, wanted)
                self.cut += 1
                self._made = OrderedDict((other, made) for other, made in self._made.items() if other[0] != wanted)
                self._made[key] = piece
                while len(self._made) > _KEPT:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return piece
