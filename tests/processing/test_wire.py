"""Both wires through one reader, and the habits of real senders."""

import cbor2
import numpy as np
import pytest

from processing.decode import decode
from processing.frame import EncodedFrame, Refusal, SeriesEnd, SeriesHeader
from processing.wire import WireReader

FRAME = np.arange(20, dtype=np.uint32).reshape(4, 5)


@pytest.fixture
def reader():
    return WireReader()


def kinds(reader, messages):
    return [[type(found) for found in reader.read(message)] for message in messages]


def test_a_series_of_each_wire_reads_the_same(reader, vectors, vector_folder):
    expected = [[SeriesHeader], [EncodedFrame], [EncodedFrame], [SeriesEnd]]
    for detail in ("none", "basic", "all", "all_appendix"):
        assert kinds(reader, vectors(f"stream1_series_{detail}.msgs")) == expected
    for wrapped in ("", "_selfdescribed"):
        names = ("start", "image_u32", "image_u16", "end")
        messages = [[memoryview((vector_folder / f"stream2_{name}{wrapped}.cbor").read_bytes())] for name in names]
        assert kinds(reader, messages) == expected


def test_header_parts_may_come_one_by_one(reader, vectors):
    whole = reader.read(vectors("stream1_series_all.msgs")[0])[0]
    found = [header for part in vectors("stream1_series_all.msgs")[0] for header in reader.read([part])]
    assert [header.completes for header in found] == [False, True, True]
    assert [(header.shape, header.valid is None) for header in found] == [
        (None, True),
        ((37, 41), True),
        ((37, 41), False),
    ]
    np.testing.assert_array_equal(found[-1].valid, whole.valid)
    assert found[-1].images == whole.images
    assert kinds(reader, vectors("stream1_series_all.msgs")[1:]) == [[EncodedFrame], [EncodedFrame], [SeriesEnd]]


def test_a_part_that_comes_after_the_first_image_is_named(reader, wire):
    first, config = wire.header(7, (4, 5), ntrigger=2)
    reader.read([first])
    reader.read(wire.image(FRAME, 7, 0))
    refusal = reader.read([config])[0]
    assert isinstance(refusal, Refusal)
    assert not refusal.image


def test_a_table_whose_bytes_do_not_come_costs_nothing_else(reader, wire):
    table = b'{"htype":"dpixelmask-1.0","shape":[5,4],"type":"uint32"}'
    first, config = wire.header(7, (4, 5), ntrigger=2)
    reader.read([first])
    assert reader.read([table]) == []
    assert isinstance(reader.read([bytes(70)])[0], Refusal)
    assert reader.read([config])[0].images == 2
    assert reader.read([table, bytes(80)])[0].valid.all()
    reader.read([table])
    assert isinstance(reader.read(wire.image(FRAME, 7, 0))[0], EncodedFrame)


def test_a_sender_may_put_all_it_has_into_one_message(reader, vectors, stream2):
    parts = [part for message in vectors("stream1_series_all_appendix.msgs") for part in message]
    found = reader.read(parts)
    assert [type(message) for message in found] == [SeriesHeader, EncodedFrame, EncodedFrame, SeriesEnd]
    assert found[0].appendix is not None
    array = stream2.array(FRAME)
    found = reader.read([stream2.start(), stream2.image({"a": array}), stream2.image({"a": array}), stream2.end()])
    assert [type(message) for message in found] == [SeriesHeader, EncodedFrame, EncodedFrame, SeriesEnd]


def test_the_first_channel_of_the_start_message_is_taken(reader, stream2):
    ones, twos = (stream2.array(np.full((3, 4), value, np.uint32)) for value in (1, 2))
    data = {"threshold_2": twos, "threshold_1": ones}
    reader.read([stream2.start(7, channels=["threshold_1", "threshold_2"])])
    assert reader.read([stream2.image(data, 7)])[0].channel == "threshold_1"
    assert reader.read([stream2.image(data, 8)])[0].channel == "threshold_2"
    assert reader.read([stream2.image({"threshold_1": ones}, 8)])[0].image


def test_without_a_list_the_first_image_decides_so_that_channels_never_mix(reader, stream2):
    ones, twos = (stream2.array(np.full((3, 4), value, np.uint32)) for value in (1, 2))
    reader.read([stream2.start(7)])
    values = [
        decode(reader.read([stream2.image(data, 7, number)])[0], (3, 4)).max()
        for number, data in enumerate([{"a": ones, "b": twos}, {"b": twos, "a": ones}])
    ]
    assert values == [1, 1]


def test_the_memory_of_series_is_bounded(reader, stream2):
    for series in range(100):
        reader.read([stream2.start(series, channels=["a"])])
    assert len(reader._channels) <= 16


@pytest.mark.parametrize("parts", [[], [b""], [b"", b""], [memoryview(b"")], [b"\xd9"], [b"\xa1"], [b"\x00" * 100]])
def test_nothing_and_noise_are_refused(reader, parts):
    assert all(isinstance(message, Refusal) for message in reader.read(parts))
    assert len(reader.read(parts)) >= 1


def test_the_captured_messages_of_a_real_eiger2_read_as_with_the_reference_library(reader, captured):
    start, image, end = ([memoryview(captured(f"{name}.cbor").read_bytes())] for name in ("start", "image", "end"))
    header, frame, last = (reader.read(message)[0] for message in (start, image, end))
    told = cbor2.loads(bytes(start[0]))
    assert header.shape == (told["image_size_y"], told["image_size_x"]) == (4362, 4148)
    assert header.distance_m == pytest.approx(0.23716, abs=1e-5)
    assert header.channel == "threshold_1"
    assert "pixel mask" in header.remarks[0]  # the capture holds four bytes in its place
    array = cbor2.loads(bytes(image[0]))["data"]["threshold_1"].value
    assert frame.shape == tuple(array[0])
    assert frame.blob == array[1].value.value[2]
    assert frame.blob.obj is image[0].obj
    assert (frame.encoding, frame.pixel_type) == ("bs16-lz4<", "uint16")
    assert frame.real_time_ns == pytest.approx(1e9 * told["count_time"], abs=30)
    assert last.series == header.series == frame.series == 15614
