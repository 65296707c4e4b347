"""Messages of DECTRIS stream v1, byte for byte as the vendor documents them (SIMPLON API 1.6, stream interface).

Shapes are [width, height]. The blob of ``bsN-lz4<`` is a 12-byte header (big-endian uint64 size, uint32 block size, in
bytes), then the bitshuffle library's LZ4 blocks; that of ``lz4<`` is one bare LZ4 block.
"""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# Before the library loads: on a busy machine its threads wait for one another, and a frame of 15 ms takes seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import bitshuffle
import lz4.block
import numpy as np
from numpy.typing import NDArray

Compression = Literal["lz4", "bslz4"]
HeaderDetail = Literal["all", "basic", "none"]
BLOCK_BYTES = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class WireMessage:
    """One ZeroMQ multipart message.

    Attributes
    ----------
    kind
        What it is; ``frame`` is None unless it is an image.
    parts
        As they go over the wire.
    wait_s
        Simulated seconds the sender stays silent before it (a fault).
    """

    kind: Literal["header", "image", "end"]
    series: int
    frame: int | None = None
    parts: tuple[bytes, ...]
    wait_s: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(len(part) for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """A compressed frame.

    Attributes
    ----------
    shape
        (rows, columns).
    type
        ``uint16`` or ``uint32``.
    encoding
        The vendor's string, for example ``bs32-lz4<``.
    """

    shape: tuple[int, int]
    type: str
    encoding: str
    blob: bytes


def encode(frame: NDArray[np.unsignedinteger], compression: Compression) -> EncodedImage:
    """Compress a frame as the detector does."""
    pixels = np.ascontiguousarray(frame.astype(frame.dtype.newbyteorder("<"), copy=False)).ravel()
    if compression == "lz4":
        encoding, blob = "lz4<", lz4.block.compress(pixels.view(np.uint8), store_size=False)
    else:
        body = bitshuffle.compress_lz4(pixels, BLOCK_BYTES // pixels.itemsize)
        encoding = f"bs{8 * pixels.itemsize}-lz4<"
        blob = struct.pack(">QI", pixels.nbytes, BLOCK_BYTES) + body.tobytes()
    rows, cols = frame.shape
    return EncodedImage(shape=(rows, cols), type=pixels.dtype.name, encoding=encoding, blob=blob)


def header_message(
    series: int,
    detail: HeaderDetail,
    config: Mapping[str, Any],
    *,
    pixel_mask: NDArray[np.uint32],
    appendix: str = "",
) -> WireMessage:
    """Message the detector sends when it is armed.

    Parameters
    ----------
    series
        Series id.
    detail
        ``none``: one part; ``basic``: also the configuration; ``all``: also flatfield, mask and count-rate table.
    config
        Every configuration parameter and its value.
    pixel_mask
        The vendor's mask, shape (rows, columns).
    appendix
        Extra last part; sent at any level when not empty.
    """
    parts = [_json({"htype": "dheader-1.0", "series": series, "header_detail": detail})]
    if detail != "none":
        parts.append(_json(config))
    if detail == "all":
        rows, cols = pixel_mask.shape
        parts += _table("dflatfield-1.0", [cols, rows], np.ones((rows, cols), "<f4"))
        parts += _table("dpixelmask-1.0", [cols, rows], pixel_mask.astype("<u4"))
        counts = np.arange(1000, dtype="<f4")
        parts += _table("dcountrate_table-1.0", [2, 1000], np.stack([counts, counts]))
    if appendix:
        parts.append(appendix.encode())
    return WireMessage(kind="header", series=series, parts=tuple(parts))


def image_message(
    series: int, frame: int, image: EncodedImage, times_ns: tuple[int, int, int], *, appendix: str = ""
) -> WireMessage:
    """Message of one exposure; `times_ns` are start, stop (since the start of the series) and real time."""
    rows, cols = image.shape
    digest = hashlib.md5(image.blob, usedforsecurity=False).hexdigest()
    start, stop, real = times_ns
    parts = [
        _json({"htype": "dimage-1.0", "series": series, "frame": frame, "hash": digest}),
        _json(
            {
                "htype": "dimage_d-1.0",
                "shape": [cols, rows],
                "type": image.type,
                "encoding": image.encoding,
                "size": len(image.blob),
            }
        ),
        image.blob,
        _json({"htype": "dconfig-1.0", "start_time": start, "stop_time": stop, "real_time": real}),
    ]
    if appendix:
        parts.append(appendix.encode())
    return WireMessage(kind="image", series=series, frame=frame, parts=tuple(parts))


def end_message(series: int) -> WireMessage:
    """Message the detector sends after disarm, cancel or abort."""
    return WireMessage(kind="end", series=series, parts=(_json({"htype": "dseries_end-1.0", "series": series}),))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _table(htype: str, shape: list[int], data: NDArray[Any]) -> list[bytes]:
    return [_json({"htype": htype, "shape": shape, "type": data.dtype.name}), data.tobytes()]
