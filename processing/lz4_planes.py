"""LZ4 blocks of bit planes, decoded with 64-byte copies.

The format is the public LZ4 block format (lz4/doc/lz4_Block_format.md): sequences of a token, literals, a 16-bit
offset and a match. What is accepted is what liblz4's LZ4_decompress_safe accepts with an output of exactly the wanted
size, except an offset of 0, which the format forbids and liblz4 lets pass.

The one thing that is special to bit planes: dead planes above the counts all hold the same bits (those of the module
gaps), so their compressed bytes repeat too. Where they do, and the decoded plane did, the rest is copied without being
parsed.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from processing.memory_words import (
    HAS_BYTE_PERMUTE,
    HAS_BYTE_SHUFFLE,
    LANE_BYTES,
    address_of,
    lane_any,
    lane_pick_bytes,
    lane_pick_of_16,
    lane_xor,
    load_64,
    load_lane,
    load_u8,
    load_u16,
    store_64,
    store_lane,
)

# how a block is refused, by the number that `decode_block` returns
REASONS = {
    -1: "its compressed bytes end within a sequence",
    -2: "its literals do not fit its compressed bytes or its decoded size",
    -3: "a match reaches beyond its decoded size",
    -4: "a match starts before the block",
    -5: "a match has the offset 0",
    -6: "it decodes to fewer bytes than a block holds",
}

# bytes a caller must own behind the compressed bytes (to read) and behind the decoded ones (to write)
MARGIN = 2 * LANE_BYTES

_MIN_MATCH = 4
_LONG = 15  # a length that continues in further bytes
_MATCH_END = 5  # the last five bytes of a block are literals
_LAST_MATCH = 12  # and the last match starts at least twelve bytes before its end
_NEVER = 1 << 62
_SHUFFLED = 16  # the longest pattern that one shuffle of 16 bytes repeats


def repeat_table() -> NDArray[np.uint8]:
    """Return for every offset up to 64 the bytes that repeat a pattern of that length, and how far to step with it.

    Returns
    -------
    ndarray of uint8, shape (65, 128)
        ``[offset, :64]`` is i % offset, ``[offset, 64]`` the largest multiple of the offset up to 64.
    """
    table = np.zeros((LANE_BYTES + 1, 2 * LANE_BYTES), np.uint8)
    for offset in range(1, LANE_BYTES + 1):
        table[offset, :LANE_BYTES] = np.arange(LANE_BYTES) % offset
        table[offset, LANE_BYTES] = LANE_BYTES // offset * offset
    return table


@numba.njit(nogil=True)
def _repeat_by_words(out: int, source: int, offset: int) -> None:
    """Write 64 bytes that repeat the `offset` bytes before them, where no instruction permutes the bytes of a lane."""
    if offset >= 8:
        for k in range(0, LANE_BYTES, 8):
            store_64(out + k, load_64(source + k))
        return
    word = load_64(source) & ((1 << 8 * offset) - 1)
    length = offset
    while length < 8:
        word |= word << 8 * length
        length *= 2
    for k in range(0, LANE_BYTES, 8 // offset * offset):
        store_64(out + k, word)


@numba.njit(nogil=True)
def _copy_match(out: int, offset: int, end: int, table: int) -> None:
    """Copy the bytes `offset` before to [out, end), and up to 64 bytes more."""
    source = out - offset
    row = table + min(offset, LANE_BYTES) * 2 * LANE_BYTES
    step = load_u8(row + LANE_BYTES)
    if HAS_BYTE_PERMUTE:
        pattern = lane_pick_bytes(load_lane(source), load_lane(row))
        store_lane(out, pattern)
    elif HAS_BYTE_SHUFFLE:  # a longer pattern stays as it is, and is written again behind its first period
        short = offset <= _SHUFFLED
        if short:
            pattern = lane_pick_of_16(source, load_lane(row))
        else:
            pattern = load_lane(source)
            step = offset
        store_lane(out, pattern)
    else:
        _repeat_by_words(out, source, offset)
        pattern = load_lane(out)
    if HAS_BYTE_SHUFFLE and not HAS_BYTE_PERMUTE:
        if end - out <= (step if offset < LANE_BYTES else LANE_BYTES):
            return
    elif end - out <= LANE_BYTES:
        return
    if offset < LANE_BYTES:
        out += step
        while out < end:
            store_lane(out, pattern)
            out += step
    else:
        out += LANE_BYTES
        while out < end:
            store_lane(out, load_lane(out - offset))
            out += LANE_BYTES


@numba.njit(nogil=True)
def _copy_literals(out: int, source: int, end: int) -> None:
    """Copy to [out, end) from the compressed bytes, and up to 64 bytes more."""
    while True:
        store_lane(out, load_lane(source))
        out += LANE_BYTES
        source += LANE_BYTES
        if out >= end:
            return


@numba.njit(nogil=True)
def _lengthen(position: int, stop: int, length: int) -> tuple[int, int]:
    """Add the bytes that continue a length; return the position behind them, beyond `stop` when they do not end."""
    while position < stop:
        byte = load_u8(position)
        position += 1
        length += byte
        if byte != 255:
            return position, length
    return stop + 1, length


@numba.njit(nogil=True)
def _repeats(position: int, before: int, stop: int, out: int, period: int, room: int) -> int:
    """Return how often the sequences [before, position), which decoded to one plane, may be taken as decoded again.

    They are followed by themselves that often, and the plane that they made equals the one before it: since no offset
    in them reaches further back than a plane, each repetition makes that plane again.
    """
    length = position - before
    same = 0
    while position + same + 8 <= stop and load_64(position + same) == load_64(before + same):
        same += 8
    # the end of a block has rules of its own: leave it to be parsed
    times = min(same // length, (stop - _LONG - position) // length, room // period - 1)
    if times < 2:
        return 0
    for k in range(0, period, LANE_BYTES):
        if lane_any(lane_xor(load_lane(out - period + k), load_lane(out - 2 * period + k))):
            return 0
    return times


@numba.njit(nogil=True)
def fill_hole(base: int, period: int, first: int, behind: int, table: int) -> None:
    """Write the planes [first, behind) of a block, which equal the one before them."""
    for plane in range(first, behind):
        _copy_match(base + plane * period, period, base + (plane + 1) * period, table)


@numba.njit(nogil=True)
def _write_behind_hole(base: int, period: int, first: int, behind: int, out: int, table: int) -> int:
    """Write the plane `behind`, which what follows may repeat, and the bytes from there to `out`; return its address.

    They repeat the plane before `first`, too.
    """
    plane = base + behind * period
    _copy_match(plane, (behind - first + 1) * period, plane + period, table)
    _copy_match(plane + period, period, out, table)
    return plane


@numba.njit(nogil=True)
def decode_block(  # noqa: C901, PLR0912, PLR0915 - one loop over sequences, whose state is to stay in registers
    position: int, stop: int, base: int, size: int, period: int, repeats: bool, table: int
) -> tuple[int, int, int]:
    """Decode one LZ4 block.

    Parameters
    ----------
    position, stop : int
        Addresses of the first compressed byte and behind the last; `MARGIN` bytes behind that must be readable.
    base, size : int
        Address to decode to and exact number of decoded bytes; `MARGIN` bytes behind them are overwritten.
    period : int
        Bytes of one plane, a multiple of 64, when equal planes may be left out; 0: write all.
    repeats : bool
        Look for repeating compressed bytes too, which pays for 32 planes.
    table : int
        Address of `repeat_table`.

    Returns
    -------
    fault : int
        0, or a key of `REASONS`. Whatever the bytes are, nothing outside of the two ranges is touched.
    first, behind : int
        Planes [first, behind) were not written: they equal the one before them (`fill_hole`).
    """
    out, end = base, base + size
    first, behind = 0, 0
    lowest = base  # a match that starts before needs a closer look
    plane_end = base + period if period and repeats else _NEVER
    plane_out, plane_position, reach = base, position, 0
    long = 4 * period if period else _NEVER
    while True:
        if out >= plane_end:  # the first sequence of another plane
            times = 0
            if out - plane_out == period and reach <= period and out - base >= 2 * period:
                times = _repeats(position, plane_position, stop, out, period, end - out)
            if times:
                first = (out - base) // period
                behind = first + times - 1
                position += times * (position - plane_position)
                out += times * period
                lowest = _write_behind_hole(base, period, first, behind, out, table)
                plane_end = long = _NEVER
            else:
                plane_out, plane_position, reach = out, position, 0
                plane_end = base + ((out - base) // period + 1) * period
        if position >= stop:
            return -1, 0, 0
        token = load_u8(position)
        position += 1
        literals = token >> 4
        if literals == _LONG:
            position, literals = _lengthen(position, stop, literals)
        if out + literals > end - _LAST_MATCH or position + literals > stop - 3 - _MATCH_END:
            if position + literals != stop or out + literals > end:
                return -2, 0, 0
            if literals:
                _copy_literals(out, position, out + literals)
            return (0 if out + literals == end else -6), first, behind
        _copy_literals(out, position, out + literals)
        out += literals
        position += literals
        offset = load_u16(position)
        match = token & 15
        is_long = (match + 1) >> 4  # 1 for `_LONG`, without a jump that nobody could predict
        more = load_u8(position + 2) & -is_long
        position += 2 + is_long
        match += more
        if more == 255:
            position, match = _lengthen(position, stop, match)
        match += _MIN_MATCH
        if out + match > end - _MATCH_END or position > stop:
            return -3, 0, 0
        if offset == 0:
            return -5, 0, 0
        if out - offset < lowest:
            if out - offset < base:
                return -4, 0, 0
            if behind and out - offset + match > base + first * period:
                fill_hole(base, period, first, behind, table)
                first, behind, lowest = 0, 0, base
        reach = max(reach, offset)
        if match >= long and period % offset == 0:  # three whole planes at least, all equal
            first = (out - base + period - 1) // period + 1
            behind = (out - base + match) // period - 1
            _copy_match(out, offset, base + first * period, table)
            out += match
            lowest = _write_behind_hole(base, period, first, behind, out, table)
            plane_end = long = _NEVER
        else:
            _copy_match(out, offset, out + match, table)
            out += match


@numba.njit(nogil=True, cache=True)
def _decode(
    blob: NDArray[np.uint8], length: int, out: NDArray[np.uint8], size: int, period: int, table: NDArray[np.uint8]
) -> int:
    start, base = address_of(blob), address_of(out)
    fault, first, behind = decode_block(start, start + length, base, size, period, True, address_of(table))
    fill_hole(base, period, first, behind, address_of(table))
    return fault


def decode_lz4(compressed: bytes, size: int, period: int = 0) -> bytes | str:
    """Decode one LZ4 block, or say why it cannot be: the kernel's decoder by itself.

    Parameters
    ----------
    compressed : bytes
    size : int
        Exact number of decoded bytes.
    period : int
        Bytes of one bit plane, a multiple of 64, or 0.
    """
    blob = np.zeros(len(compressed) + MARGIN, np.uint8)
    blob[: len(compressed)] = np.frombuffer(compressed, np.uint8)
    out = np.zeros(size + MARGIN, np.uint8)
    fault = _decode(blob, len(compressed), out, size, period, repeat_table())
    return REASONS[fault] if fault else out[:size].tobytes()
