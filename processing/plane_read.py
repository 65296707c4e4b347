"""Read a sum that stays in bit planes: as integers, or pooled for a screen on the way.

Pooled while the planes are read, 16M counts of eight bytes never go to memory and back.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from processing.memory_words import (
    LANE_BYTES,
    address_of,
    lane_any,
    lane_of,
    lane_of_bits,
    lane_or,
    load_lane,
    load_u8,
    store_lane,
)
from processing.pooling import end_of_band, take_brightest

BUILT_ON = 0xDB33DBAA
"""CRC-32 of the files whose functions are compiled into these: numba's cache looks at the date of this file only."""

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)  # a sum knows no flags


@numba.njit(nogil=True, cache=True)
def read_out(total: NDArray[np.uint8], block_pixels: int, pixels: int, out: NDArray[np.uint64]) -> None:
    """Write the first `pixels` counts of `total`, shape (blocks, planes, stride), as integers."""
    planes, stride = total.shape[1], total.shape[2]
    base, target = address_of(total), address_of(out)
    for block in range(total.shape[0]):
        pieces = min(block_pixels, pixels - block * block_pixels) // 8
        _read_block(base, planes, stride, pieces, target)
        target += pieces * LANE_BYTES
        base += planes * stride


@numba.njit(nogil=True, cache=True)
def pool_planes(
    total: NDArray[np.uint8],
    block_pixels: int,
    pixels: int,
    tail: NDArray[np.uint64],
    valid: NDArray[np.uint8],
    step: int,
    out: NDArray[np.float32],
) -> None:
    """Write the largest valid count of every step x step block of pixels, NaN for a block without one.

    `tail` are the counts behind the first `pixels`; `valid` has the shape of the whole array.
    """
    planes, stride, blocks = total.shape[1], total.shape[2], total.shape[0]
    rows, cols = valid.shape
    best, seen = np.zeros(cols, np.uint64), np.zeros(cols, np.uint8)
    counts = np.zeros(max(block_pixels, tail.size), np.uint64)
    base = address_of(total)
    row, col = 0, 0
    for block in range(blocks + 1):
        if block < blocks:
            count = min(block_pixels, pixels - block * block_pixels)
            _read_block(base, planes, stride, count // 8, address_of(counts))
            base += planes * stride
        else:
            count = tail.size
            counts[:count] = tail
        taken = 0
        while taken < count:
            run = min(count - taken, cols - col)
            here = slice(col, col + run)
            take_brightest(best[here], seen[here], counts[taken : taken + run], valid[row, here], _ALL)
            taken += run
            col += run
            if col == cols:
                col = 0
                row += 1
                if row % step == 0 or row == rows:
                    end_of_band(best, seen, step, out[(row - 1) // step])


@numba.njit(nogil=True)
def _read_block(base: int, planes: int, stride: int, pieces: int, target: int) -> None:
    """Write eight counts for each of the first `pieces` bytes of a block's planes."""
    live = planes
    while live and not _has_bits(base + (live - 1) * stride, stride):
        live -= 1
    for byte in range(pieces):
        count = lane_of(0)
        for plane in range(live):
            count = lane_or(count, lane_of_bits(load_u8(base + plane * stride + byte), 1 << plane))
        store_lane(target, count)
        target += LANE_BYTES


@numba.njit(nogil=True)
def _has_bits(plane: int, stride: int) -> bool:
    for k in range(0, stride, LANE_BYTES):  # noqa: SIM110 - numba knows no generators
        if lane_any(load_lane(plane + k)):
            return True
    return False
