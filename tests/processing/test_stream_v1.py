import json

import numpy as np
import pytest

from processing.frame import EncodedFrame, Refusal, SeriesEnd, SeriesHeader
from processing.stream_v1 import read_message


def test_an_image_message_becomes_a_frame_with_rows_before_columns(wire):
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3)
    frame = read_message(wire.image(pixels, 7, 41))
    assert isinstance(frame, EncodedFrame)
    assert (frame.series, frame.frame, frame.shape, frame.pixel_type) == (7, 41, (2, 3), "uint16")
    assert frame.encoding == "bs16-lz4<"
    assert len(frame.md5) == 32


def test_a_basic_header_gives_geometry_in_si_units(wire):
    header = read_message(wire.header(7, (37, 41), nimages=2, ntrigger=5))
    assert isinstance(header, SeriesHeader)
    assert header.shape == (37, 41)
    assert header.images == 10
    assert header.wavelength_m == pytest.approx(1.40556e-10)
    assert header.distance_m == 2.08


def test_in_enable_modes_a_trigger_is_one_image(wire):
    header = read_message(wire.header(7, (37, 41), nimages=9, ntrigger=5, trigger_mode="inte"))
    assert header.images == 5


def test_a_full_header_carries_the_mask_with_zero_meaning_valid(wire):
    mask = np.zeros((37, 41), "<u4")
    mask[3, 4] = 1
    parts = wire.header(7, (37, 41), ntrigger=1)
    parts += [b'{"htype":"dflatfield-1.0","shape":[41,37],"type":"float32"}', np.ones((37, 41), "<f4").tobytes()]
    parts += [b'{"htype":"dpixelmask-1.0","shape":[41,37],"type":"uint32"}', mask.tobytes()]
    parts += [b'{"htype":"dcountrate_table-1.0","shape":[2,1000],"type":"float32"}', bytes(8000), b"appendix"]
    header = read_message(parts)
    assert header.valid.shape == (37, 41)
    assert not header.valid[3, 4]
    assert header.valid.sum() == 37 * 41 - 1


def test_a_mask_that_lies_about_its_size_is_not_used(wire):
    parts = wire.header(7, (37, 41), ntrigger=1)
    parts += [b'{"htype":"dpixelmask-1.0","shape":[4100,3700],"type":"uint32"}', bytes(64)]
    assert read_message(parts).valid is None


def test_the_end_message_names_its_series(wire):
    assert read_message(wire.end(7)) == SeriesEnd(series=7)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda parts: parts[:2], "at least 3 parts, got 2"),
        (lambda parts: [parts[0], b"{", *parts[2:]], "not a dimage_d object"),
        (lambda parts: [*parts[:2], parts[2][:-5], parts[3]], "announced"),
        (lambda parts: [parts[0], parts[1].replace(b"uint32", b"float8"), *parts[2:]], "type"),
        (lambda parts: [parts[0].replace(b'"frame": 3', b'"frame": -3'), *parts[1:]], "frame"),
        (lambda parts: [parts[0], parts[1].replace(b"[5, 4]", b"[5000000, 4]"), *parts[2:]], "sides"),
        (lambda parts: [parts[0], parts[1].replace(b"[5, 4]", b"[5, 4, 9]"), *parts[2:]], "one frame"),
    ],
)
def test_a_bad_image_message_is_refused_with_its_reason_and_stays_an_image(wire, spoil, words):
    parts = wire.image(np.ones((4, 5), np.uint32), 7, 3)
    refusal = read_message(spoil(parts))
    assert isinstance(refusal, Refusal)
    assert refusal.image
    assert refusal.series == 7
    assert words in refusal.reason


@pytest.mark.parametrize(
    "parts",
    [[], [b""], [b"\xff\xfe"], [b"[1]"], [b'{"htype":"new-9"}'], [b"[" * 100_000], [b'{"htype":"dheader-1.0"}']],
)
def test_what_is_no_message_of_the_stream_is_refused_and_is_no_image(parts):
    refusal = read_message(parts)
    assert isinstance(refusal, Refusal)
    assert not refusal.image


def test_the_shipped_vectors_read_as_their_manifest_says(vectors):
    for name, parts in (("none", 1), ("basic", 2), ("all", 8), ("all_appendix", 9)):
        messages = vectors(f"stream1_series_{name}.msgs")
        assert len(messages[0]) == parts
        kinds = [type(read_message(message)) for message in messages]
        assert kinds == [SeriesHeader, EncodedFrame, EncodedFrame, SeriesEnd]
        first = read_message(messages[1])
        assert first.shape == (37, 41)
        assert json.loads(messages[1][0])["hash"] == first.md5
