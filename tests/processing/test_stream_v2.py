import hashlib
import json

import cbor2
import numpy as np
import pytest

from processing.decode import decode
from processing.frame import EncodedFrame, Refusal, SeriesEnd, SeriesHeader
from processing.stream_v2 import read_message

PIXELS = (np.arange(37 * 41) % 251).reshape(37, 41)


def ramp(dtype, image):
    """Return the array that the vectors' README describes."""
    row, col = np.indices((37, 41))
    values = ((row * 31 + col * 17 + row * col) % 251).astype(dtype)
    values[0, -1] = np.iinfo(dtype).max
    values[1:] += np.array(image, dtype)
    return values


@pytest.mark.parametrize("wrapped", ["", "_selfdescribed"])
@pytest.mark.parametrize("channel", ["threshold_1", "threshold_2"])
@pytest.mark.parametrize("name", ["u8", "u16", "u32"])
def test_every_channel_of_every_vector_decodes_to_its_digest(vector_folder, name, channel, wrapped):
    data = (vector_folder / f"stream2_image_{name}{wrapped}.cbor").read_bytes()
    frame = read_message(data, channel=channel)
    assert isinstance(frame, EncodedFrame)
    assert (frame.series, frame.shape, frame.pixel_type, frame.channel) == (7, (37, 41), f"uint{name[1:]}", channel)
    assert frame.encoding == (f"bs{name[1:]}-lz4<" if channel == "threshold_1" else "<")
    assert frame.real_time_ns == 59_999_000_000
    pixels = decode(frame, frame.shape)
    np.testing.assert_array_equal(pixels, ramp(frame.pixel_type, frame.frame))
    manifest = json.loads((vector_folder / "manifest.json").read_text())
    plain = next(entry for entry in manifest["vectors"] if entry["file"] == f"bslz4_{name}_37x41.bin")
    first = ramp(frame.pixel_type, 0)
    assert hashlib.md5(first.tobytes()).hexdigest() == plain["raw_md5"]
    if frame.frame == 0:
        assert hashlib.md5(pixels.tobytes()).hexdigest() == plain["raw_md5"]


@pytest.mark.parametrize("wrapped", ["", "_selfdescribed"])
def test_the_start_vector_gives_geometry_in_si_units_and_the_mask(vector_folder, wrapped):
    header = read_message((vector_folder / f"stream2_start{wrapped}.cbor").read_bytes())
    assert isinstance(header, SeriesHeader)
    assert (header.series, header.shape, header.pixel_type, header.images) == (7, (37, 41), "uint32", 2)
    assert (header.beam_center_x, header.beam_center_y) == (20.5, 18.25)
    assert header.wavelength_m == pytest.approx(1.405557e-10)
    assert (header.distance_m, header.pixel_size_m, header.photon_energy_ev) == (2.08, 75e-6, 8821.0)
    assert (header.channels, header.channel) == (("threshold_1", "threshold_2"), "threshold_1")
    assert header.valid.shape == (37, 41)
    assert header.valid.sum() == 37 * 41 - 2
    assert header.remarks == ()
    assert json.loads(json.dumps(header.config))["arm_date"].startswith("2024-01-12T10:00")


@pytest.mark.parametrize("wrapped", ["", "_selfdescribed"])
def test_the_end_vector_names_its_series(vector_folder, wrapped):
    assert read_message((vector_folder / f"stream2_end{wrapped}.cbor").read_bytes()) == SeriesEnd(series=7)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("codec", ["bslz4", "lz4", "none"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("columns", [False, True])
def test_an_array_decodes_whatever_its_type_order_and_compression(stream2, dtype, codec, order, columns):
    pixels = PIXELS.astype(dtype) + np.array(3, dtype)
    data = stream2.image({"a": stream2.array(pixels, codec, order, columns)})
    decoded = decode(read_message(data), (37, 41))
    np.testing.assert_array_equal(decoded, pixels)
    assert decoded.dtype == pixels.dtype
    assert decoded.flags.c_contiguous


def test_the_pixels_stay_compressed_and_are_a_view_of_the_message(stream2):
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint16)
    data = stream2.image({"a": stream2.array(pixels)})
    assert read_message(data).blob.obj is data


def test_a_message_with_other_channels_is_not_kept_in_memory_for_one(stream2):
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint16)
    data = stream2.image({name: stream2.array(pixels) for name in ("a", "b", "c")})
    frame = read_message(data)
    assert frame.blob.obj is not data
    np.testing.assert_array_equal(decode(frame, (64, 64)), pixels)


@pytest.mark.parametrize(
    ("channel", "told", "taken"),
    [(None, {}, "b"), (None, {7: ("a", "b")}, "a"), ("b", {7: ("a", "b")}, "b"), (None, {8: ("a", "b")}, "b")],
)
def test_the_channel_is_the_users_else_the_detectors_first_else_the_messages_first(stream2, channel, told, taken):
    ones, twos = (stream2.array(np.full((3, 4), value, np.uint32)) for value in (1, 2))
    data = stream2.image({"b": twos, "a": ones})
    frame = read_message(data, channel=channel, channels=told)
    assert frame.channel == taken
    assert decode(frame, (3, 4)).max() == {"a": 1, "b": 2}[taken]


def test_a_channel_that_is_not_there_is_refused_naming_those_that_are(stream2):
    array = stream2.array(np.ones((3, 4), np.uint32))
    refusal = read_message(stream2.image({"threshold_1": array, "difference": array}, frame=9), channel="threshold_2")
    assert (refusal.series, refusal.frame, refusal.image) == (7, 9, True)
    assert "'threshold_2', got threshold_1, difference; set stream.channel" in refusal.reason
    header = read_message(stream2.start(channels=["threshold_1"]), channel="threshold_2")
    assert "threshold_2' is not among those of the detector: threshold_1" in header.remarks[0]


def test_optional_keys_may_be_missing_and_unknown_ones_are_kept_aside(stream2):
    header = read_message(stream2.start(news={"a": [1, b"bytes"]}))
    assert (header.series, header.shape, header.images, header.valid) == (7, None, None, None)
    assert header.config["news"] == {"a": [1, None]}
    assert header.remarks == ()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"beam_center_x": "left"}, "beam_center_x"),
        ({"count_time": float("nan")}, "count_time"),
        ({"incident_wavelength": -1.0}, "incident_wavelength"),
        ({"image_size_x": 1 << 40, "image_size_y": 5}, "image_size_x"),
        ({"image_size_x": 1 << 14, "image_size_y": 1 << 14}, "at most 67108864 pixels"),
        ({"number_of_images": 1 << 62}, "announced frames must be at most"),
        ({"pixel_mask": {"a": b"none"}}, "multi-dimensional"),
        ({"pixel_mask": {"a": 1, "b": 2}, "channels": ["c"]}, "got those of a, b"),
    ],
)
def test_a_value_that_makes_no_sense_costs_only_itself_and_is_named(stream2, entries, words):
    header = read_message(stream2.start(frame_time=2.0, **entries))
    assert isinstance(header, SeriesHeader)
    assert header.frame_time_s == 2.0
    assert any(words in remark for remark in header.remarks)
    assert (header.beam_center_x, header.count_time_s, header.shape, header.images, header.valid) == (None,) * 5


def test_a_mask_that_lies_about_its_size_is_not_used(stream2):
    mask = stream2.array(np.zeros((30, 40), np.uint32))
    header = read_message(stream2.start(image_size_x=41, image_size_y=37, pixel_mask={"a": mask}))
    assert header.valid is None
    assert "must have 37 x 41 pixels" in header.remarks[0]


def test_a_mask_tells_the_size_where_nothing_else_does(stream2):
    mask = np.zeros((30, 40), np.uint8)
    mask[2, 3] = 16
    header = read_message(stream2.start(pixel_mask={"a": stream2.array(mask, "lz4")}))
    assert header.shape == (30, 40)
    assert header.valid.sum() == 1199
    assert not header.valid[2, 3]


def spoilt(value):
    return cbor2.dumps({"type": "image", "series_id": 7, "image_id": 3, "data": {"a": value}})


def typed(tag, inner):
    return cbor2.CBORTag(40, [[4, 5], cbor2.CBORTag(tag, inner)])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (spoilt(5), "multi-dimensional"),
        (spoilt(cbor2.CBORTag(40, [[4, 5]])), "multi-dimensional"),
        (spoilt(typed(77, bytes(40))), "must hold uint8, uint16, uint32, got int16"),
        (spoilt(typed(85, bytes(80))), "got float32"),
        (spoilt(typed(71, bytes(160))), "got uint64"),
        (spoilt(typed(76, bytes(20))), "RFC 8746"),
        (spoilt(typed(99, bytes(20))), "RFC 8746"),
        (spoilt(typed(70, "text")), "byte string"),
        (spoilt(typed(70, cbor2.CBORTag(56500, ["zstd", 4, b""]))), "bslz4 or lz4, got 'zstd'"),
        (spoilt(typed(70, cbor2.CBORTag(56500, ["bslz4", 4]))), "bslz4 or lz4"),
        (spoilt(cbor2.CBORTag(40, [[1 << 20, 5], cbor2.CBORTag(70, b"")])), "sides"),
        (spoilt(cbor2.CBORTag(40, [[1 << 15, 1 << 15], cbor2.CBORTag(70, b"")])), "together"),
        (spoilt(cbor2.CBORTag(40, [[4, 5, 6], cbor2.CBORTag(70, b"")])), "two dimensions"),
        (spoilt(cbor2.CBORTag(40, [[4, -5], cbor2.CBORTag(70, b"")])), "sides"),
        (spoilt(cbor2.CBORTag(40, [["a", 5], cbor2.CBORTag(70, b"")])), "two dimensions"),
        (spoilt(typed(70, bytes(80)))[:-30], "beyond"),
        (cbor2.dumps({"type": "image", "series_id": 7, "image_id": 3}), "at least one channel"),
        (cbor2.dumps({"type": "image", "series_id": 7, "image_id": 3, "data": {}}), "at least one channel"),
    ],
)
def test_a_bad_image_is_refused_with_its_reason_and_its_number(data, words):
    refusal = read_message(data)
    assert isinstance(refusal, Refusal)
    assert (refusal.series, refusal.frame, refusal.image) == (7, 3, True)
    assert words in refusal.reason


@pytest.mark.parametrize("frame", [None, "3", -1, 1 << 40, True, 2.0])
def test_an_image_without_a_number_is_still_an_image(frame):
    refusal = read_message(cbor2.dumps({"type": "image", "series_id": 7, "image_id": frame, "data": {}}))
    assert (refusal.image, refusal.series, refusal.frame) == (True, 7, None)


def test_an_image_damaged_in_its_first_key_is_still_an_image():
    data = bytearray(spoilt(typed(70, bytes(80))))
    data[0] = 0xBC
    refusal = read_message(bytes(data))
    assert refusal.image
    assert "valid length" in refusal.reason


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (cbor2.dumps({"type": "news", "series_id": 1}), "type start, image or end, got 'news'"),
        (cbor2.dumps({"series_id": 1}), "got None"),
        (cbor2.dumps({"type": "start"}), "must name its series_id"),
        (cbor2.dumps({"type": "end", "series_id": -4}), "must name its series_id"),
        (cbor2.dumps({"type": "start", "series_id": 1 << 50}), "must name its series_id"),
        (cbor2.dumps([1]), "must be a CBOR map"),
    ],
)
def test_what_is_no_message_of_the_stream_is_refused_and_is_no_image(data, words):
    refusal = read_message(data)
    assert isinstance(refusal, Refusal)
    assert not refusal.image
    assert words in refusal.reason


@pytest.mark.parametrize("times", [[1, 0], [5], "soon", [-5, 1], ["a", "b"], None])
def test_times_that_make_no_sense_do_not_cost_the_frame(stream2, times):
    data = stream2.image({"a": stream2.array(np.ones((3, 4), np.uint32))}, start_time=times, stop_time=[3, 2])
    frame = read_message(data)
    assert (frame.start_time_ns, frame.stop_time_ns) == (0, 1_500_000_000)
