"""Where the pixels of a frame lie when it stays in bit planes.

Bitshuffle (Masui et al., Astronomy and Computing 12 (2015) 181, doi:10.1016/j.ascom.2015.07.002) stores a block of
elements as one row of bits per bit of the element, least significant first, element i at bit i % 8 of byte i // 8.
"""

import numpy as np
from numpy.typing import NDArray

from processing.memory_words import LANE_BYTES

_LARGEST_BLOCK_BYTES = 1 << 24


def lanes(rows: int, row_bytes: int) -> NDArray[np.uint8]:
    """Return zeros, shape (rows, row_bytes), at an address that is a multiple of 64."""
    raw = np.zeros(rows * row_bytes + LANE_BYTES, np.uint8)
    start = -raw.ctypes.data % LANE_BYTES
    return raw[start : start + rows * row_bytes].reshape(rows, row_bytes)


class PlaneLayout:
    """The blocks of a frame and its static mask, packed in bitshuffle's order; read only, one for all threads.

    Parameters
    ----------
    valid : ndarray of uint8, shape (rows, cols)
        The static mask.
    dtype : dtype
        uint8, uint16 or uint32.
    block_bytes : int
        Decoded bytes of a block, from the frame's header.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    planes : int
        Bits of a pixel.
    block_bytes, block_pixels, full_blocks, last_pixels : int
        `full_blocks` of `block_pixels`, then one of `last_pixels` unless that is 0.
    blocks : int
        Of both kinds.
    tail_pixels : int
        Pixels behind the last block (up to 7), stored as they are.
    stride : int
        Bytes of a plane of a block in memory, a multiple of 64.
    masks : ndarray of uint8, shape (blocks, stride)
        Bits of the mask, zero where a plane is padded.
    occupied : ndarray of uint8, shape (blocks,)
        1 where a block has valid pixels.

    Raises
    ------
    ValueError
        For another pixel type, a block that is no multiple of eight pixels, or blocks so small that padding them would
        take more than four times the memory: such frames take the plain route.
    """

    def __init__(self, valid: NDArray[np.uint8], dtype: np.dtype[np.unsignedinteger], block_bytes: int = 8192) -> None:
        self.shape: tuple[int, int] = (valid.shape[0], valid.shape[1])
        self.dtype = np.dtype(dtype)
        if self.dtype.name not in ("uint8", "uint16", "uint32"):
            raise ValueError(f"pixel type must be uint8, uint16 or uint32, got {self.dtype.name}")
        unit = 8 * self.dtype.itemsize
        if block_bytes <= 0 or block_bytes % unit or block_bytes > _LARGEST_BLOCK_BYTES:
            raise ValueError(f"bitshuffle block must be a multiple of {unit} bytes up to 16 MiB, got {block_bytes}")
        self.planes = unit
        self.block_bytes = block_bytes
        self.block_pixels = block_bytes // self.dtype.itemsize
        self.full_blocks, rest = divmod(valid.size, self.block_pixels)
        self.last_pixels, self.tail_pixels = rest // 8 * 8, valid.size % 8
        self.blocks = self.full_blocks + (self.last_pixels > 0)
        row = (self.block_pixels if self.full_blocks else self.last_pixels) // 8
        self.stride = -(-row // LANE_BYTES) * LANE_BYTES
        if self.blocks * self.stride > 4 * (valid.size // 8) + (1 << 20):
            raise ValueError(
                f"bitshuffle block must hold at least 128 pixels to stay in bit planes, got {self.block_pixels}"
            )
        self._pack(np.ascontiguousarray(valid).reshape(-1) != 0)

    def _pack(self, valid: NDArray[np.bool_]) -> None:
        self.masks = lanes(self.blocks, self.stride)
        whole = self.full_blocks * self.block_pixels
        row = self.block_pixels // 8
        if self.full_blocks:
            self.masks[: self.full_blocks, :row] = np.packbits(valid[:whole], bitorder="little").reshape(-1, row)
        if self.last_pixels:
            bits = np.packbits(valid[whole : whole + self.last_pixels], bitorder="little")
            self.masks[-1, : self.last_pixels // 8] = bits
        self.occupied: NDArray[np.uint8] = np.asarray(self.masks.any(axis=1), np.uint8)
        self.tail_valid = valid[valid.size - self.tail_pixels :].copy()
        for array in (self.masks, self.occupied, self.tail_valid):
            array.flags.writeable = False

    @property
    def blocked_pixels(self) -> int:
        """Number of pixels before the tail."""
        return self.full_blocks * self.block_pixels + self.last_pixels
