"""From compressed bytes to a frame's score and its bit planes, without ever writing the decoded frame.

Each block is decoded within the processor's first cache; its planes are ANDed with the packed mask, counted, and only
those up to the highest live one are kept: the `PlaneSpill`, which waits for the verdict and is then added to a
`processing.plane_sum.PlaneSum`. `processing.decode`, `screen.score` and `accumulate` are the plain way to the same
integers.
"""

import struct

import numba
import numpy as np
from numpy.typing import NDArray

from processing.accumulate import first_excluded_value
from processing.frame import FrameScore
from processing.lz4_planes import MARGIN, REASONS, decode_block, fill_hole, repeat_table
from processing.memory_words import (
    LANE_BYTES,
    address_of,
    lane_add,
    lane_and,
    lane_any,
    lane_less,
    lane_popcount,
    load_lane,
    load_u8,
    store_lane,
    store_u8,
)
from processing.plane_layout import PlaneLayout, lanes

_HEADER = struct.Struct(">QI")
_HEADER_BYTES = _HEADER.size
_DEFAULT_BLOCK_BYTES = 8192
_BEYOND, _BAD_LENGTH, _BEHIND = 1, 2, 3


@numba.njit(nogil=True)
def _is_live(plane: int, mask: int, stride: int) -> bool:
    for k in range(0, stride, LANE_BYTES):
        if lane_any(lane_and(load_lane(plane + k), load_lane(mask + k))):
            return True
    return False


@numba.njit(nogil=True)
def _set_flags_apart(block: int, row: int, planes: int, stride: int, mask: int, flags: int, rest: int) -> bool:
    """Write where a pixel stands at the maximum or one below (all planes but the lowest set), and the mask without."""
    found = False
    for k in range(0, stride, LANE_BYTES):
        valid = load_lane(mask + k)
        flagged = valid
        for plane in range(1, planes):
            flagged = lane_and(flagged, load_lane(block + plane * row + k))
        found |= lane_any(flagged)
        store_lane(flags + k, flagged)
        store_lane(rest + k, lane_less(valid, flagged))
    return found


@numba.njit(nogil=True)
def _keep_planes(block: int, row: int, live: int, stride: int, mask: int, out: int, counts: int) -> int:
    """Write the masked planes up to the highest live one, add their population counts; return how many they are."""
    while live and not _is_live(block + (live - 1) * row, mask, stride):
        live -= 1
    for plane in range(live):
        source, count = block + plane * row, counts + plane * LANE_BYTES
        for k in range(0, stride, LANE_BYTES):
            bits = lane_and(load_lane(source + k), load_lane(mask + k))
            store_lane(out + k, bits)
            store_lane(count, lane_add(load_lane(count), lane_popcount(bits)))
        out += stride
    return live


@numba.njit(nogil=True)
def _highest(
    block: int, row: int, planes: int, stride: int, mask: int, first: int, behind: int, table: int
) -> int:
    """Return below which plane the live ones lie, without looking at the planes that were left out if they are dead."""
    while planes > behind:
        if _is_live(block + (planes - 1) * row, mask, stride):
            break
        planes -= 1
    if planes == behind and not _is_live(block + (first - 1) * row, mask, stride):
        return first - 1
    fill_hole(block, row, first, behind, table)
    return planes


@numba.njit(nogil=True)
def _keep_block(
    block: int,
    row: int,
    planes: int,
    stride: int,
    mask: int,
    first: int,
    behind: int,
    table: int,
    scratch: int,
    out: int,
    counts: int,
) -> tuple[int, bool]:
    """Keep a decoded block; return how many planes, of them the last one the flags when the second result says so."""
    highest = _highest(block, row, planes, stride, mask, first, behind, table) if behind else planes
    if highest == planes and _is_live(block + (planes - 1) * row, mask, stride):
        flags, rest = scratch, scratch + stride
        if _set_flags_apart(block, row, planes, stride, mask, flags, rest):
            live = _keep_planes(block, row, planes, stride, rest, out, counts)
            for k in range(0, stride, LANE_BYTES):
                store_lane(out + live * stride + k, load_lane(flags + k))
            return live + 1, True
    return _keep_planes(block, row, highest, stride, mask, out, counts), False


@numba.njit(nogil=True, cache=True)
def _read_blocks(
    blob: int,
    blob_bytes: int,
    tail_bytes: int,
    block_bytes: int,
    full_blocks: int,
    last_bytes: int,
    planes: int,
    masks: NDArray[np.uint8],
    occupied: NDArray[np.uint8],
    work: NDArray[np.uint8],
    table: NDArray[np.uint8],
    data: NDArray[np.uint8],
    starts: NDArray[np.int32],
    flagged: NDArray[np.uint8],
    counts: NDArray[np.uint64],
) -> tuple[int, int, int]:
    """Read all blocks of a frame; return 0 and how many planes were kept, or a fault, its block and a length."""
    stride = masks.shape[1]
    decoded, mask, out = address_of(work), address_of(masks), address_of(data)
    scratch = decoded + block_bytes + stride + MARGIN
    copied = scratch + 2 * stride
    position, end = blob + _HEADER_BYTES, blob + blob_bytes
    stop = end - tail_bytes
    kept = 0
    for block in range(occupied.size):
        starts[block], flagged[block] = kept, 0
        size = block_bytes if block < full_blocks else last_bytes
        if position + 4 > stop:
            return _BEYOND, block, 0
        length = 0
        for i in range(4):
            length = length << 8 | load_u8(position + i)
        if not 0 < length <= size + size // 255 + 16:
            return _BAD_LENGTH, block, length
        position += 4
        if position + length > stop:
            return _BEYOND, block, 0
        if occupied[block]:
            source = position
            if position + length + MARGIN > end:  # copies of 64 bytes would read behind the message
                source = copied
                for i in range(length):
                    store_u8(copied + i, load_u8(position + i))
            row = size // planes
            period = row if row % LANE_BYTES == 0 else 0
            fault, first, behind = decode_block(
                source, source + length, decoded, size, period, planes == 32, address_of(table)
            )
            if fault:
                return fault, block, length
            more, flags = _keep_block(
                decoded,
                row,
                planes,
                stride,
                mask + block * stride,
                first,
                behind,
                address_of(table),
                scratch,
                out + kept * stride,
                address_of(counts),
            )
            kept += more
            flagged[block] = flags
        position += length
    starts[occupied.size] = kept
    return (0, kept, 0) if position == stop else (_BEHIND, 0, position - blob)


@numba.njit(nogil=True, cache=True)
def _pick(
    data: NDArray[np.uint8],
    starts: NDArray[np.int32],
    flagged: NDArray[np.uint8],
    block: NDArray[np.int64],
    byte: NDArray[np.int64],
    bit: NDArray[np.uint8],
    values: NDArray[np.uint32],
    counted: NDArray[np.bool_],
) -> None:
    """Read the values of single pixels from their planes."""
    for i in range(block.size):
        first, behind = starts[block[i]], starts[block[i] + 1]
        counted[i] = True
        if flagged[block[i]]:
            behind -= 1
            counted[i] = not (data[behind, byte[i]] >> bit[i]) & 1
        value = 0
        for plane in range(first, behind):
            value |= ((np.int64(data[plane, byte[i]]) >> bit[i]) & 1) << (plane - first)
        values[i] = value


class PlaneSpill:
    """What is left of a frame: its live bit planes, masked, and its score. Its memory can be used again.

    Parameters
    ----------
    layout : PlaneLayout

    Attributes
    ----------
    score : FrameScore
    excluded_pixels : int
        Valid pixels that stood at the type's maximum or one below, and did not enter.
    data : ndarray of uint8, shape (planes, stride)
        Planes of one block after the other, least significant first; room for all, touched only as far as needed.
    starts : ndarray of int32, shape (blocks + 1,)
        First plane of each block.
    flagged : ndarray of uint8, shape (blocks,)
        1 where a block's last plane says which pixels were excluded.
    tail, tail_flagged : ndarray, shape (tail_pixels,)
        Values and exclusions of the pixels behind the last block.
    highest : int
        No value of this frame needs more bits.
    """

    def __init__(self, layout: PlaneLayout) -> None:
        self.layout = layout
        self.data = lanes(layout.blocks * (layout.planes + 1), layout.stride)
        self.starts: NDArray[np.int32] = np.zeros(layout.blocks + 1, np.int32)
        self.flagged: NDArray[np.uint8] = np.zeros(layout.blocks, np.uint8)
        self.tail: NDArray[np.uint64] = np.zeros(layout.tail_pixels, np.uint64)
        self.tail_flagged: NDArray[np.bool_] = np.zeros(layout.tail_pixels, np.bool_)
        self.score = FrameScore(total=0, ring_sum=0, ring_square_sum=0, ring_pixels=0)
        self.excluded_pixels = 0
        self.highest = 0

    @property
    def nbytes(self) -> int:
        """Bytes that this frame occupies while it waits."""
        return int(self.starts[-1]) * self.layout.stride + self.starts.nbytes + self.flagged.nbytes

    def excluded(self) -> NDArray[np.int64]:
        """Return the flat indices of the valid pixels that did not enter, in rising order."""
        found = [
            block * self.layout.block_pixels
            + np.flatnonzero(np.unpackbits(self.data[self.starts[block + 1] - 1], bitorder="little"))
            for block in np.flatnonzero(self.flagged)
        ]
        found.append(self.layout.blocked_pixels + np.flatnonzero(self.tail_flagged))
        return np.concatenate(found)


class FrameScorer:
    """Reads frames of one layout; it holds the working memory, so each thread needs its own.

    Parameters
    ----------
    layout : PlaneLayout
    ring : ndarray of int64, shape (n,)
        Flat indices of the valid pixels next to the beam stop, from `processing.screen.ring_pixels`.
    """

    def __init__(self, layout: PlaneLayout, ring: NDArray[np.int64]) -> None:
        self.layout = layout
        block, pixel = np.divmod(ring, layout.block_pixels)
        inside = ring < layout.blocked_pixels
        self._block, self._byte = block[inside], pixel[inside] // 8
        self._bit = (pixel[inside] % 8).astype(np.uint8)
        self._tail = ring[~inside] - layout.blocked_pixels
        self._order = np.concatenate([np.flatnonzero(inside), np.flatnonzero(~inside)])
        largest = layout.block_bytes
        room = largest + layout.stride + MARGIN + 2 * layout.stride + largest + largest // 255 + 16 + MARGIN
        self._work = lanes(1, room).reshape(-1)
        self._table = repeat_table()
        self._counts = lanes(layout.planes, LANE_BYTES).view(np.uint64)

    def read(self, blob: bytes | memoryview, spill: PlaneSpill | None = None) -> PlaneSpill | str:
        """Read one frame.

        Parameters
        ----------
        blob : bytes-like
            Bitshuffle-LZ4 data with its 12-byte header.
        spill : PlaneSpill, optional
            Memory to use again; its former content is lost.

        Returns
        -------
        PlaneSpill or str
            The reason when the frame is damaged.
        """
        layout = self.layout
        reason = self._check_header(blob)
        if reason:
            return reason
        spill = spill or PlaneSpill(layout)
        source = np.frombuffer(blob, np.uint8)
        self._counts[:] = 0
        fault, block, length = _read_blocks(
            source.ctypes.data,
            source.size,
            layout.tail_pixels * layout.dtype.itemsize,
            layout.block_bytes,
            layout.full_blocks,
            layout.last_pixels * layout.dtype.itemsize,
            layout.planes,
            layout.masks,
            layout.occupied,
            self._work,
            self._table,
            spill.data,
            spill.starts,
            spill.flagged,
            self._counts,
        )
        if fault:
            return self._word(fault, block, length, source.size)
        self._finish(spill, source)
        return spill

    def ring_values(self, spill: PlaneSpill) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """Return the counts of the ring's pixels in the ring's order, and where they are counts and not flags.

        Returns
        -------
        values : ndarray of uint32, shape (n,)
            0 where a pixel was excluded.
        counted : ndarray of bool, shape (n,)
        """
        values, counted = np.empty(self._order.size, np.uint32), np.empty(self._order.size, np.bool_)
        inside = self._block.size
        picked, good = np.empty(inside, np.uint32), np.empty(inside, np.bool_)
        _pick(spill.data, spill.starts, spill.flagged, self._block, self._byte, self._bit, picked, good)
        values[self._order] = np.concatenate([picked, spill.tail[self._tail].astype(np.uint32)])
        counted[self._order] = np.concatenate([good, ~spill.tail_flagged[self._tail]])
        return values, counted

    def _check_header(self, blob: bytes | memoryview) -> str:
        layout = self.layout
        if len(blob) < _HEADER.size:
            return f"bitshuffle data must have at least {_HEADER.size} bytes, got {len(blob)}"
        claimed, block_bytes = _HEADER.unpack_from(blob)
        size = layout.shape[0] * layout.shape[1] * layout.dtype.itemsize
        if claimed == 0 and block_bytes == 0:  # some senders leave the header empty
            claimed, block_bytes = size, _DEFAULT_BLOCK_BYTES
        if claimed != size:
            return f"bitshuffle header must announce {size} bytes, got {claimed}"
        if block_bytes != layout.block_bytes:
            return f"bitshuffle block must be {layout.block_bytes} bytes like the layout's, got {block_bytes}"
        return ""

    def _word(self, fault: int, block: int, length: int, size: int) -> str:
        if fault == _BEYOND:
            return f"block {block} of {self.layout.blocks} lies beyond the end of the data; the frame was cut"
        if fault == _BAD_LENGTH:
            return f"compressed length of block {block} must fit a block of its size, got {length}"
        if fault == _BEHIND:
            return f"blocks must fill the {size} bytes exactly, they end at {length}; the frame is damaged"
        return f"LZ4 block {block} cannot be decoded, {REASONS[fault]}; the frame is damaged"

    def _finish(self, spill: PlaneSpill, source: NDArray[np.uint8]) -> None:
        layout = self.layout
        tail = source[source.size - layout.tail_pixels * layout.dtype.itemsize :].copy().view(layout.dtype)
        flags = tail >= first_excluded_value(layout.dtype)
        spill.tail_flagged[:] = flags & layout.tail_valid
        spill.tail[:] = np.where(layout.tail_valid & ~flags, tail, 0)
        counts: list[int] = self._counts.reshape(layout.planes, -1).sum(axis=1).tolist()
        spill.highest = max(
            [plane + 1 for plane, count in enumerate(counts) if count] + [int(spill.tail.max(initial=0)).bit_length()]
        )
        spill.excluded_pixels = int(spill.tail_flagged.sum())
        if spill.flagged.any():
            spill.excluded_pixels = spill.excluded().size
        values, counted = self.ring_values(spill)
        exact: list[int] = values[counted].tolist()  # Python integers: squares of 32-bit counts never overflow
        spill.score = FrameScore(
            total=sum(count << plane for plane, count in enumerate(counts)) + sum(spill.tail.tolist()),
            ring_sum=sum(exact),
            ring_square_sum=sum(value * value for value in exact),
            ring_pixels=len(exact),
        )
