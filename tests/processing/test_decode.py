import hashlib
import json
import struct
import time
import tracemalloc

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.decode import decode
from processing.frame import EncodedFrame, Refusal


def frame_of(blob, shape, pixel_type="uint32", encoding="bs32-lz4<"):
    return EncodedFrame(series=1, frame=5, shape=shape, pixel_type=pixel_type, encoding=encoding, blob=blob)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 70),
    cols=st.integers(1, 90),
    dtype=st.sampled_from(["uint8", "uint16", "uint32"]),
    encoding=st.sampled_from(["bslz4", "lz4", "none"]),
    mean=st.floats(0, 1e4),
    seed=st.integers(0, 2**32 - 1),
)
def test_decoding_inverts_a_third_party_encoder(wire, rows, cols, dtype, encoding, mean, seed):
    draws = np.random.default_rng(seed).poisson(mean, (rows, cols))
    pixels = np.minimum(draws, np.iinfo(dtype).max).astype(dtype)
    name, blob = wire.encode(pixels, encoding)
    decoded = decode(frame_of(blob, (rows, cols), dtype, name), (rows, cols))
    np.testing.assert_array_equal(decoded, pixels)
    assert decoded.dtype == pixels.dtype


@pytest.mark.parametrize("block_bytes", [1024, 4096, 16384])
def test_the_block_size_is_read_from_the_data(wire, block_bytes):
    pixels = np.arange(129 * 127, dtype=np.uint32).reshape(129, 127)
    name, blob = wire.encode(pixels, block_bytes=block_bytes)
    np.testing.assert_array_equal(decode(frame_of(blob, (129, 127), "uint32", name), (129, 127)), pixels)


def test_every_compressed_vector_decodes_to_its_digest(vector_folder):
    manifest = json.loads((vector_folder / "manifest.json").read_text())
    seen = 0
    for entry in manifest["vectors"]:
        if not entry["file"].startswith(("bslz4", "lz4")):
            continue
        shape = tuple(entry["shape_rows_cols"])
        blob = (vector_folder / entry["file"]).read_bytes()
        encoding = "lz4hdf5<" if "hdf5" in entry["file"] else entry.get("v1_encoding", "bs32-lz4<")
        pixels = decode(frame_of(blob, shape, entry["dtype"], encoding), shape)
        assert hashlib.md5(pixels.tobytes()).hexdigest() == entry["raw_md5"], entry["file"]
        seen += 1
    assert seen == 13


def test_an_empty_bitshuffle_header_means_size_from_shape(wire):
    pixels = np.arange(37 * 41, dtype=np.uint32).reshape(37, 41)
    _, blob = wire.encode(pixels)
    np.testing.assert_array_equal(decode(frame_of(bytes(12) + blob[12:], (37, 41)), (37, 41)), pixels)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda blob: blob[:8], "at least 12 bytes"),
        (lambda blob: struct.pack(">QI", 1 << 50, 8192) + blob[12:], "must announce 6068 bytes"),
        (lambda blob: blob[:8] + struct.pack(">I", 0) + blob[12:], "block must be"),
        (lambda blob: blob[:8] + struct.pack(">I", 12) + blob[12:], "block must be"),
        (lambda blob: blob[:12] + struct.pack(">I", 1 << 30) + blob[16:], "compressed length of block 0"),
        (lambda blob: blob[:-300], "damaged"),
        (lambda blob: blob + b"more", "damaged"),
        (lambda blob: blob[:13], "beyond the end"),
    ],
)
def test_a_damaged_blob_is_refused_with_the_frame_and_the_reason(wire, spoil, words):
    _, blob = wire.encode(np.arange(37 * 41, dtype=np.uint32).reshape(37, 41))
    refusal = decode(frame_of(spoil(blob), (37, 41)), (37, 41))
    assert isinstance(refusal, Refusal)
    assert (refusal.series, refusal.frame, refusal.image) == (1, 5, True)
    assert words in refusal.reason


def test_another_shape_than_announced_is_refused_before_it_costs_memory():
    refusal = decode(frame_of(b"", (30_000, 30_000)), (1065, 1030))
    assert "must have 1065 x 1030 pixels" in refusal.reason


@pytest.mark.parametrize("encoding", ["bs16-lz4<", "zstd<", "bs32"])
def test_an_encoding_that_does_not_fit_is_refused(encoding):
    assert isinstance(decode(frame_of(b"abc", (1, 1), "uint32", encoding), (1, 1)), Refusal)


def test_a_real_eiger2_frame_decodes_like_hdf5plugin(captured, tmp_path):
    blob, shape = captured("frame_sample").read_bytes(), (4362, 4148)
    pixels = decode(frame_of(blob, shape, "uint16", "bs16-lz4<"), shape)
    with h5py.File(tmp_path / "real.h5", "w") as file:
        dataset = file.create_dataset(
            "data", (1, *shape), "<u2", chunks=(1, *shape), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        )
        dataset.id.write_direct_chunk((0, 0, 0), blob)
        np.testing.assert_array_equal(pixels, dataset[0])
    assert pixels.max() == 65535


def test_lz4_in_hdf5_framing_decodes_like_hdf5plugin(stream2, tmp_path):
    pixels = np.random.default_rng(2).poisson(3, (129, 127)).astype(np.uint16)
    pixels[:20] = np.random.default_rng(3).integers(0, 2**16, (20, 127))
    blob = stream2.lz4_hdf5(pixels.tobytes(), 3000)
    with h5py.File(tmp_path / "lz4.h5", "w") as file:
        dataset = file.create_dataset("data", pixels.shape, "<u2", chunks=pixels.shape, **hdf5plugin.LZ4())
        dataset.id.write_direct_chunk((0, 0), blob)
        np.testing.assert_array_equal(dataset[()], pixels)
    np.testing.assert_array_equal(decode(frame_of(blob, (129, 127), "uint16", "lz4hdf5<"), (129, 127)), pixels)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda blob: blob[:8], "at least 12 bytes"),
        (lambda blob: struct.pack(">QI", 1 << 50, 1000) + blob[12:], "must announce 6068 bytes"),
        (lambda blob: struct.pack(">QI", 6068, 0) + blob[12:], "block must have"),
        (lambda blob: struct.pack(">QI", 6068, (1 << 32) - 1) + blob[12:], "block must have"),
        (lambda blob: blob[:12] + struct.pack(">I", 1 << 30) + blob[16:], "compressed length of block 0"),
        (lambda blob: blob[:12] + struct.pack(">I", 1) + blob[16:], "compressed length of block 0"),
        (lambda blob: blob[:-30], "damaged"),
        (lambda blob: blob[:13], "beyond the end"),
    ],
)
def test_damaged_lz4_in_hdf5_framing_is_refused(stream2, spoil, words):
    blob = stream2.lz4_hdf5(np.arange(37 * 41, dtype="<u4").tobytes(), 1000)
    refusal = decode(frame_of(spoil(blob), (37, 41), "uint32", "lz4hdf5<"), (37, 41))
    assert isinstance(refusal, Refusal)
    assert words in refusal.reason


def test_a_blob_too_small_for_its_frame_is_refused_before_it_costs_memory():
    shape = (8000, 8000)
    for encoding in ("lz4<", "lz4hdf5<", "bs32-lz4<"):
        blob = struct.pack(">QI", 8000 * 8000 * 4, 1 << 24) + struct.pack(">I", 60) + bytes(60)
        tracemalloc.start()
        assert isinstance(decode(frame_of(blob, shape, "uint32", encoding), shape), Refusal)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


@pytest.mark.parametrize("block_bytes", [32, 64])
def test_tiny_blocks_of_a_whole_detector_take_no_second(wire, block_bytes):
    pixels = np.zeros((1065, 1030), np.uint32)
    name, blob = wire.encode(pixels, block_bytes=block_bytes)
    started = time.perf_counter()
    np.testing.assert_array_equal(decode(frame_of(blob, pixels.shape, "uint32", name), pixels.shape), pixels)
    assert time.perf_counter() - started < 1.0
