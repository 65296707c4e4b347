import json

import numpy as np
import pytest

from processing.frame import EncodedFrame, Refusal, SeriesEnd, SeriesHeader
from processing.stream_v1 import read_message, split


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


@pytest.mark.parametrize("shape", [b"[4100,3700]", b"[0,0]", b'"bs16-lz4<"', b"[5]", b"null", b"[-4,-4]", b"[1e9,1]"])
@pytest.mark.parametrize("size", [0, 64])
def test_a_mask_that_lies_about_its_size_is_not_used(wire, shape, size):
    parts = wire.header(7, (37, 41), ntrigger=1)
    parts += [b'{"htype":"dpixelmask-1.0","shape":%b,"type":"uint32"}' % shape, bytes(size)]
    header = read_message(parts)
    assert header.valid is None
    assert f"must have the bytes it announces, got {size}" in header.remarks[0]


@pytest.mark.parametrize("detail", ["none", "basic", "all"])
def test_one_more_part_is_the_users_appendix_at_any_detail(vectors, detail):
    parts = vectors(f"stream1_series_{detail}.msgs")[0]
    for appendix in (b"sample 5", b'{"sample": 5}', b""):
        header, bare = read_message([*parts, appendix]), read_message(parts)
        assert (header.appendix, bare.appendix) == (appendix, None)
        assert (header.shape, header.images, header.config) == (bare.shape, bare.images, bare.config)
        if detail == "all":
            np.testing.assert_array_equal(header.valid, bare.valid)


def test_the_flatfield_may_lack_its_d(wire):
    parts = wire.header(7, (37, 41), ntrigger=1)
    parts += [b'{"htype":"flatfield-1.0","shape":[41,37],"type":"float32"}', bytes(37 * 41 * 4)]
    parts += [b'{"htype":"dpixelmask-1.0","shape":[41,37],"type":"uint32"}', bytes(37 * 41 * 4)]
    parts += [b'{"htype":"dcountrate_table-1.0","shape":[2,1000],"type":"float32"}', bytes(8000)]
    header = read_message(parts)
    assert header.valid.all()
    assert (header.appendix, header.remarks) == (None, ())


def test_a_configuration_is_read_whatever_the_detail_says(wire):
    parts = wire.header(7, (37, 41), ntrigger=3)
    parts[0] = parts[0].replace(b"basic", b"none")
    assert read_message(parts).images == 3


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"beam_center_x": "left"}, "beam_center_x of the header"),
        ({"beam_center_x": float("nan")}, "beam_center_x"),
        ({"beam_center_x": 1e300}, "beam_center_x"),
        ({"count_time": -1}, "count_time"),
        ({"detector_distance": 0}, "detector_distance"),
        ({"x_pixels_in_detector": 1 << 40}, "x_pixels_in_detector"),
        (
            {"x_pixels_in_detector": 1 << 14, "y_pixels_in_detector": 1 << 14},
            "at most 67108864 pixels, got 16384 x 16384",
        ),
        ({"nimages": 1 << 40, "ntrigger": 1 << 40}, "announced frames must be at most 8388608"),
        ({"nimages": {}}, "nimages"),
    ],
)
def test_a_value_that_makes_no_sense_costs_only_itself_and_is_named(wire, config, words):
    good = read_message(wire.header(7, (37, 41), ntrigger=3))
    header = read_message(wire.header(7, (37, 41), **{"ntrigger": 3, **config}))
    assert words in header.remarks[0]
    assert len(header.remarks) == 1
    differing = [
        name
        for name in ("beam_center_x", "count_time_s", "distance_m", "shape", "images")
        if getattr(header, name) != getattr(good, name)
    ]
    assert len(differing) == 1
    assert getattr(header, differing[0]) is None
    assert header.frame_time_s == 1.0


def test_a_mask_of_another_size_than_the_detectors_is_named(wire):
    parts = wire.header(7, (37, 41), ntrigger=1)
    parts += [b'{"htype":"dpixelmask-1.0","shape":[5,4],"type":"uint32"}', bytes(80)]
    header = read_message(parts)
    assert (header.valid, header.shape) == (None, (37, 41))
    assert "must have the detector's size, got 5 x 4" in header.remarks[0]


def test_what_an_image_can_do_without(wire):
    parts = wire.image(np.ones((4, 5), np.uint32), 7, 3)
    first = json.loads(parts[0])
    del first["series"], first["hash"]
    frame = read_message([json.dumps(first).encode(), *parts[1:3]])
    assert (frame.series, frame.frame, frame.md5, frame.real_time_ns) == (None, 3, "", 0)
    for odd in (b"", b"appendix", b'{"htype":"dconfig-1.0","start_time":"now","stop_time":-1,"real_time":1.5}'):
        frame = read_message([*parts[:3], odd, b"appendix"])
        assert (frame.frame, frame.start_time_ns, frame.stop_time_ns, frame.real_time_ns) == (3, 0, 0, 0)
    assert read_message([parts[0].replace(b'"hash": "', b'"hash": 5, "was": "'), *parts[1:]]).md5 == ""


def test_an_image_whose_first_part_is_damaged_is_still_an_image(wire):
    parts = wire.image(np.ones((4, 5), np.uint32), 7, 3)
    refusal = read_message([b"\x00" + parts[0][1:], *parts[1:]])
    assert (refusal.image, refusal.series, refusal.frame) == (True, None, None)


def test_messages_glued_together_are_told_apart(vectors):
    messages = vectors("stream1_series_all_appendix.msgs")
    glued = [part for message in messages for part in message]
    assert split(glued) == messages
    assert [split(message) for message in messages] == [[message] for message in messages]


def test_a_blob_is_never_taken_for_a_message(wire):
    parts = wire.image(np.ones((4, 5), np.uint32), 7, 3)
    parts[2] = wire.end(7)[0]
    assert split(parts) == [parts]


def test_the_end_message_names_its_series(wire):
    assert read_message(wire.end(7)) == SeriesEnd(series=7)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda parts: parts[:2], "at least 3 parts, got 2"),
        (lambda parts: [parts[0], b"{", *parts[2:]], "not a dimage_d object"),
        (lambda parts: [*parts[:2], parts[2][:-5], parts[3]], "announced"),
        (lambda parts: [parts[0], parts[1].replace(b"uint32", b"float8"), *parts[2:]], "type"),
        (lambda parts: [parts[0].replace(b'"frame": 3', b'"frame": -3'), *parts[1:]], "frame, 0 to 8388607, got -3"),
        (lambda parts: [parts[0].replace(b'"frame": 3', b'"frame": 4294967295'), *parts[1:]], "got 4294967295"),
        (lambda parts: [parts[0].replace(b'"frame": 3', b'"no": 3'), *parts[1:]], "got None"),
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
    [
        [],
        [b""],
        [b"\xff\xfe"],
        [b"[1]"],
        [b'{"htype":"new-9"}'],
        [b"[" * 100_000],
        [b'{"htype":"dheader-1.0"}'],
        [b'{"htype":"dheader-1.0","series":-1}'],
        [b'{"htype":"dseries_end-1.0","series":"all"}'],
        [b'{"htype":["dimage-"]}'],
    ],
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
