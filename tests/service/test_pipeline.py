"""Everything a sender can do wrong ends in a named state, and the books balance at every moment."""

import time
from pathlib import Path

import numpy as np
import pytest

from processing.stream_v1 import read_message
from service.board import StatusBoard
from service.books import StrideWatch
from service.config import Settings
from service.mailbox import Mailbox, is_image
from service.office import Office
from service.pipeline import Pipeline, _ordinal
from service.source import PointNote

SHAPE = (32, 32)
SETTINGS = Settings().changed({"screening.enabled": False, "stream.drain_s": 0.05, "stream.idle_timeout_s": 0.3})


class Bench:
    """A pipeline with its mailbox, without threads: every message is carried at once."""

    def __init__(self, wire, settings=SETTINGS):
        self.wire = wire
        self.mailbox = Mailbox(100)
        self.ended = []
        self.pipeline = Pipeline(settings, user_mask=None, on_open=lambda _: None, on_end=self.end)

    def office(self):
        return Office(self.pipeline.lock, self.pipeline.errors, Path(), lambda *_: None, lambda: None)

    def end(self, series):
        self.ended.append(series)
        self.pipeline.conclude(series, saved=True)

    def send(self, parts):
        self.mailbox.put(read_message(parts), lambda: True)
        letter = self.mailbox.take(1)
        self.pipeline.take(letter, self.mailbox.done if is_image(letter.message) else lambda: None)
        self.pipeline.catch_up()
        self.check()

    def header(self, series=1, ntrigger=5, **config):
        self.send(self.wire.header(series, SHAPE, ntrigger=ntrigger, **config))

    def image(self, frame, series=1, value=1):
        self.send(self.wire.image(np.full(SHAPE, value, np.uint32), series, frame))

    def finish(self, series=1):
        self.send(self.wire.end(series))
        self.wait()

    def wait(self, seconds=0.6):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.pipeline.state in ("armed", "receiving"):
            self.pipeline.tick(time.monotonic(), idle=True)
            time.sleep(0.01)
        self.check()

    def counts(self):
        pipeline = self.pipeline
        images, in_mailbox = self.mailbox.count()
        ledger = pipeline.series.ledger if pipeline.series else None
        found = dict(ledger.counts) if ledger else {}
        found["foreign"] = pipeline.foreign
        found["pending"] = in_mailbox + len(pipeline.waiting) + (ledger.pending if ledger else 0)
        found["received"] = images - pipeline.images_before
        return {name: count for name, count in found.items() if count}

    def check(self):
        counts = self.counts()
        received = counts.pop("received", 0)
        counts.pop("missing", None)
        assert received == sum(counts.values())


@pytest.fixture
def bench(wire):
    return Bench(wire)


def test_a_whole_series_is_complete(bench):
    bench.header()
    assert bench.pipeline.state == "armed"
    for frame in range(5):
        bench.image(frame)
    assert bench.pipeline.state == "receiving"
    bench.finish()
    assert bench.pipeline.state == "complete"
    assert bench.counts() == {"accepted": 5, "received": 5}
    assert int(bench.ended[0].accepted.data.sum()) == 5 * 32 * 32


def test_a_lost_frame_makes_it_incomplete_and_is_known(bench):
    bench.header()
    for frame in (0, 1, 3, 4):
        bench.image(frame)
    bench.finish()
    assert bench.pipeline.state == "incomplete"
    assert bench.ended[0].ledger.missing_frames(5) == [(2, 2)]


def test_triggers_never_used_are_not_missing_when_the_client_says_so(bench):
    bench.header(ntrigger=100)
    bench.pipeline.expect(3)
    for frame in range(3):
        bench.image(frame)
    bench.finish()
    assert bench.pipeline.state == "complete"


def test_expected_may_be_said_before_the_header(bench):
    bench.pipeline.expect(2)
    bench.header(ntrigger=100)
    assert bench.pipeline.series.expected == 2


def test_a_frame_sent_twice_counts_once_in_the_sum(bench):
    bench.header()
    for frame in (0, 1, 1, 2, 3, 4, 0):
        bench.image(frame)
    bench.finish()
    assert bench.counts() == {"accepted": 5, "duplicate": 2, "received": 7}
    assert bench.pipeline.state == "complete"


def test_a_damaged_frame_costs_exactly_itself_and_a_good_copy_mends_it(bench, wire):
    bench.header()
    parts = wire.image(np.ones(SHAPE, np.uint32), 1, 2)
    bench.image(0)
    bench.send([*parts[:2], parts[2][:40], parts[3]])
    assert bench.pipeline.errors.all()[-1].name == "corrupt frame"
    assert bench.pipeline.errors.all()[-1].frame == 2
    for frame in (1, 2, 3, 4):
        bench.image(frame)
    bench.finish()
    assert bench.counts() == {"accepted": 5, "corrupt": 1, "received": 6}


def test_a_corrupt_frame_is_not_missing_but_the_series_is_incomplete(bench, wire):
    bench.header(ntrigger=2)
    bench.image(0)
    parts = wire.image(np.ones(SHAPE, np.uint32), 1, 1)
    bench.send([*parts[:2], parts[2][:-4], parts[3]])
    bench.finish()
    assert bench.pipeline.state == "incomplete"
    assert bench.ended[0].ledger.missing_frames(2) == []


def test_a_wrong_size_is_corrupt_and_a_series_of_only_such_has_failed(bench, wire):
    bench.header(ntrigger=2)
    for frame in range(2):
        bench.send(wire.image(np.ones((8, 8), np.uint32), 1, frame))
    bench.finish()
    assert bench.counts()["corrupt"] == 2
    assert "must have 32 x 32 pixels" in bench.pipeline.errors.all()[0].message
    assert bench.pipeline.state == "failed"


@pytest.mark.parametrize("damage", ["pixels", "json"])
def test_a_corrupt_frame_is_the_last_one_seen(bench, wire, damage):
    bench.header(ntrigger=3)
    bench.image(0)
    parts = wire.image(np.ones((8, 8) if damage == "pixels" else SHAPE, np.uint32), 1, 1)
    if damage == "json":
        parts[1] = parts[1][:9]
    bench.send(parts)
    last = StatusBoard(bench.pipeline, bench.office(), bench.mailbox, "tcp://here").status().last
    assert (last.frame, last.verdict, last.total, last.chi2, last.dof) == (1, "corrupt", 0, None, -1)
    bench.image(2)
    assert bench.pipeline.series.row(bench.pipeline.last_row)["frame"] == 2


def test_a_frame_beyond_the_announced_ones_is_corrupt(bench):
    bench.header(ntrigger=2)
    bench.image(7)
    assert "below the announced 2, got 7" in bench.pipeline.errors.all()[0].message


def test_frames_of_another_series_wait_and_become_foreign(bench, monkeypatch):
    bench.header()
    bench.image(0)
    bench.image(0, series=99)
    assert bench.counts() == {"accepted": 1, "pending": 1, "received": 2}
    monkeypatch.setattr("service.router._MAX_WAIT_S", -1.0)
    bench.pipeline.tick(time.monotonic(), idle=True)
    assert bench.counts() == {"accepted": 1, "foreign": 1, "received": 2}


def test_images_that_overtake_their_header_are_summed_once_it_comes(bench):
    for frame in range(3):
        bench.image(frame, series=4)
    assert bench.counts() == {"pending": 3, "received": 3}
    bench.header(series=4, ntrigger=3)
    assert bench.counts() == {"accepted": 3, "received": 3}
    bench.finish(series=4)
    assert bench.pipeline.state == "complete"


def test_an_end_that_overtakes_the_last_frames_waits_for_them(bench):
    bench.header(ntrigger=3)
    bench.image(0)
    bench.send(bench.wire.end(1))
    bench.image(1)
    bench.image(2)
    bench.wait()
    assert bench.pipeline.state == "complete"


def test_late_frames_reopen_the_series(bench):
    bench.header(ntrigger=3)
    bench.image(0)
    bench.finish()
    assert bench.pipeline.state == "incomplete"
    bench.image(1)
    assert bench.pipeline.state == "receiving"
    bench.image(2)
    bench.wait()
    assert bench.pipeline.state == "complete"
    assert len(bench.ended) == 2


def test_two_end_messages_do_no_harm(bench):
    bench.header(ntrigger=1)
    bench.image(0)
    bench.finish()
    bench.send(bench.wire.end(1))
    assert bench.pipeline.state == "complete"
    assert len(bench.ended) == 1


def test_a_series_that_never_ends_is_ended_by_the_idle_timeout(bench):
    bench.header()
    bench.image(0)
    bench.wait(2.0)
    assert bench.pipeline.state == "incomplete"
    assert bench.pipeline.errors.all()[-1].name == "series never ended"


def test_a_series_without_an_end_says_how_long_it_may_take(bench):
    assert bench.pipeline.ends_within_s() == pytest.approx(0.3 + 300)
    bench.pipeline.settings = Settings().changed({"reconstruction.enabled": False})
    assert bench.pipeline.ends_within_s() == 120
    bench.header(frame_time=60.0)
    assert bench.pipeline.ends_within_s() == 180
    bench.image(0)


def test_a_paused_plan_suspends_the_idle_timeout(bench):
    bench.header()
    bench.image(0)
    bench.pipeline.paused = True
    bench.wait(0.7)
    assert bench.pipeline.state == "receiving"
    bench.pipeline.paused = False
    bench.wait(2.0)
    assert bench.pipeline.state == "incomplete"


def test_the_next_series_needs_no_restart(bench):
    bench.header(1)
    bench.image(0)
    bench.header(2, ntrigger=1)
    assert bench.pipeline.errors.all()[-1].name == "series cut short"
    assert bench.counts() == {}
    bench.image(0, series=2)
    bench.finish(series=2)
    assert bench.pipeline.state == "complete"
    assert [series.header.series for series in bench.ended] == [1, 2]


def test_a_series_without_frames_is_forgotten(bench):
    bench.header()
    bench.finish()
    assert bench.pipeline.state == "idle"
    assert bench.ended == []


def test_a_header_without_configuration_takes_its_shape_from_the_first_frame(bench):
    bench.send([b'{"htype":"dheader-1.0","series":1,"header_detail":"none"}'])
    bench.image(0)
    assert bench.pipeline.series.shape == SHAPE
    assert bench.pipeline.series.announced is None


def test_points_noted_before_the_header_are_joined(bench):
    bench.pipeline.note_point(PointNote(series=6, frame=0, point=9, x_um=1, y_um=2))
    bench.header(6)
    bench.image(0, series=6)
    assert bench.pipeline.series.ledger.rows(None).columns["point"].tolist() == [9]


def test_a_user_mask_of_another_detector_is_named_and_does_not_stop_the_beam(wire):
    bench = Bench(wire)
    bench.pipeline._user_mask = np.ones((5, 5), bool)
    bench.header()
    bench.image(0)
    assert "mask file must have 32 x 32 pixels" in bench.pipeline.errors.all()[0].message
    assert bench.counts()["accepted"] == 1


@pytest.mark.parametrize("change", ["point", "settings"])
def test_what_is_said_after_the_end_makes_the_final_file_anew(bench, change):
    bench.header(ntrigger=2)
    for frame in range(2):
        bench.image(frame)
    bench.finish()
    assert bench.pipeline.state == "complete"
    if change == "point":
        bench.pipeline.note_point(PointNote(series=1, frame=1, point=4, x_um=0, y_um=0, void=True))
    else:
        bench.pipeline.apply_settings(SETTINGS.changed({"screening.chi2_max": 5}))
    assert bench.pipeline.state == "receiving"
    bench.wait()
    assert bench.pipeline.state == "complete"
    assert len(bench.ended) == 2
    assert bench.ended[-1].accepted.frames == (1 if change == "point" else 2)


@pytest.mark.parametrize(("step", "words"), [(2, "every second"), (3, "every third"), (5, "every 5th")])
def test_another_receiver_is_noticed_within_ten_frame_numbers_of_two(step, words):
    watch = StrideWatch()
    said = [number for number in range(0, 200, step) if watch.take(number)]
    assert said == [4 * step]  # once, and for one other receiver within ten numbers
    assert words.split()[1] == _ordinal(step)


def test_single_gaps_and_changing_gaps_are_no_other_receiver():
    rng = np.random.default_rng(2)
    for _ in range(50):
        watch = StrideWatch()
        numbers = np.flatnonzero(rng.random(300) > 0.05)  # a twentieth lost at random
        assert not any(watch.take(int(number)) for number in numbers)
