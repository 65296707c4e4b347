"""Make a big array small by the brightest pixel of each block: a speckle of a single pixel must stay visible."""

import numba
import numpy as np
from numpy.typing import NDArray

Unsigned = NDArray[np.unsignedinteger]


def pool_max(total: Unsigned, valid: NDArray[np.uint8], step: int, below: int | None = None) -> NDArray[np.float32]:
    """Return the brightest valid pixel of every step x step block, NaN for a block without one.

    Parameters
    ----------
    total : ndarray, shape (row, col), unsigned integer
    valid : ndarray, shape (row, col), uint8
        1 where the pixel counts.
    step : int
        Side of a block; those at the end may be smaller.
    below : int or None
        Values from here on are no photons and count as not valid.
    """
    last = total.dtype.type(np.iinfo(total.dtype).max if below is None else below - 1)
    return _pool_max(np.ascontiguousarray(total), np.ascontiguousarray(valid, dtype=np.uint8), step, last)


@numba.njit(nogil=True)
def take_brightest(
    best: Unsigned, seen: NDArray[np.uint8], row: Unsigned, valid: NDArray[np.uint8], last: np.unsignedinteger
) -> None:
    """Take a row, or a part of it, into the brightest of each column; what is above `last` is no count.

    Along the row, so that it compiles to vector instructions.
    """
    zero = row.dtype.type(0)
    for j in range(row.size):
        good = valid[j] != 0 and row[j] <= last
        best[j] = max(best[j], row[j] if good else zero)
        seen[j] |= good


@numba.njit(nogil=True)
def end_of_band(best: Unsigned, seen: NDArray[np.uint8], step: int, out: NDArray[np.float32]) -> None:
    """Write a band's blocks from the brightest of its columns, and begin the next band."""
    for c in range(out.size):
        top, any_seen = best[c * step], seen[c * step]
        for j in range(c * step + 1, min((c + 1) * step, best.size)):
            top = max(top, best[j])
            any_seen |= seen[j]
        out[c] = np.float32(top) if any_seen else np.float32(np.nan)
    best[:] = 0
    seen[:] = 0


@numba.njit(nogil=True, cache=True)
def _pool_max(total: Unsigned, valid: NDArray[np.uint8], step: int, last: np.unsignedinteger) -> NDArray[np.float32]:
    rows, cols = total.shape
    out = np.empty(((rows + step - 1) // step, (cols + step - 1) // step), np.float32)
    best, seen = np.zeros(cols, total.dtype), np.zeros(cols, np.uint8)
    for r in range(out.shape[0]):
        for i in range(r * step, min((r + 1) * step, rows)):
            take_brightest(best, seen, total[i], valid[i], last)
        end_of_band(best, seen, step, out[r])
    return out
