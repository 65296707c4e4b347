import json
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.accumulate import ExactSum
from processing.bitplane import FrameScorer, PlaneSpill
from processing.decode import decode
from processing.frame import EncodedFrame, Refusal
from processing.mask import gap_mask
from processing.plane_layout import PlaneLayout
from processing.plane_sum import PlaneSum
from processing.screen import score

TYPES = ["uint8", "uint16", "uint32"]


def a_mask(rng, shape):
    """A mask with single bad pixels, bars of gaps and perhaps nothing else."""
    valid = (rng.random(shape) > rng.choice([0.0, 0.05, 0.5])).astype(np.uint8)
    if rng.random() < 0.5:
        start = int(rng.integers(0, shape[0]))
        valid[start : start + int(rng.integers(1, shape[0] + 1))] = 0
    return valid


def a_frame(rng, shape, dtype, valid, mean):
    """Counts, gaps at the maximum, and flags and large counts in valid pixels."""
    top = int(np.iinfo(dtype).max)
    pixels = np.minimum(rng.poisson(mean, shape), top - 2).astype(dtype)
    pixels[valid == 0] = top
    for value, share in ((top, 0.01), (top - 1, 0.01), (top - 2, 0.01), (top // 2 + 1, 0.01)):
        if rng.random() < 0.4:
            pixels[rng.random(shape) < share] = value
    return pixels


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 60),
    cols=st.integers(1, 80),
    dtype=st.sampled_from(TYPES),
    block_pixels=st.sampled_from([8, 64, 104, 128, 512, 1000, 2048, 4096, 8192]),
    mean=st.sampled_from([0.0, 0.01, 0.3, 3.0, 200.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_frame_is_scored_and_kept_as_on_the_plain_way(wire, rows, cols, dtype, block_pixels, mean, seed):
    rng = np.random.default_rng(seed)
    valid = a_mask(rng, (rows, cols))
    pixels = a_frame(rng, (rows, cols), dtype, valid, mean)
    ring = np.flatnonzero(valid.ravel() & (rng.random(valid.size) < 0.3))
    block_bytes = block_pixels * pixels.itemsize
    _, blob = wire.encode(pixels, block_bytes=block_bytes)

    layout = PlaneLayout(valid, pixels.dtype, block_bytes)
    radii = rng.integers(0, 3000, ring.size) if seed % 2 else None
    scorer = FrameScorer(layout, ring, radii)
    spill = scorer.read(blob)

    assert isinstance(spill, PlaneSpill), spill
    assert spill.score == score(pixels, valid, ring, radii)
    limit = np.iinfo(dtype).max - 1
    flagged = (valid != 0) & (pixels >= limit)
    excluded = np.zeros(valid.shape, np.uint32)
    spill.add_excluded(excluded)
    np.testing.assert_array_equal(excluded, flagged)
    assert spill.excluded_pixels == flagged.sum()
    values, counted = scorer.ring_values(spill)
    np.testing.assert_array_equal(counted, pixels.ravel()[ring] < limit)
    np.testing.assert_array_equal(values[counted], pixels.ravel()[ring][counted])
    plain, planes = ExactSum(valid), PlaneSum(layout)
    plain.add(pixels)
    planes.add([spill])
    np.testing.assert_array_equal(planes.data(), plain.data)
    np.testing.assert_array_equal(planes.excluded, plain.excluded)


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(TYPES),
    mean=st.sampled_from([0.005, 0.25, 4.0]),
    masked=st.booleans(),
    gap=st.sampled_from(["max", "max - 1", "max - 2", "half", "odd"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_gaps_whose_planes_repeat_are_scored_as_on_the_plain_way(wire, dtype, mean, masked, gap, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.poisson(mean, (9, 4150)).astype(dtype)
    top = int(np.iinfo(dtype).max)
    value = {"max": top, "max - 1": top - 1, "max - 2": top - 2, "half": top // 2 + 1, "odd": top // 3}[gap]
    valid = np.ones(pixels.shape, np.uint8)
    for start in (1030, 2070, 3110):
        pixels[:, start : start + 10] = value
        valid[:, start : start + 10] = not masked
    ring = np.flatnonzero(valid)[::13]
    layout = PlaneLayout(valid, pixels.dtype)
    spill = FrameScorer(layout, ring).read(wire.encode(pixels)[1])
    assert spill.score == score(pixels, valid, ring)
    planes, plain = PlaneSum(layout), ExactSum(valid)
    planes.add([spill] * 3)
    for _ in range(3):
        plain.add(pixels)
    np.testing.assert_array_equal(planes.data(), plain.data)
    np.testing.assert_array_equal(planes.excluded, plain.excluded)


def test_memory_used_again_keeps_nothing_of_the_frame_before(wire):
    rng = np.random.default_rng(5)
    valid = a_mask(rng, (70, 90))
    layout = PlaneLayout(valid, np.dtype(np.uint16), 1024)
    scorer = FrameScorer(layout, np.flatnonzero(valid)[::7])
    spill = None
    for mean in (300.0, 0.0, 2.0, 60_000.0, 0.1):
        pixels = a_frame(rng, valid.shape, np.uint16, valid, mean)
        spill = scorer.read(wire.encode(pixels, block_bytes=1024)[1], spill)
        assert spill.score == score(pixels, valid, np.flatnonzero(valid)[::7])


def test_every_bitshuffle_vector_scores_as_on_the_plain_way(vector_folder):
    seen = 0
    for entry in json.loads((vector_folder / "manifest.json").read_text())["vectors"]:
        if not entry["file"].startswith("bslz4"):
            continue
        shape, dtype = tuple(entry["shape_rows_cols"]), np.dtype(entry["dtype"])
        blob = (vector_folder / entry["file"]).read_bytes()
        valid = np.ones(shape, np.uint8)
        ring = np.arange(0, valid.size, 11)
        frame = EncodedFrame(
            series=1, frame=0, shape=shape, pixel_type=dtype.name, encoding=f"bs{8 * dtype.itemsize}-lz4<", blob=blob
        )
        spill = FrameScorer(PlaneLayout(valid, dtype, struct.unpack_from(">I", blob, 8)[0]), ring).read(blob)
        assert spill.score == score(decode(frame, shape), valid, ring), entry["file"]
        seen += 1
    assert seen >= 6


def test_a_frame_of_a_real_detector_is_scored_and_summed_as_on_the_plain_way(captured):
    blob, shape = captured("frame_sample").read_bytes(), (4362, 4148)
    frame = EncodedFrame(series=1, frame=0, shape=shape, pixel_type="uint16", encoding="bs16-lz4<", blob=blob)
    pixels = decode(frame, shape)
    valid = gap_mask(shape).astype(np.uint8)
    ring = np.flatnonzero(valid)[::1000]
    layout = PlaneLayout(valid, pixels.dtype)
    spill = FrameScorer(layout, ring).read(blob)
    assert spill.score == score(pixels, valid, ring)
    planes, plain = PlaneSum(layout), ExactSum(valid)
    planes.add([spill, spill])
    plain.add(pixels)
    plain.add(pixels)
    np.testing.assert_array_equal(planes.data(), plain.data)
    np.testing.assert_array_equal(planes.excluded, plain.excluded)


def test_a_total_beyond_32_bits_is_exact(wire):
    pixels = np.full((64, 64), 2**32 - 3, np.uint32)
    valid = np.ones(pixels.shape, np.uint8)
    ring = np.arange(4096)
    spill = FrameScorer(PlaneLayout(valid, pixels.dtype), ring).read(wire.encode(pixels)[1])
    assert spill.score.total == 4096 * (2**32 - 3)
    assert spill.score.ring_square_sum == 4096 * (2**32 - 3) ** 2
    assert spill.highest == 32


def test_an_empty_header_means_size_from_shape(wire):
    pixels = np.arange(37 * 41, dtype=np.uint32).reshape(37, 41)
    scorer = FrameScorer(PlaneLayout(np.ones(pixels.shape, np.uint8), pixels.dtype), np.arange(9))
    assert scorer.read(bytes(12) + wire.encode(pixels)[1][12:]).score.total == pixels.sum()


def test_blocks_without_a_valid_pixel_are_passed_over_unread(wire):
    pixels = np.ones((64, 64), np.uint16)
    valid = np.ones(pixels.shape, np.uint8)
    valid[:32] = 0
    blob = bytearray(wire.encode(pixels, block_bytes=1024)[1])
    blob[16:20] = b"\xff\xff\xff\xff"  # the first block holds nonsense now, but keeps its length
    spill = FrameScorer(PlaneLayout(valid, pixels.dtype, 1024), np.arange(2048, 2052)).read(bytes(blob))
    assert spill.score.total == 2048


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda blob: blob[:8], "at least 12 bytes"),
        (lambda blob: struct.pack(">QI", 1 << 50, 8192) + blob[12:], "must announce 12288 bytes"),
        (lambda blob: blob[:8] + struct.pack(">I", 4096) + blob[12:], "block must be 8192 bytes"),
        (lambda blob: blob[:12] + struct.pack(">I", 1 << 30) + blob[16:], "compressed length of block 0"),
        (lambda blob: blob[:12] + bytes(4) + blob[16:], "compressed length of block 0"),
        (lambda blob: blob[:-300], "beyond the end"),
        (lambda blob: blob + b"more", "must fill the"),
        (lambda blob: blob[:13], "beyond the end"),
        (lambda blob: blob[:16] + b"\x00\x00\x00" + blob[19:], "LZ4 block 0 cannot be decoded"),
    ],
)
def test_a_damaged_blob_is_refused_with_the_reason(wire, spoil, words):
    pixels = np.random.default_rng(0).integers(0, 99, (48, 64), dtype=np.uint32)
    scorer = FrameScorer(PlaneLayout(np.ones(pixels.shape, np.uint8), pixels.dtype), np.arange(9))
    assert words in scorer.read(spoil(wire.encode(pixels)[1]))


def test_what_the_plain_way_refuses_is_refused_and_the_rest_is_the_same(wire):
    rng = random.Random(7)
    draws = np.random.default_rng(7)
    refused = accepted = 0
    for dtype in TYPES:
        pixels = draws.poisson(0.7, (97, 83)).astype(dtype)
        valid = np.ones(pixels.shape, np.uint8)
        ring = np.arange(0, valid.size, 5)
        name, blob = wire.encode(pixels, block_bytes=2048)
        scorer = FrameScorer(PlaneLayout(valid, pixels.dtype, 2048), ring)
        for _ in range(500):
            spoilt = bytearray(blob)
            for _ in range(rng.randint(1, 4)):
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
            spill = scorer.read(bytes(spoilt))
            plain = decode(
                EncodedFrame(
                    series=1, frame=0, shape=pixels.shape, pixel_type=dtype, encoding=name, blob=bytes(spoilt)
                ),
                pixels.shape,
            )
            if isinstance(spill, str):
                refused += 1
                assert isinstance(plain, Refusal) or "offset 0" in spill or "block must be" in spill, spill
            else:
                accepted += 1
                assert spill.score == score(plain, valid, ring)
    assert min(refused, accepted) > 100


@pytest.mark.parametrize(
    ("dtype", "block_bytes", "words"),
    [("int32", 8192, "pixel type must be"), ("uint32", 0, "bitshuffle block must"), ("uint16", 24, "multiple of 16")],
)
def test_an_impossible_layout_is_refused_in_words(dtype, block_bytes, words):
    with pytest.raises(ValueError, match=words):
        PlaneLayout(np.ones((8, 8), np.uint8), np.dtype(dtype), block_bytes)


def test_blocks_too_small_for_a_large_frame_are_left_to_the_plain_way():
    with pytest.raises(ValueError, match="at least 128 pixels"):
        PlaneLayout(np.ones((2000, 2000), np.uint8), np.dtype(np.uint32), 32)
