import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

import bitshuffle
import lz4.block
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing import lz4_planes, memory_words, plane_blocks, plane_read, plane_sum, pooling
from processing.lz4_planes import MARGIN, REASONS, decode_block, decode_lz4, repeat_table
from processing.memory_words import HAS_BYTE_SHUFFLE


def reference(compressed, size):
    """What liblz4 makes of it, if that is exactly `size` bytes."""
    try:
        decoded = lz4.block.decompress(compressed, uncompressed_size=size)
    except (lz4.block.LZ4BlockError, ValueError):
        return None
    return decoded if len(decoded) == size else None


def offsets_of(compressed):
    """The offsets of a block's sequences, as far as they can be read."""
    position, found = 0, []

    def length(short):
        nonlocal position
        total, more = short, 255 if short == 15 else 0
        while more == 255:
            more = compressed[position]
            position += 1
            total += more
        return total

    try:
        while True:
            token = compressed[position]
            position += 1
            literals = length(token >> 4)
            position += literals
            found.append(compressed[position] | compressed[position + 1] << 8)
            position += 2
            length(token & 15)
    except IndexError:
        return found


def plane_block(rng, kind, planes=32, row=256):
    """Bit planes of a block as a detector's frames have them: few live ones, above them all the same."""
    block = np.zeros((planes, row), np.uint8)
    gap = np.zeros(row, np.uint8)
    for _ in range(int(rng.integers(0, 4))):
        start = int(rng.integers(0, row))
        gap[start : start + int(rng.integers(1, 40))] = int(rng.integers(1, 256))
    block[:] = gap
    for plane in range(int(rng.integers(0, 6))):
        density = rng.random() ** 2 / (plane + 1)
        block[plane] |= np.packbits(rng.random(row * 8) < density)
    if kind == "noise":
        block = rng.integers(0, 256, (planes, row), dtype=np.uint8)
    elif kind == "odd end":
        block[-1, -int(rng.integers(1, row)) :] ^= 5
    elif kind == "one differs":
        block[int(rng.integers(0, planes)), int(rng.integers(0, row))] ^= 1
    return block.tobytes()


ENCODERS = [
    {"mode": "default"},
    {"mode": "fast", "acceleration": 4},
    {"mode": "fast", "acceleration": 60},
    {"mode": "high_compression", "compression": 4},
    {"mode": "high_compression", "compression": 12},
]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["plain", "noise", "odd end", "one differs"]),
    encoder=st.sampled_from(ENCODERS),
    planes=st.sampled_from([8, 16, 32]),
    row=st.sampled_from([64, 128, 256, 512]),
    period=st.booleans(),
)
def test_decoding_inverts_every_encoder(seed, kind, encoder, planes, row, period):
    raw = plane_block(np.random.default_rng(seed), kind, planes, row)
    compressed = lz4.block.compress(raw, store_size=False, **encoder)
    assert decode_lz4(compressed, len(raw), row if period else 0) == raw


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(min_size=1, max_size=400), copies=st.integers(1, 30), encoder=st.sampled_from(ENCODERS))
def test_any_bytes_survive(raw, copies, encoder):
    raw = raw * copies
    assert decode_lz4(lz4.block.compress(raw, store_size=False, **encoder), len(raw)) == raw


def check_against_liblz4(compressed, size, period):
    """Same bytes or same refusal; only an offset of 0 is refused alone."""
    ours, theirs = decode_lz4(compressed, size, period), reference(compressed, size)
    if isinstance(ours, str):
        assert ours in REASONS.values()
        assert theirs is None or (ours == REASONS[-5] and 0 in offsets_of(compressed)), (ours, compressed.hex())
    else:
        assert ours == theirs, compressed.hex()
    return ours


def mutate(rng, compressed):
    spoilt = bytearray(compressed)
    for _ in range(rng.randint(1, 4)):
        match rng.randrange(4):
            case 0:
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
            case 1:
                spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
            case 2:
                del spoilt[rng.randrange(len(spoilt)) :]
            case 3:
                at, take = rng.randrange(len(spoilt)), rng.randrange(1, 20)
                spoilt[at:at] = spoilt[at : at + take]
        if not spoilt:
            return b"\x00"
    return bytes(spoilt)


def fuzz(count, seed):
    rng = random.Random(seed)
    refused = accepted = 0
    while refused + accepted < count:
        row = rng.choice([64, 256, 512])
        planes = rng.choice([8, 16, 32])
        kind = rng.choice(["plain", "noise", "odd end"])
        raw = plane_block(np.random.default_rng(rng.getrandbits(32)), kind, planes, row)
        compressed = lz4.block.compress(raw, store_size=False, **rng.choice(ENCODERS))
        for _ in range(20):
            spoilt = mutate(rng, compressed)
            outcome = check_against_liblz4(spoilt, len(raw), rng.choice([0, row]))
            refused += isinstance(outcome, str)
            accepted += isinstance(outcome, bytes)
    return refused, accepted


def test_a_damaged_block_decodes_as_in_liblz4_or_is_refused():
    refused, accepted = fuzz(4000, 1)
    assert refused > 400
    assert accepted > 400


@pytest.mark.slow
def test_two_hundred_thousand_damaged_blocks_decode_as_in_liblz4_or_are_refused():
    refused, accepted = fuzz(200_000, 2)
    assert min(refused, accepted) > 20_000


@settings(max_examples=500, deadline=None)
@given(compressed=st.binary(min_size=0, max_size=60), size=st.integers(1, 300))
def test_arbitrary_bytes_never_decode_to_something_else(compressed, size):
    check_against_liblz4(compressed, size, 0)


@pytest.mark.parametrize(
    ("compressed", "size", "reason"),
    [
        (b"", 10, -1),
        (b"\x10A", 10, -6),
        (b"\xf0\xff\xff", 10, -2),
        (b"\xa0" + bytes(9), 10, -2),
        (b"\x10A\x01\x00" + b"\xa0" + bytes(10), 18, -6),
        (b"\x1fA\x01\x00\xff\xff\xff\x00" + b"\x50" + bytes(5), 40, -3),
        (b"\x10A\x02\x00" + b"\xf0\x00" + bytes(15), 20, -4),
        (b"\x10A\x00\x00" + b"\xf0\x00" + bytes(15), 20, -5),
    ],
)
def test_each_reason_has_its_example(compressed, size, reason):
    assert decode_lz4(compressed, size) == REASONS[reason]


def test_dead_planes_that_repeat_with_a_flaw_are_not_taken_for_equal():
    raw = np.zeros((32, 256), np.uint8)
    raw[:, 3:90:7] = 129
    for plane in range(32):
        flawed = raw.copy()
        flawed[plane, 200] = 1
        compressed = lz4.block.compress(flawed.tobytes(), store_size=False)
        assert decode_lz4(compressed, flawed.size, 256) == flawed.tobytes()


def holes(raw, planes, repeats=True):
    """How many planes the decoder leaves out."""
    compressed = np.frombuffer(lz4.block.compress(raw, store_size=False) + bytes(MARGIN), np.uint8)
    out, table = np.zeros(len(raw) + MARGIN, np.uint8), repeat_table()
    start, stop = compressed.ctypes.data, compressed.ctypes.data + compressed.size - MARGIN
    base = out.ctypes.data
    fault, first, behind = decode_block(start, stop, base, len(raw), len(raw) // planes, repeats, table.ctypes.data)
    assert fault == 0
    return behind - first


def test_dead_planes_are_left_out():
    rng = np.random.default_rng(4)
    raw = np.zeros((32, 256), np.uint8)
    raw[:, 130:132] = 255
    raw[0] |= np.packbits(rng.random(2048) < 0.1)
    assert holes(raw.tobytes(), 32) > 20
    raw[2, 7] = 1
    assert holes(raw.tobytes(), 32) > 20
    assert holes(rng.bytes(8192), 32) == 0


def sequence(literals, offset=0, match=0):
    """One sequence of the block format; without an offset the last one."""

    def more(length):
        return b"" if length < 15 else b"\xff" * ((length - 15) // 255) + bytes([(length - 15) % 255])

    token = bytes([min(len(literals), 15) << 4 | (min(match - 4, 15) if offset else 0)])
    body = token + more(len(literals)) + literals
    return body + (offset.to_bytes(2, "little") + more(match - 4) if offset else b"")


@pytest.mark.parametrize("far", [40, 256, 300, 511, 520, 1000, 5 * 256 + 7, 20 * 256 + 5, 27 * 256, 29 * 256])
@pytest.mark.parametrize("match", [4, 16, 100, 700])
@pytest.mark.parametrize("offset", [256, 64, 2])
def test_a_match_that_reaches_into_planes_left_out_finds_their_bytes(far, match, offset):
    rng = np.random.default_rng(far + match)
    plane = rng.bytes(256)
    compressed = (
        sequence(plane, offset, 28 * 256)
        + sequence(rng.bytes(3), far, match)
        + sequence(rng.bytes(2), far + 1, match)
        + sequence(rng.bytes(300))
    )
    size = 29 * 256 + 5 + 2 * match + 300
    expected = reference(compressed, size)
    assert expected is not None
    assert decode_lz4(compressed, size, 256) == expected


@pytest.mark.parametrize(
    ("module", "parts"),
    [
        (plane_blocks, [memory_words, lz4_planes]),
        (plane_sum, [memory_words]),
        (plane_read, [memory_words, pooling]),
    ],
)
def test_compiled_kernels_are_renewed_when_a_file_they_are_built_on_changes(module, parts):
    found = 0
    for part in parts:
        found = zlib.crc32(Path(part.__file__).read_bytes(), found)
    assert f"{module.BUILT_ON:#010x}" == f"{found:#010x}", "set BUILT_ON to the second number"


@pytest.mark.parametrize("name", ["generic", "skylake-avx512"])
def test_processors_without_a_byte_permutation_decode_the_same(name):
    if name != "generic" and not HAS_BYTE_SHUFFLE:
        pytest.skip("this processor has no AVX-512")
    program = """
import lz4.block, numpy as np
from processing.lz4_planes import decode_lz4
from processing.memory_words import HAS_BYTE_PERMUTE, HAS_BYTE_SHUFFLE
assert not HAS_BYTE_PERMUTE
assert HAS_BYTE_SHUFFLE == (NAME != "generic")
rng = np.random.default_rng(3)
for trial in range(200):
    raw = rng.integers(0, 3, 2048, dtype=np.uint8) * (rng.random(2048) < rng.random())
    raw[1000:1700] = np.resize(raw[: rng.integers(1, 90)], 700)
    raw = raw.astype(np.uint8).tobytes()
    assert decode_lz4(lz4.block.compress(raw, store_size=False), 2048, 64) == raw
print("same")
"""
    features = "" if name == "generic" else "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd"
    lines = subprocess.run(
        [sys.executable, "-c", f"NAME = {name!r}\n{program}"],
        env={**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert lines.stdout == "same\n", lines.stderr


def test_a_third_partys_blocks_decode():
    pixels = np.random.default_rng(1).poisson(2.0, 4096).astype(np.uint16)
    body = bitshuffle.compress_lz4(pixels, 4096).tobytes()
    planes = decode_lz4(body[4:], 8192, 512)
    bits = np.unpackbits(np.frombuffer(planes, np.uint8).reshape(16, 512), axis=1, bitorder="little")
    np.testing.assert_array_equal((bits.astype(np.uint16) << np.arange(16, dtype=np.uint16)[:, None]).sum(0), pixels)
