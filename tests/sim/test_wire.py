"""Stream v1 as the vendor documents it, read by libraries that did not write it."""

import hashlib
import json
import struct

import lz4.block
import numpy as np
import pytest

from sim.wire import encode, end_message, header_message, image_message

RNG = np.random.default_rng(3)


def frame_of(dtype, shape=(37, 41)):
    frame = RNG.poisson(0.4, shape).astype(dtype)
    frame[:, 5] = np.iinfo(dtype).max
    return frame


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("shape", [(16, 16), (37, 41), (129, 127)])
def test_bitshuffled_blob_decodes_elsewhere(wire, dtype, shape):
    frame = frame_of(dtype, shape)
    image = encode(frame, "bslz4")
    size, block = struct.unpack(">QI", image.blob[:12])
    assert (size, block) == (frame.nbytes, 8192)
    assert image.encoding == f"bs{8 * frame.itemsize}-lz4<"
    assert np.array_equal(wire.decode_bslz4(image.blob, shape, frame.dtype.str), frame)


def test_lz4_blob_is_one_bare_block():
    frame = frame_of(np.uint32)
    image = encode(frame, "lz4")
    assert image.encoding == "lz4<"
    decoded = lz4.block.decompress(image.blob, uncompressed_size=frame.nbytes)
    assert np.array_equal(np.frombuffer(decoded, "<u4").reshape(frame.shape), frame)


def test_image_message():
    image = encode(frame_of(np.uint32), "bslz4")
    message = image_message(7, 3, image, (10, 70, 60))
    first, second, blob, times = message.parts
    assert json.loads(first) == {
        "htype": "dimage-1.0", "series": 7, "frame": 3, "hash": hashlib.md5(blob).hexdigest(),
    }  # fmt: skip
    assert json.loads(second) == {
        "htype": "dimage_d-1.0", "shape": [41, 37], "type": "uint32", "encoding": "bs32-lz4<", "size": len(blob),
    }  # fmt: skip
    assert json.loads(times) == {"htype": "dconfig-1.0", "start_time": 10, "stop_time": 70, "real_time": 60}
    assert image_message(7, 3, image, (0, 1, 1), appendix="point 3").parts[-1] == b"point 3"


@pytest.mark.parametrize(("detail", "parts"), [("none", 1), ("basic", 2), ("all", 8)])
def test_header_parts(detail, parts):
    mask = np.zeros((37, 41), np.uint32)
    mask[3, 4] = 2
    message = header_message(9, detail, {"nimages": 1}, pixel_mask=mask)
    assert len(message.parts) == parts
    assert json.loads(message.parts[0]) == {"htype": "dheader-1.0", "series": 9, "header_detail": detail}
    if parts > 1:
        assert json.loads(message.parts[1]) == {"nimages": 1}
    if parts == 8:
        shapes = [json.loads(message.parts[i]) for i in (2, 4, 6)]
        assert [one["htype"] for one in shapes] == ["dflatfield-1.0", "dpixelmask-1.0", "dcountrate_table-1.0"]
        assert [one["shape"] for one in shapes] == [[41, 37], [41, 37], [2, 1000]]
        sent = np.frombuffer(message.parts[5], "<u4").reshape(37, 41)
        assert np.array_equal(sent, mask)
        assert np.frombuffer(message.parts[3], "<f4").shape == (37 * 41,)
        assert np.frombuffer(message.parts[7], "<f4").shape == (2000,)
    assert len(header_message(9, detail, {}, pixel_mask=mask, appendix="x").parts) == parts + 1


def test_end_message():
    assert [json.loads(part) for part in end_message(4).parts] == [{"htype": "dseries_end-1.0", "series": 4}]
