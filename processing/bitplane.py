"""From compressed bytes to a frame's score and its bit planes, without ever writing the decoded frame.

Each block is decoded within the processor's first cache; its planes are ANDed with the packed mask, counted, and only
those up to the highest live one are kept: the `PlaneSpill`, which waits for the verdict and is then added to a
`processing.plane_sum.PlaneSum`. `processing.decode`, `screen.score` and `accumulate` are the plain way to the same
integers.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from processing.accumulate import first_excluded_value
from processing.frame import FrameScore
from processing.lz4_planes import MARGIN, REASONS, repeat_table
from processing.memory_words import LANE_BYTES
from processing.plane_blocks import (
    BAD_LENGTH,
    BEHIND,
    BEYOND,
    HEADER_BYTES,
    add_flags,
    count_flags,
    pick,
    read_blocks,
)
from processing.plane_layout import PlaneLayout, lanes

_HEADER = struct.Struct(">QI")
_DEFAULT_BLOCK_BYTES = 8192


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

    def add_excluded(self, excluded: NDArray[np.uint32], step: int = 1) -> None:
        """Count the valid pixels that did not enter.

        Parameters
        ----------
        excluded : ndarray of uint32, shape (rows, cols)
            Changed in place.
        step : int
            1, or -1 to take this frame out again.
        """
        if self.excluded_pixels:
            flat = excluded.reshape(-1)
            add_flags(self.data, self.starts, self.flagged, self.layout.block_pixels, step, flat)
            flat[self.layout.blocked_pixels :][self.tail_flagged] += np.uint32(step % (1 << 32))


class FrameScorer:
    """Reads frames of one layout; it holds the working memory, so each thread needs its own.

    Parameters
    ----------
    layout : PlaneLayout
    ring : ndarray of int64, shape (n,)
        Flat indices of the valid pixels next to the beam stop, from `processing.screen.ring_pixels`.
    radii : ndarray of int64, shape (n,), optional
        Their distances, from `processing.screen.ring_radii`, to take a radial trend off.
    """

    def __init__(self, layout: PlaneLayout, ring: NDArray[np.int64], radii: NDArray[np.int64] | None = None) -> None:
        self.layout, self._radii = layout, radii
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
        fault, block, length = read_blocks(
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
        pick(spill.data, spill.starts, spill.flagged, self._block, self._byte, self._bit, picked, good)
        values[self._order] = np.concatenate([picked, spill.tail[self._tail].astype(np.uint32)])
        counted[self._order] = np.concatenate([good, ~spill.tail_flagged[self._tail]])
        return values, counted

    def _check_header(self, blob: bytes | memoryview) -> str:
        layout = self.layout
        if len(blob) < HEADER_BYTES:
            return f"bitshuffle data must have at least {HEADER_BYTES} bytes, got {len(blob)}"
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
        if fault == BEYOND:
            return f"block {block} of {self.layout.blocks} lies beyond the end of the data; the frame was cut"
        if fault == BAD_LENGTH:
            return f"compressed length of block {block} must fit a block of its size, got {length}"
        if fault == BEHIND:
            return f"blocks must fill the {size} bytes exactly, they end at {length}; the frame is damaged"
        return f"LZ4 block {block} cannot be decoded, {REASONS[fault]}; the frame is damaged"

    def _finish(self, spill: PlaneSpill, source: NDArray[np.uint8]) -> None:
        layout = self.layout
        tail = source[source.size - layout.tail_pixels * layout.dtype.itemsize :].copy().view(layout.dtype)
        over = tail >= first_excluded_value(layout.dtype)
        spill.tail_flagged[:] = over & layout.tail_valid
        spill.tail[:] = np.where(layout.tail_valid & ~over, tail, 0)
        counts: list[int] = self._counts.reshape(layout.planes, -1).sum(axis=1).tolist()
        spill.highest = max(
            [plane + 1 for plane, count in enumerate(counts) if count] + [int(spill.tail.max(initial=0)).bit_length()]
        )
        flags = count_flags(spill.data, spill.starts, spill.flagged)
        spill.excluded_pixels = flags + int(spill.tail_flagged.sum())
        values, counted = self.ring_values(spill)
        spill.score = FrameScore.of(
            sum(count << plane for plane, count in enumerate(counts)) + sum(spill.tail.tolist()),
            values[counted].tolist(),
            () if self._radii is None else self._radii[counted].tolist(),
        )
