"""Decompress one frame, after checking every claim its bytes make.

Encodings: DECTRIS SIMPLON API 1.6, grammar ``[bs<BIT>][[-]lz4][<|>]``. The bitshuffle layout is a 12-byte header
(uncompressed size and block size, big-endian), blocks with 4-byte big-endian lengths, and the last n mod 8 elements
raw. ``lz4hdf5`` (LZ4 on Stream2) is the layout of HDF5 filter 32004: the same header, blocks with 4-byte big-endian
lengths, raw where the length is the block's own. A last letter ``T`` means column by column.
"""

import re
import struct
from collections.abc import Iterator

import bitshuffle
import lz4.block
import numba
import numpy as np
from numpy.typing import NDArray

from processing.frame import EncodedFrame, Refusal

_ENCODING = re.compile(r"^(?:(?:bs(8|16|32))?-?(lz4)?|(lz4hdf5))([<>])?(T)?$")
_DEFAULT_BLOCK_BYTES = 8192
_HEADER, _LENGTH = struct.Struct(">QI"), struct.Struct(">I")
_LZ4_MAX_RATIO = 255
_BEYOND, _BAD_LENGTH = 1, 2
# With its types given, the loop is compiled (or taken from the cache) before the first frame comes.
_WALK_TYPES = numba.types.UniTuple(numba.int64, 3)(
    numba.types.Array(numba.uint8, 1, "C", readonly=True), numba.int64, numba.int64, numba.int64, numba.int64
)


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
    bits, lz4_word, hdf5_word, order, columns = match.groups()
    if order == ">":
        dtype = dtype.newbyteorder(">")
    if bits and int(bits) != dtype.itemsize * 8:
        return refuse(f"bitshuffle width must be that of {frame.pixel_type}, got bs{bits}")
    size = shape[0] * shape[1] * dtype.itemsize
    raw = _inflate(frame.blob, size, "bs" if bits else lz4_word or hdf5_word, dtype.itemsize)
    if isinstance(raw, str):
        return refuse(raw)
    if len(raw) != size:
        return refuse(f"decoded frame must have {size} bytes, got {len(raw)}")
    pixels = np.frombuffer(raw, dtype)
    pixels = np.ascontiguousarray(pixels.reshape(shape[::-1]).T) if columns else pixels.reshape(shape)
    return pixels if order != ">" else pixels.astype(dtype.newbyteorder("="))


def _inflate(blob: bytes | memoryview, size: int, codec: str | None, item_bytes: int) -> bytes | memoryview | str:
    """Return the raw bytes, or in words why they cannot be had."""
    match codec:
        case "bs":
            return _bitshuffle_lz4(blob, size, item_bytes)
        case "lz4":
            return _bare_lz4(blob, size)
        case "lz4hdf5":
            return _hdf5_lz4(blob, size)
    return blob


def _bare_lz4(blob: bytes | memoryview, size: int) -> bytes | str:
    if len(blob) * _LZ4_MAX_RATIO < size:
        return f"LZ4 block of {len(blob)} bytes cannot hold {size} bytes; the frame was cut"
    try:
        return lz4.block.decompress(blob, uncompressed_size=size)
    except (lz4.block.LZ4BlockError, ValueError) as error:
        return f"LZ4 block does not decode to {size} bytes ({error}); the frame is damaged"


def _bitshuffle_lz4(blob: bytes | memoryview, size: int, item_bytes: int) -> memoryview | str:
    if len(blob) < _HEADER.size:
        return f"bitshuffle data must have at least {_HEADER.size} bytes, got {len(blob)}"
    claimed, block_bytes = _HEADER.unpack_from(blob)
    if claimed == 0 and block_bytes == 0:  # some senders leave the header empty
        block_bytes = _DEFAULT_BLOCK_BYTES
    elif claimed != size:
        return f"bitshuffle header must announce {size} bytes, got {claimed}"
    if block_bytes == 0 or block_bytes % (8 * item_bytes) or block_bytes > 1 << 24:
        return f"bitshuffle block must be a multiple of {8 * item_bytes} bytes up to 16 MiB, got {block_bytes}"
    reason = _walk_blocks(blob, size, item_bytes, block_bytes)
    if reason:
        return reason
    blocks = np.frombuffer(blob, np.uint8)[_HEADER.size :]
    dtype, elements = np.dtype(f"u{item_bytes}"), size // item_bytes
    try:
        pixels = bitshuffle.decompress_lz4(blocks, (elements,), dtype, block_bytes // item_bytes)
    except Exception as error:  # noqa: BLE001 - the library raises nothing more special
        return f"bitshuffle blocks do not decode ({error}); the frame is damaged"
    return memoryview(pixels).cast("B")


def _hdf5_lz4(blob: bytes | memoryview, size: int) -> bytes | str:
    if len(blob) < _HEADER.size:
        return f"LZ4 data must have at least {_HEADER.size} bytes, got {len(blob)}"
    claimed, block_bytes = _HEADER.unpack_from(blob)
    if claimed != size:
        return f"LZ4 header must announce {size} bytes, got {claimed}"
    if not 0 < block_bytes < 1 << 31:
        return f"LZ4 block must have 1 byte to 2 GiB, got {block_bytes}"
    full, last_bytes = divmod(size, block_bytes)
    reason = _follow(blob, full, last_bytes, block_bytes, 0)
    if reason:
        return reason
    try:
        return b"".join(_hdf5_blocks(blob, full, last_bytes, block_bytes))
    except (lz4.block.LZ4BlockError, ValueError) as error:
        return f"LZ4 blocks do not decode ({error}); the frame is damaged"


def _hdf5_blocks(blob: bytes | memoryview, full: int, last_bytes: int, block_bytes: int) -> Iterator[bytes]:
    """Decode block after block; a length that is the block's own means that it was stored as it is."""
    position = _HEADER.size
    for block in range(full + (last_bytes > 0)):
        (length,) = _LENGTH.unpack_from(blob, position)
        position += _LENGTH.size
        size = block_bytes if block < full else last_bytes
        stored = bytes(blob[position : position + length])
        yield stored if length == size else lz4.block.decompress(stored, uncompressed_size=size)
        position += length


def _walk_blocks(blob: bytes | memoryview, size: int, item_bytes: int, block_bytes: int) -> str:
    """Follow the blocks of bitshuffle-LZ4 data; return what is wrong with them, or nothing."""
    elements = size // item_bytes
    full, rest = divmod(elements, block_bytes // item_bytes)
    return _follow(blob, full, rest // 8 * 8 * item_bytes, block_bytes, elements % 8 * item_bytes)


def _follow(blob: bytes | memoryview, full: int, last_bytes: int, block_bytes: int, tail_bytes: int) -> str:
    """Follow the lengths of `full` blocks, a shorter last one and a raw tail to the end of the blob."""
    data = np.frombuffer(blob, np.uint8)
    fault, block, value = _walk(data, _HEADER.size, full, block_bytes, last_bytes)
    if fault == _BEYOND:
        return f"block {block} of {full + (last_bytes > 0)} lies beyond the end of the data; the frame was cut"
    if fault == _BAD_LENGTH:
        length = block_bytes if block < full else last_bytes
        return (
            f"compressed length of block {block} must be at most {length + length // 255 + 16} "
            f"and enough for {length} bytes, got {value}"
        )
    if value + tail_bytes != len(blob):
        return f"blocks must fill the {len(blob)} bytes exactly, they end at {value + tail_bytes}; the frame is damaged"
    return ""


@numba.njit(_WALK_TYPES, nogil=True, cache=True)
def _walk(data: NDArray[np.uint8], start: int, full: int, block_bytes: int, last_bytes: int) -> tuple[int, int, int]:
    """Return a fault, the block it is in and its length, or 0, 0 and the position behind the last block."""
    position = start
    for block in range(full + (last_bytes > 0)):
        if position + 4 > data.size:
            return _BEYOND, block, 0
        compressed = 0
        for byte in data[position : position + 4]:
            compressed = compressed << 8 | int(byte)
        length = block_bytes if block < full else last_bytes
        if compressed > length + length // 255 + 16 or compressed * _LZ4_MAX_RATIO < length:
            return _BAD_LENGTH, block, compressed
        position += 4 + compressed
    return 0, 0, position
