"""Stream2 messages as a detector would send them."""

import struct

import bitshuffle
import cbor2
import lz4.block
import numpy as np
import pytest

_TAGS = {"u1": 64, ">u2": 65, ">u4": 66, "<u2": 69, "<u4": 70}


class Stream2:
    """Messages of Stream2, encoded by third-party libraries only."""

    @staticmethod
    def lz4_hdf5(raw: bytes, block_bytes: int) -> bytes:
        out = struct.pack(">QI", len(raw), block_bytes)
        for start in range(0, len(raw), block_bytes):
            block = raw[start : start + block_bytes]
            packed = lz4.block.compress(block, store_size=False)
            packed = block if len(packed) >= len(block) else packed
            out += struct.pack(">I", len(packed)) + packed
        return out

    @classmethod
    def array(cls, pixels: np.ndarray, codec: str = "bslz4", order: str = "<", columns: bool = False) -> cbor2.CBORTag:
        dtype = pixels.dtype.newbyteorder(order)
        flat = np.ascontiguousarray((pixels.T if columns else pixels).astype(dtype)).ravel()
        data = flat.tobytes()
        if codec == "bslz4":
            body = bitshuffle.compress_lz4(flat.view(f"u{pixels.itemsize}"), 8192 // pixels.itemsize).tobytes()
            data = cbor2.CBORTag(56500, ["bslz4", pixels.itemsize, struct.pack(">QI", pixels.nbytes, 8192) + body])
        elif codec == "lz4":
            data = cbor2.CBORTag(56500, ["lz4", 0, cls.lz4_hdf5(data, 1000)])
        typed = cbor2.CBORTag(_TAGS[dtype.str if pixels.itemsize > 1 else "u1"], data)
        return cbor2.CBORTag(1040 if columns else 40, [list(pixels.shape), typed])

    @staticmethod
    def start(series: int = 7, **entries: object) -> bytes:
        return cbor2.dumps({"type": "start", "series_id": series, **entries})

    @staticmethod
    def image(data: dict[str, object], series: int = 7, frame: int = 0, **entries: object) -> bytes:
        return cbor2.dumps({"type": "image", "series_id": series, "image_id": frame, "data": data, **entries})

    @staticmethod
    def end(series: int = 7) -> bytes:
        return cbor2.dumps({"type": "end", "series_id": series})


@pytest.fixture(scope="session")
def stream2() -> type[Stream2]:
    """Encoders of Stream2 messages."""
    return Stream2
