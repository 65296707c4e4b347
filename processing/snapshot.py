"""A sum at one moment, never changing afterwards."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.accumulate import ExactSum
from processing.fast_sum import FastSum


@dataclass(frozen=True, slots=True, kw_only=True)
class SumSnapshot:
    """A copy of an exact sum, or of a window of it.

    Attributes
    ----------
    data : ndarray of uint64, shape (rows, cols)
    excluded : ndarray of uint32, shape (rows, cols)
    frames : int
    """

    data: NDArray[np.uint64]
    excluded: NDArray[np.uint32]
    frames: int


Window = tuple[slice, slice]
WHOLE: Window = (slice(None), slice(None))


def freeze(running: ExactSum | FastSum, window: Window = WHOLE) -> SumSnapshot:
    """Copy a running sum, or a window of it.

    Parameters
    ----------
    running : ExactSum or FastSum
        What a `FastSum` reads out never changes, so that it need not be copied.
    window : pair of slice
        Rows and columns to copy.
    """
    data, excluded = running.data[window], running.excluded[window]
    if isinstance(running, ExactSum):
        data, excluded = data.copy(), excluded.copy()
        data.flags.writeable = excluded.flags.writeable = False
    return SumSnapshot(data=data, excluded=excluded, frames=running.frames)


def window_about(center: tuple[float, float], width: int, shape: tuple[int, int]) -> Window:
    """Return the window of at most `width` pixels about a centre (row, col) that lies within the array."""
    slices = []
    for middle, size in zip(center, shape, strict=True):
        start = max(0, round(middle) - width // 2)
        slices.append(slice(start, min(size, round(middle) + width // 2 + 1)))
    return slices[0], slices[1]
