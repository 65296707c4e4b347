"""Decompress one frame, after checking every claim its bytes make.

Encodings: DECTRIS SIMPLON API 1.6, grammar ``[bs<BIT>][[-]lz4][<|>]``. The bitshuffle layout is a 12-byte header
(uncompressed size and block size, big-endian), blocks with 4-byte big-endian lengths, and the last n mod 8 elements
raw.
"""

import re
import struct

import lz4.block
import numpy as np
from dectris.compression import decompress
from numpy.typing import NDArray

from processing.frame import EncodedFrame, Refusal

_ENCODING = re.compile(r"^(?:bs(8|16|32))?-?(lz4)?([<>])?$")
_DEFAULT_BLOCK_BYTES = 8192
_HEADER = struct.Struct(">QI")


def decode(frame: EncodedFrame, shape: tuple[int, int]) -> NDArray[np.unsignedinteger] | Refusal:
    """Return the pixels, or the reason why they cannot be had.

    Parameters
    ----------
    frame : EncodedFrame
    shape : tuple of int
        (rows, columns) that the series announced; anything else is refused before memory is taken.

    Returns
    -------
    ndarray, shape (rows, columns), uint8, uint16 or uint32; or Refusal
    """

    def refuse(reason: str) -> Refusal:
        return Refusal(reason=reason, series=frame.series, frame=frame.frame, image=True)

    if frame.shape != shape:
        (rows, cols), (want_rows, want_cols) = frame.shape, shape
        return refuse(f"frame must have {want_rows} x {want_cols} pixels (rows x columns), got {rows} x {cols}")
    dtype = np.dtype(frame.pixel_type)
    match = _ENCODING.match(frame.encoding)
    if match is None:
        return refuse(f"encoding must be like bs32-lz4<, lz4< or <, got {frame.encoding!r}")
    bits, lz4_word, order = match.groups()
    if order == ">":
        dtype = dtype.newbyteorder(">")
    if bits and int(bits) != dtype.itemsize * 8:
        return refuse(f"bitshuffle width must be that of {frame.pixel_type}, got bs{bits}")
    size = shape[0] * shape[1] * dtype.itemsize
    raw: bytes | memoryview | str
    if bits:
        raw = _bitshuffle_lz4(frame.blob, size, dtype.itemsize)
    elif lz4_word:
        raw = _bare_lz4(frame.blob, size)
    else:
        raw = frame.blob
    if isinstance(raw, str):
        return refuse(raw)
    if len(raw) != size:
        return refuse(f"decoded frame must have {size} bytes, got {len(raw)}")
    pixels = np.frombuffer(raw, dtype).reshape(shape)
    return pixels if order != ">" else pixels.astype(dtype.newbyteorder("="))


def _bare_lz4(blob: bytes | memoryview, size: int) -> bytes | str:
    try:
        return lz4.block.decompress(blob, uncompressed_size=size)
    except (lz4.block.LZ4BlockError, ValueError) as error:
        return f"LZ4 block does not decode to {size} bytes ({error}); the frame is damaged"


def _bitshuffle_lz4(blob: bytes | memoryview, size: int, item_bytes: int) -> bytes | str:
    if len(blob) < _HEADER.size:
        return f"bitshuffle data must have at least {_HEADER.size} bytes, got {len(blob)}"
    claimed, block_bytes = _HEADER.unpack_from(blob)
    if claimed == 0 and block_bytes == 0:  # some senders leave the header empty
        block_bytes = _DEFAULT_BLOCK_BYTES
        blob = _HEADER.pack(size, block_bytes) + bytes(blob[_HEADER.size :])
    elif claimed != size:
        return f"bitshuffle header must announce {size} bytes, got {claimed}"
    if block_bytes == 0 or block_bytes % (8 * item_bytes) or block_bytes > 1 << 24:
        return f"bitshuffle block must be a multiple of {8 * item_bytes} bytes up to 16 MiB, got {block_bytes}"
    reason = _walk_blocks(blob, size, item_bytes, block_bytes)
    if reason:
        return reason
    try:
        return decompress(bytes(blob), "bslz4", elem_size=item_bytes)
    except (ValueError, RuntimeError, MemoryError) as error:
        return f"bitshuffle blocks do not decode ({error}); the frame is damaged"


def _walk_blocks(blob: bytes | memoryview, size: int, item_bytes: int, block_bytes: int) -> str:
    """Follow the block lengths to the end of the blob; return what is wrong with them, or nothing."""
    elements = size // item_bytes
    per_block = block_bytes // item_bytes
    full, rest = divmod(elements, per_block)
    lengths = [block_bytes] * full + ([rest // 8 * 8 * item_bytes] if rest >= 8 else [])
    tail = elements % 8 * item_bytes
    position = _HEADER.size
    for index, length in enumerate(lengths):
        if position + 4 > len(blob):
            return f"block {index} of {len(lengths)} lies beyond the end of the data; the frame was cut"
        compressed = int.from_bytes(blob[position : position + 4], "big")
        if not 0 < compressed <= length + length // 255 + 16:
            return f"compressed length of block {index} must be at most {length + length // 255 + 16}, got {compressed}"
        position += 4 + compressed
    if position + tail != len(blob):
        return f"blocks must fill the {len(blob)} bytes exactly, they end at {position + tail}; the frame is damaged"
    return ""
