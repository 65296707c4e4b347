"""Kernels: from a frame's compressed blocks to its masked, live bit planes and their population counts."""

import numba
import numpy as np
from numpy.typing import NDArray

from processing.lz4_planes import MARGIN, decode_block, fill_hole
from processing.memory_words import (
    LANE_BYTES,
    address_of,
    lane_add,
    lane_and,
    lane_any,
    lane_less,
    lane_popcount,
    load_64,
    load_lane,
    load_u8,
    store_lane,
    store_u8,
)

BUILT_ON = 0x565D72EE
"""CRC-32 of the files whose functions are compiled into these: numba's cache looks at the date of this file only."""

BEYOND, BAD_LENGTH, BEHIND = 1, 2, 3
"""Faults of a frame's bytes; those of a block are the negative keys of `processing.lz4_planes.REASONS`."""

HEADER_BYTES = 12


@numba.njit(nogil=True)
def _is_live(plane: int, mask: int, stride: int) -> bool:
    for k in range(0, stride, LANE_BYTES):  # noqa: SIM110 - numba knows no generators
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
        source = block + plane * row
        count = load_lane(counts + plane * LANE_BYTES)
        for k in range(0, stride, LANE_BYTES):
            bits = lane_and(load_lane(source + k), load_lane(mask + k))
            store_lane(out + k, bits)
            count = lane_add(count, lane_popcount(bits))
        store_lane(counts + plane * LANE_BYTES, count)
        out += stride
    return live


@numba.njit(nogil=True)
def _highest(block: int, row: int, planes: int, stride: int, mask: int, first: int, behind: int, table: int) -> int:
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
def read_blocks(
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
    position, end = blob + HEADER_BYTES, blob + blob_bytes
    stop = end - tail_bytes
    kept = 0
    for block in range(occupied.size):
        starts[block], flagged[block] = kept, 0
        size = block_bytes if block < full_blocks else last_bytes
        if position + 4 > stop:
            return BEYOND, block, 0
        length = 0
        for i in range(4):
            length = length << 8 | load_u8(position + i)
        if not 0 < length <= size + size // 255 + 16:
            return BAD_LENGTH, block, length
        position += 4
        if position + length > stop:
            return BEYOND, block, 0
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
    return (0, kept, 0) if position == stop else (BEHIND, 0, position - blob)


@numba.njit(nogil=True, cache=True)
def pick(
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


@numba.njit(nogil=True)
def _flags_of(data: NDArray[np.uint8], starts: NDArray[np.int32], block: int) -> int:
    """Return the address of a flagged block's last plane."""
    return address_of(data) + (np.int64(starts[block + 1]) - 1) * data.shape[1]


@numba.njit(nogil=True, cache=True)
def count_flags(data: NDArray[np.uint8], starts: NDArray[np.int32], flagged: NDArray[np.uint8]) -> int:
    """Return how many pixels are flagged in all blocks."""
    found = 0
    for block in range(flagged.size):
        if flagged[block]:
            plane = _flags_of(data, starts, block)
            for k in range(0, data.shape[1], 8):
                word = load_64(plane + k)
                while word:  # flags are few: each turn takes the lowest away
                    word &= word - 1
                    found += 1
    return found


@numba.njit(nogil=True, cache=True)
def add_flags(
    data: NDArray[np.uint8],
    starts: NDArray[np.int32],
    flagged: NDArray[np.uint8],
    block_pixels: int,
    step: int,
    excluded: NDArray[np.uint32],
) -> None:
    """Add `step` (1, or -1 to take back) to the counter of each flagged pixel."""
    for block in range(flagged.size):
        if flagged[block]:
            plane = _flags_of(data, starts, block)
            for k in range(0, data.shape[1], 8):
                word = load_64(plane + k)
                first = block * block_pixels + 8 * k
                bit = 0
                while word:
                    if word & 1:
                        excluded[first + bit] += np.uint32(step)
                    word = (word >> 1) & 0x7FFFFFFFFFFFFFFF
                    bit += 1
