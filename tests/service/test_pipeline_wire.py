"""What hashes, headers in pieces and lying first frames do to the books of a series."""

import json
import time

import numpy as np
import pytest

from processing.decode import decode
from processing.frame import EncodedFrame
from processing.wire import WireReader
from service.config import Settings
from service.mailbox import Letter
from service.pipeline import Pipeline

SHAPE = (32, 40)


class Line:
    """The reader and the pipeline behind it, without sockets and threads."""

    def __init__(self, **settings):
        wanted = {"screening.enabled": False, "stream.drain_s": 0.0, **settings}
        self.pipeline = Pipeline(
            Settings().changed(wanted), user_mask=None, on_open=lambda _: None, on_end=self.conclude
        )
        self.reader = WireReader()
        self.images = 0

    def conclude(self, series):
        self.pipeline.conclude(series, saved=True)

    def send(self, parts):
        for message in self.reader.read(parts):
            self.images += 1
            self.pipeline.take(Letter(message=message, image_number=self.images))
        self.pipeline.catch_up()
        self.pipeline.tick(time.monotonic(), idle=True)

    def counts(self):
        return {name: count for name, count in self.pipeline.series.ledger.counts.items() if count}

    def named(self, name):
        return [error.frame for error in self.pipeline.errors.all() if error.name == name]


@pytest.fixture
def line():
    return Line()


def with_hash(parts, digest):
    return [json.dumps(json.loads(parts[0]) | {"hash": digest}).encode(), *parts[1:]]


def silently_damaged(parts):
    """Change one byte of the blob so that it still decodes, to other pixels: bitshuffle-LZ4 has no checksum."""
    blob = parts[2]
    frame = WireReader().read(parts)[0]
    assert isinstance(frame, EncodedFrame)
    good = decode(frame, SHAPE)
    for place in range(len(blob) - 1, 12, -1):
        changed = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        spoilt = WireReader().read([*parts[:2], changed, *parts[3:]])[0]
        pixels = decode(spoilt, SHAPE)
        if isinstance(pixels, np.ndarray) and (pixels != good).any():
            return [*parts[:2], changed, *parts[3:]]
    pytest.fail("no byte of the blob can be changed unseen")
    return parts


def send_series(line, wire, change):
    frames = np.random.default_rng(4).poisson(9, (6, *SHAPE)).astype(np.uint32)
    line.send(wire.header(1, SHAPE, ntrigger=6))
    for number, pixels in enumerate(frames):
        line.send(change(number, wire.image(pixels, 1, number)))
    line.send(wire.end(1))
    return frames


def test_a_frame_damaged_unseen_is_found_by_its_hash_and_costs_only_itself(line, wire):
    frames = send_series(line, wire, lambda number, parts: silently_damaged(parts) if number == 3 else parts)
    assert line.counts() == {"accepted": 5, "corrupt": 1}
    assert line.named("corrupt frame") == [3]
    np.testing.assert_array_equal(line.pipeline.series.accepted.data, np.delete(frames, 3, 0).sum(0))
    assert line.pipeline.state == "incomplete"


def test_without_a_hash_or_with_none_that_ever_matched_nothing_is_corrupt(wire):
    for digest in ("", "0" * 32, "-6229321"):
        line = Line()
        frames = send_series(line, wire, lambda _number, parts, digest=digest: with_hash(parts, digest))
        assert line.counts() == {"accepted": 6}
        np.testing.assert_array_equal(line.pipeline.series.accepted.data, frames.sum(0))
        assert line.pipeline.errors.all() == []


def test_an_empty_hash_among_true_ones_is_no_mismatch_and_a_wrong_one_is(line, wire):
    digests = {2: "", 4: "0" * 32}
    send_series(line, wire, lambda n, parts: with_hash(parts, digests[n]) if n in digests else parts)
    assert line.counts() == {"accepted": 5, "corrupt": 1}
    assert line.named("corrupt frame") == [4]


def test_a_mismatch_before_the_hashes_proved_true_is_named_as_doubtful(line, wire):
    send_series(line, wire, lambda number, parts: silently_damaged(parts) if number == 0 else parts)
    assert line.counts() == {"accepted": 6}
    assert line.named("doubtful frame") == [0]


def test_each_series_has_to_prove_its_hashes_anew(line, wire):
    send_series(line, wire, lambda _number, parts: parts)
    send_series(line, wire, lambda _number, parts: with_hash(parts, "0" * 32))
    assert line.counts() == {"accepted": 6}


def test_hashes_can_be_left_alone(wire):
    line = Line(**{"stream.check_hash": "never"})
    send_series(line, wire, lambda number, parts: silently_damaged(parts) if number == 3 else parts)
    assert line.counts() == {"accepted": 6}


def test_a_header_in_pieces_opens_one_series_and_keeps_what_was_said_between_them(line, wire):
    first, config = wire.header(1, SHAPE, ntrigger=6)
    mask = np.zeros(SHAPE, "<u4")
    mask[5, 6] = 1
    line.send([first])
    series = line.pipeline.series
    line.pipeline.expect(2)
    line.send([config])
    line.send([b'{"htype":"dpixelmask-1.0","shape":[40,32],"type":"uint32"}'])
    line.send([mask.tobytes()])
    assert line.pipeline.series is series
    assert (series.expected, series.shape, series.header.images) == (2, SHAPE, 6)
    assert not series.valid[5, 6]
    assert series.valid.sum() == 32 * 40 - 1
    for number in range(2):
        line.send(wire.image(np.ones(SHAPE, np.uint32), 1, number))
    line.send([b'{"htype":"dpixelmask-1.0","shape":[40,32],"type":"uint32"}', mask.tobytes()])
    line.send(wire.end(1))
    assert line.pipeline.state == "complete"
    assert int(series.accepted.data.sum()) == 2 * (32 * 40 - 1)


@pytest.mark.parametrize("shape_from", ["frame", "rest of the header"])
def test_a_mask_of_another_detector_does_not_stop_a_series_that_learns_its_shape_late(line, wire, shape_from):
    line.pipeline._user_mask = np.ones((5, 5), bool)
    first, config = wire.header(1, SHAPE, ntrigger=2)
    line.send([first])
    if shape_from == "rest of the header":
        line.send([config])
    for number in range(2):
        line.send(wire.image(np.ones(SHAPE, np.uint32), 1, number))
    assert line.counts() == {"accepted": 2}
    (error,) = line.pipeline.errors.all()
    assert error.name == "mask refused"
    assert error.message.startswith("mask file must have 32 x 40 pixels (rows x columns) like the detector, got 5 x 5;")


def test_more_of_a_header_after_images_that_overtook_it_changes_no_sum_and_is_named(line, wire):
    first, config = wire.header(1, SHAPE, ntrigger=2)
    line.send(wire.image(np.ones(SHAPE, np.uint32), 1, 0))
    line.send([first])
    line.send([config])
    line.send(wire.image(np.ones(SHAPE, np.uint32), 1, 1))
    assert line.counts() == {"accepted": 2}
    assert "after the first frame" in line.pipeline.errors.all()[-1].message


def test_a_damaged_first_frame_does_not_decide_how_large_the_others_are(line, wire):
    line.send([b'{"htype":"dheader-1.0","series":1,"header_detail":"none"}'])
    parts = wire.image(np.ones(SHAPE, np.uint32), 1, 0)
    line.send([parts[0], parts[1].replace(b"[40, 32]", b"[8192, 4096]"), *parts[2:]])
    for number in range(1, 3):
        line.send(wire.image(np.ones(SHAPE, np.uint32), 1, number))
    assert line.counts() == {"accepted": 2, "corrupt": 1}
    assert line.pipeline.series.shape == SHAPE


def test_what_a_header_says_in_vain_is_named(line, wire):
    line.send(wire.header(1, SHAPE, ntrigger=1, detector_distance=0.0))
    assert "detector_distance of the header" in line.pipeline.errors.all()[0].message
    line.send(wire.image(np.ones(SHAPE, np.uint32), 1, 0))
    assert line.counts() == {"accepted": 1}
