"""Exact running sums: integers that do not depend on order, grouping or restarts."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def _add(
    data: NDArray[np.uint64],
    excluded: NDArray[np.uint32],
    pixels: NDArray[np.unsignedinteger],
    valid: NDArray[np.uint8],
    limit: np.unsignedinteger,
    sign: int,
) -> None:
    for i in range(pixels.size):
        if valid[i]:
            value = pixels[i]
            if value < limit:
                if sign > 0:
                    data[i] += np.uint64(value)
                else:
                    data[i] -= np.uint64(value)
            elif sign > 0:
                excluded[i] += np.uint32(1)
            else:
                excluded[i] -= np.uint32(1)


def first_excluded_value(dtype: np.dtype[np.unsignedinteger]) -> int:
    """Return maximum - 1 of a pixel type: from there on a value is a flag, not a count (SIMPLON: 2^N-1, 2^N-2)."""
    return int(np.iinfo(dtype).max) - 1


class ExactSum:
    """Sum of frames in 64-bit integers, with how often each pixel was excluded.

    Parameters
    ----------
    valid : ndarray of uint8, shape (rows, cols)
        The static mask; where it is 0 nothing is ever added.

    Attributes
    ----------
    data : ndarray of uint64, shape (rows, cols)
    excluded : ndarray of uint32, shape (rows, cols)
        In how many frames of this sum a pixel of the mask stood at the type's maximum or maximum - 1.
    frames : int
    """

    def __init__(self, valid: NDArray[np.uint8]) -> None:
        self.valid = np.ascontiguousarray(valid)
        self.data: NDArray[np.uint64] = np.zeros(valid.shape, np.uint64)
        self.excluded: NDArray[np.uint32] = np.zeros(valid.shape, np.uint32)
        self.frames = 0

    def add(self, pixels: NDArray[np.unsignedinteger]) -> None:
        """Add one frame of the mask's shape."""
        self._change(pixels, +1)

    def subtract(self, pixels: NDArray[np.unsignedinteger]) -> None:
        """Take a frame out that was added before; exact, since these are integers.

        Raises
        ------
        ValueError
            When there is no frame in the sum.
        """
        if self.frames == 0:
            raise ValueError("sum must hold a frame before one can be taken out, got 0 frames")
        self._change(pixels, -1)

    def _change(self, pixels: NDArray[np.unsignedinteger], sign: int) -> None:
        if pixels.shape != self.valid.shape:
            raise ValueError(f"frame must have shape {self.valid.shape} like the sum, got {pixels.shape}")
        limit = pixels.dtype.type(first_excluded_value(pixels.dtype))
        flat = np.ascontiguousarray(pixels).ravel()
        _add(self.data.reshape(-1), self.excluded.reshape(-1), flat, self.valid.reshape(-1), limit, sign)
        self.frames += sign

    def merge(self, other: "ExactSum") -> None:
        """Add another sum over the same mask."""
        self.data += other.data
        self.excluded += other.excluded
        self.frames += other.frames
