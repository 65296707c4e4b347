"""An exact running sum that stays in bit planes (a bit-sliced counter).

Plane p of the sum holds bit p of every pixel's count. Adding a frame is a ripple of full adders over vectors of 512
pixels, and reaches only as many planes as the counts have bits; no carry is ever lost, since planes are added before
the largest possible sum needs them.
"""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from processing.bitplane import FrameScorer, PlaneSpill
from processing.memory_words import (
    LANE_BYTES,
    Lane,
    address_of,
    lane_and,
    lane_any,
    lane_less,
    lane_of,
    lane_or,
    lane_xor,
    load_64,
    load_lane,
    store_lane,
)
from processing.plane_layout import PlaneLayout, lanes
from processing.plane_read import pool_planes, read_out

BUILT_ON = 0x1BC98F90
"""CRC-32 of the files whose functions are compiled into these: numba's cache looks at the date of this file only."""

AT_ONCE = 8
"""Frames added together: the sum's planes are then walked through once for all of them."""
_FIRST_PLANES = 16
_MORE_PLANES = 8
_GROUP_CARRY = 3  # planes by which the sum of eight frames exceeds each
_WORD_BITS = 64


@numba.njit(nogil=True)
def _ripple(total: int, stride: int, value: int, live: int) -> None:
    """Add `live` planes to the sum's column of 512 pixels; the carry must end below the sum's last plane."""
    carry = lane_of(0)
    for _ in range(live):
        old, more = load_lane(total), load_lane(value)
        either = lane_xor(old, more)
        store_lane(total, lane_xor(either, carry))
        carry = lane_or(lane_and(old, more), lane_and(either, carry))
        total += stride
        value += stride
    _end_carry(total, stride, carry)


@numba.njit(nogil=True)
def _end_carry(total: int, stride: int, carry: Lane) -> None:
    """Carry on until nothing is left to carry."""
    while lane_any(carry):
        old = load_lane(total)
        store_lane(total, lane_xor(old, carry))
        carry = lane_and(old, carry)
        total += stride


@numba.njit(nogil=True)
def _ripple_back(total: int, stride: int, value: int, live: int) -> None:
    """Subtract `live` planes from the sum's column of 512 pixels."""
    borrow = lane_of(0)
    for _ in range(live):
        old, less = load_lane(total), load_lane(value)
        either = lane_xor(old, less)
        store_lane(total, lane_xor(either, borrow))
        borrow = lane_or(lane_less(less, old), lane_less(borrow, either))
        total += stride
        value += stride
    while lane_any(borrow):
        old = load_lane(total)
        store_lane(total, lane_xor(old, borrow))
        borrow = lane_less(borrow, old)
        total += stride


@numba.njit(nogil=True)
def _odd(a: Lane, b: Lane, c: Lane) -> Lane:
    """Sum of a full adder."""
    return lane_xor(lane_xor(a, b), c)


@numba.njit(nogil=True)
def _most(a: Lane, b: Lane, c: Lane) -> Lane:
    """Carry of a full adder."""
    return lane_or(lane_and(a, b), lane_and(lane_xor(a, b), c))


@numba.njit(nogil=True)
def _add_group(total: int, stride: int, sources: int, k: int, planes: int) -> None:
    """Add eight frames to the sum's column of 512 pixels; `sources` holds the addresses of their planes, in eights.

    Eight bits and a carry of up to 7 make up to 15: the lowest bit belongs to this plane, the other three are the next
    carry. All of it stays in registers; the sum is read and written once.
    """
    ones, twos, fours, carry = lane_of(0), lane_of(0), lane_of(0), lane_of(0)
    for _ in range(planes):
        a, b, c = _at(sources, 0, k), _at(sources, 1, k), _at(sources, 2, k)
        d, e, f = _at(sources, 3, k), _at(sources, 4, k), _at(sources, 5, k)
        g, h = _at(sources, 6, k), _at(sources, 7, k)
        left, middle, right = _odd(a, b, c), _odd(d, e, f), _odd(g, h, ones)
        two_a, two_b, two_c = _most(a, b, c), _most(d, e, f), _most(g, h, ones)
        bit, two_d = _odd(left, middle, right), _most(left, middle, right)
        pair, four_a = _odd(two_a, two_b, two_c), _most(two_a, two_b, two_c)
        ones, four_b = _odd(pair, two_d, twos), _most(pair, two_d, twos)
        twos, fours = _odd(four_a, four_b, fours), _most(four_a, four_b, fours)
        old = load_lane(total)
        store_lane(total, _odd(old, bit, carry))
        carry = _most(old, bit, carry)
        total += stride
        sources += AT_ONCE * 8
    for _ in range(_GROUP_CARRY):
        old = load_lane(total)
        store_lane(total, _odd(old, ones, carry))
        carry = _most(old, ones, carry)
        ones, twos, fours = twos, fours, lane_of(0)
        total += stride
    _end_carry(total, stride, carry)


@numba.njit(nogil=True)
def _at(sources: int, frame: int, k: int) -> Lane:
    return load_lane(load_64(sources + frame * 8) + k)


@numba.njit(nogil=True, cache=True)
def _add(
    total: NDArray[np.uint8],
    frames: NDArray[np.int64],
    starts: NDArray[np.int32],
    flagged: NDArray[np.uint8],
    nothing: NDArray[np.uint8],
) -> None:
    """Add one frame or up to eight to all blocks: `frames` holds the addresses of their planes."""
    planes, stride = total.shape[1], total.shape[2]
    base = address_of(total)
    count = frames.size
    sources = np.empty((planes, AT_ONCE), np.int64)
    for block in range(total.shape[0]):
        highest = 0
        for i in range(count):
            highest = max(highest, _live(starts, flagged, i, block))
        if count == 1:
            for k in range(0, stride, LANE_BYTES):
                _ripple(base + k, stride, frames[0] + np.int64(starts[0, block]) * stride + k, highest)
        elif highest:
            sources[:highest] = address_of(nothing)
            for i in range(count):
                first = frames[i] + np.int64(starts[i, block]) * stride
                for plane in range(_live(starts, flagged, i, block)):
                    sources[plane, i] = first + plane * stride
            for k in range(0, stride, LANE_BYTES):
                _add_group(base + k, stride, address_of(sources), k, highest)
        base += planes * stride


@numba.njit(nogil=True)
def _live(starts: NDArray[np.int32], flagged: NDArray[np.uint8], frame: int, block: int) -> int:
    return int(starts[frame, block + 1]) - int(starts[frame, block]) - int(flagged[frame, block])


@numba.njit(nogil=True, cache=True)
def _subtract(total: NDArray[np.uint8], frame: int, starts: NDArray[np.int32], flagged: NDArray[np.uint8]) -> None:
    """Take one frame out of all blocks."""
    planes, stride = total.shape[1], total.shape[2]
    base = address_of(total)
    for block in range(total.shape[0]):
        first = np.int64(starts[block])
        live = np.int64(starts[block + 1]) - first - flagged[block]
        for k in range(0, stride, LANE_BYTES):
            _ripple_back(base + k, stride, frame + first * stride + k, live)
        base += planes * stride


class PlaneSum:
    """Exact sum of frames of one layout, with how often each pixel was excluded.

    Parameters
    ----------
    layout : PlaneLayout
    rows : tuple of int, optional
        First row and the one behind the last: only the blocks in which these lie are summed, and only they are read.

    Attributes
    ----------
    frames : int
    excluded : ndarray of uint32, shape (rows, cols)
        In how many frames of this sum a valid pixel stood at the type's maximum or maximum - 1; always of all rows.
    exclusions : int
        Grows whenever `excluded` changes.
    """

    def __init__(self, layout: PlaneLayout, rows: tuple[int, int] | None = None) -> None:
        self.layout = layout
        self._rows = rows or (0, layout.shape[0])
        first, last = (row * layout.shape[1] for row in self._rows)
        self._blocks = slice(first // layout.block_pixels, min(layout.blocks, -(-last // layout.block_pixels)))
        self.frames = 0
        self.excluded: NDArray[np.uint32] = np.zeros(layout.shape, np.uint32)
        self.exclusions = 0
        self._planes = self._room(_FIRST_PLANES)
        self._tail: NDArray[np.uint64] = np.zeros(layout.tail_pixels, np.uint64)
        self._nothing = lanes(1, layout.stride).reshape(-1)
        self._bound = 0  # no pixel can be larger

    def _room(self, planes: int) -> NDArray[np.uint8]:
        blocks, stride = self._blocks.stop - self._blocks.start, self.layout.stride
        return lanes(blocks * planes, stride).reshape(blocks, planes, stride)

    @property
    def _bounds(self) -> slice:
        """First planes of the blocks, and the one behind."""
        return slice(self._blocks.start, self._blocks.stop + 1)

    @property
    def nbytes(self) -> int:
        """Bytes of the sum's planes."""
        return self._planes.nbytes

    def add(self, spills: Sequence[PlaneSpill]) -> None:
        """Add frames; several at once cost less than one by one.

        Raises
        ------
        OverflowError
            When a pixel could exceed 64 bits.
        """
        largest = max((spill.highest for spill in spills), default=0)
        self._make_room(sum((1 << spill.highest) - 1 for spill in spills), largest + _GROUP_CARRY)
        self._change(spills, +1)

    def subtract(self, spill: PlaneSpill) -> None:
        """Take out a frame that was added before.

        Raises
        ------
        ValueError
            When there is no frame in the sum.
        """
        if self.frames == 0:
            raise ValueError("sum must hold a frame before one can be taken out, got 0 frames")
        self._change([spill], -1)

    def _make_room(self, largest: int, touched: int = 0) -> None:
        """Have planes for a growth by `largest`, and at least those that adding touches."""
        self._bound += largest
        planes = self._planes.shape[1]
        needed = max(self._bound.bit_length(), touched)
        if needed > _WORD_BITS:
            self._bound -= largest
            raise OverflowError(f"sum must fit {_WORD_BITS} bits, got {self.frames} frames that may exceed them")
        if needed > planes:
            more = self._room(min(_WORD_BITS, max(needed, planes + _MORE_PLANES)))
            more[:, :planes] = self._planes
            self._planes = more

    def _change(self, spills: Sequence[PlaneSpill], sign: int) -> None:
        if not spills:
            return
        for spill in spills:
            self._same_layout(spill.layout)
        if sign > 0:
            for i in range(0, len(spills), AT_ONCE):
                group = spills[i : i + AT_ONCE]
                frames = np.array([spill.data.ctypes.data for spill in group], np.int64)
                starts = np.stack([spill.starts[self._bounds] for spill in group])
                flagged = np.stack([spill.flagged[self._blocks] for spill in group])
                _add(self._planes, frames, starts, flagged, self._nothing)
        else:
            (spill,) = spills
            starts, flagged = spill.starts[self._bounds], spill.flagged[self._blocks]
            _subtract(self._planes, spill.data.ctypes.data, starts, flagged)
        for spill in spills:
            self._tail += spill.tail if sign > 0 else np.negative(spill.tail)
            spill.add_excluded(self.excluded, sign)
            self.exclusions += spill.excluded_pixels > 0
        self.frames += sign * len(spills)

    def _same_layout(self, layout: PlaneLayout) -> None:
        if layout is not self.layout:
            raise ValueError("frame must have the layout of the sum, got another; read it with the sum's layout")

    def merge(self, other: "PlaneSum") -> None:
        """Add another sum over the same layout.

        Raises
        ------
        OverflowError
            When a pixel could exceed 64 bits.
        """
        self._same_layout(other.layout)
        self._make_room(other._bound)  # noqa: SLF001 - one of its own kind
        planes = other._planes.shape[1]  # noqa: SLF001
        blocks = len(self._planes)
        starts = np.arange(blocks + 1, dtype=np.int32)[None] * np.int32(planes)
        flagged = np.zeros((1, blocks), np.uint8)
        _add(self._planes, np.array([other._planes.ctypes.data]), starts, flagged, self._nothing)  # noqa: SLF001
        self._tail += other._tail  # noqa: SLF001
        self.excluded += other.excluded
        self.exclusions += 1
        self.frames += other.frames

    def data(self, out: NDArray[np.uint64] | None = None) -> NDArray[np.uint64]:
        """Return the sum as integers, shape (rows, cols).

        Parameters
        ----------
        out : ndarray of uint64, shape (rows, cols), optional
            Memory to use again, for a sum of all rows.
        """
        if self._rows != (0, self.layout.shape[0]):
            return self._some_rows()
        out = np.empty(self.layout.shape, np.uint64) if out is None else out
        flat = out.reshape(-1)
        read_out(self._planes, self.layout.block_pixels, self.layout.blocked_pixels, flat)
        flat[self.layout.blocked_pixels :] = self._tail
        return out

    def brightest(self, valid: NDArray[np.uint8], step: int) -> NDArray[np.float32]:
        """Return the largest count of every step x step block's valid pixels, NaN for a block without one.

        Equal to `processing.pooling.pool_max` of `data`, without writing that to memory.

        Parameters
        ----------
        valid : ndarray of uint8, shape (rows, cols)
        step : int

        Raises
        ------
        ValueError
            When this is a sum of some rows only, or `valid` has another shape.
        """
        if self._rows != (0, self.layout.shape[0]) or valid.shape != self.layout.shape:
            raise ValueError(f"a sum of all rows and its mask {self.layout.shape} are wanted, got {valid.shape}")
        rows, cols = (-(-side // step) for side in self.layout.shape)
        pooled: NDArray[np.float32] = np.empty((rows, cols), np.float32)
        layout, mask = self.layout, np.ascontiguousarray(valid, np.uint8)
        pool_planes(self._planes, layout.block_pixels, layout.blocked_pixels, self._tail, mask, step, pooled)
        return pooled

    def _some_rows(self) -> NDArray[np.uint64]:
        layout, cols = self.layout, self.layout.shape[1]
        first = self._blocks.start * layout.block_pixels
        pixels = min(self._blocks.stop * layout.block_pixels, layout.blocked_pixels) - first
        flat: NDArray[np.uint64] = np.empty(pixels, np.uint64)
        read_out(self._planes, layout.block_pixels, pixels, flat)
        flat = np.concatenate([flat, self._tail])  # of use only where the last row is among them
        start, stop = self._rows
        return flat[start * cols - first : stop * cols - first].reshape(stop - start, cols)


def warm_up() -> None:
    """Compile or load all kernels of the way in bit planes, so that the first frame takes no longer than the next."""
    layout = PlaneLayout(np.ones((3, 3), np.uint8), np.dtype(np.uint8))
    start = (9).to_bytes(8, "big") + (8192).to_bytes(4, "big") + b"\0\0\0\x09\x80"
    scorer = FrameScorer(layout, np.arange(9))
    spill, full = scorer.read(start + bytes(8) + b"\1"), scorer.read(start + b"\xff" * 8 + b"\0")
    if not isinstance(spill, PlaneSpill) or not isinstance(full, PlaneSpill) or spill.score.total != 1:
        raise RuntimeError(f"kernels must read a frame of one photon, got {spill}; remove __pycache__ and start again")
    total = PlaneSum(layout)
    total.add([spill, spill, full])
    total.subtract(spill)
    brightest = total.brightest(np.ones((3, 3), np.uint8), 3)
    if total.data().sum() != 1 or total.excluded.sum() != 8 or brightest != 1.0:
        raise RuntimeError("kernels must sum a frame of one photon; remove __pycache__ and start again")
