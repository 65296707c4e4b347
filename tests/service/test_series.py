"""Verdicts are provisional until they are final, and the sums follow them exactly."""

import numpy as np
import pytest

from processing.frame import Category, EncodedFrame, SeriesHeader
from service.config import Settings
from service.series import Series, screen_settings
from service.source import PointNote

SHAPE = (64, 64)
SETTINGS = Settings().changed(
    {"screening.ring_inner_px": 8, "screening.ring_outer_px": 14, "reconstruction.enabled": False}
)


class Scene:
    """Frames by kind, as a beamline would see them; seeded."""

    def __init__(self, wire, seed=0):
        self.wire, self.rng = wire, np.random.default_rng(seed)
        self.pixels = []

    def pixel_block(self, kind):
        level = {"accepted": 20.0, "low_intensity": 2.0, "background": 10.0, "streak": 20.0}[kind]
        mean = np.full(SHAPE, level)
        if kind == "streak":
            mean[31:34] *= 20
        pixels = self.rng.poisson(mean).astype(np.uint32)
        pixels[5, 5] = 2**32 - 1
        pixels[6, 6] = 2**32 - 2 if self.rng.random() < 0.5 else 3
        return pixels

    def frame(self, kind, number):
        pixels = self.pixel_block(kind)
        self.pixels.append(pixels)
        encoding, blob = self.wire.encode(pixels)
        return EncodedFrame(series=1, frame=number, shape=SHAPE, pixel_type="uint32", encoding=encoding, blob=blob)


def feed(series, frame):
    contribution, points = series.reader.read(frame)

    return series.book(frame, contribution, points)


def sum_of(pixels, chosen):
    total, excluded = np.zeros(SHAPE, np.uint64), np.zeros(SHAPE, np.uint32)
    for index in chosen:
        flags = pixels[index] >= 2**32 - 2
        total += np.where(flags, 0, pixels[index]).astype(np.uint64)
        excluded += flags
    return total, excluded


def assert_sums_follow(series, pixels):
    verdict = series.ledger.column("verdict")
    frame = series.ledger.column("frame")
    for category, running in ((Category.ACCEPTED, series.accepted), (Category.BACKGROUND, series.background)):
        total, excluded = sum_of(pixels, frame[verdict == category])
        np.testing.assert_array_equal(running.data, total)
        np.testing.assert_array_equal(running.excluded, excluded)
        assert running.frames == (verdict == category).sum()
    even = (verdict == Category.ACCEPTED) & (frame % 2 == 0)
    total, excluded = sum_of(pixels, frame[even])
    np.testing.assert_array_equal(series.even.data, total[slice(*series.even_rows)])
    np.testing.assert_array_equal(series.even.excluded, excluded[slice(*series.even_rows)])
    assert series.even.frames == even.sum()


@pytest.fixture
def header():
    return SeriesHeader(series=1, shape=SHAPE, images=200, beam_center_x=32, beam_center_y=32)


def test_a_scan_that_begins_on_silicon_ends_with_the_right_verdicts(wire, header):
    scene, series = Scene(wire), Series(header, SETTINGS)
    kinds = ["low_intensity"] * 12 + ["accepted"] * 30 + ["streak", "background"] * 4 + ["low_intensity"] * 5
    for number, kind in enumerate(kinds):
        feed(series, scene.frame(kind, number))
        assert_sums_follow(series, scene.pixels)
    series.finish()
    assert [Category(int(v)).label for v in series.ledger.column("verdict")] == kinds
    assert not series.unresolved
    assert_sums_follow(series, scene.pixels)


def test_early_verdicts_are_pending_and_counted_so(wire, header):
    scene, series = Scene(wire), Series(header, SETTINGS)
    for number in range(4):
        feed(series, scene.frame("accepted", number))
    assert series.ledger.pending == 4
    assert series.accepted.frames == 0
    series.finish()
    assert series.ledger.pending == 0
    assert series.accepted.frames == 4


def test_a_radial_trend_is_taken_off_where_the_settings_say_so(wire, header):
    rows, columns = np.indices(SHAPE)
    slope = np.clip(200.0 - 12.0 * np.hypot(rows - header.beam_center_y, columns - header.beam_center_x), 5.0, None)
    found = {}
    for trend in ("kept", "removed"):
        scene = Scene(wire)
        scene.pixel_block = lambda _kind, scene=scene: scene.rng.poisson(slope).astype(np.uint32)
        series = Series(header, SETTINGS.changed({"screening.radial_trend": trend}))
        for number in range(8):
            feed(series, scene.frame("accepted", number))
        series.finish()
        counts = series.ledger.counts
        found[trend] = counts["accepted"], counts["streak"], int(series.ledger.column("dof")[0])
    assert found["kept"][:2] == (0, 8)
    assert found["removed"] == (8, 0, found["kept"][2] - 1)


def test_without_screening_every_frame_is_summed_at_once(wire, header):
    scene = Scene(wire)
    series = Series(header, SETTINGS.changed({"screening.enabled": False}))
    for number, kind in enumerate(["low_intensity", "streak", "background"]):
        feed(series, scene.frame(kind, number))
    assert series.accepted.frames == 3
    assert_sums_follow(series, scene.pixels)


def test_a_flip_whose_bytes_are_gone_is_listed_and_keeps_its_verdict(wire, header):
    scene = Scene(wire)
    series = Series(header, SETTINGS)
    for number, kind in enumerate(["low_intensity"] * 12 + ["accepted"] * 3):
        feed(series, scene.frame(kind, number))
        if number == 11:
            series._hold.clear()
    for number in range(15, 40):
        feed(series, scene.frame("accepted", number))
    series.finish()
    assert series.unresolved_frames() == list(range(12))
    assert series.ledger.counts["accepted"] == 40
    assert_sums_follow(series, scene.pixels)


def test_with_a_source_to_fetch_from_nothing_stays_unresolved(wire, header):
    scene = Scene(wire)
    frames = [scene.frame(kind, n) for n, kind in enumerate(["low_intensity"] * 12 + ["accepted"] * 30)]
    series = Series(header, SETTINGS, fetch=lambda number: frames[number])
    for frame in frames:
        feed(series, frame)
    series.finish()
    assert not series.unresolved
    assert series.ledger.counts["low_intensity"] == 12
    assert_sums_follow(series, scene.pixels)


def note(frame, *, void=False, point=3):
    return PointNote(series=1, frame=frame, point=point, x_um=1.5, y_um=-2.5, void=void)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_void_point_leaves_the_sum_whenever_it_is_said(wire, header, when):
    scene, series = Scene(wire), Series(header, SETTINGS)
    for number in range(20):
        if when == "before" and number == 7:
            series.note_point(note(7, void=True))
        feed(series, scene.frame("accepted", number))
    if when == "after":
        series.note_point(note(7, void=True))
    series.finish()
    assert series.ledger.counts["gated"] == 1
    assert series.ledger.counts["accepted"] == 19
    assert_sums_follow(series, scene.pixels)


def test_points_are_joined_to_frames_and_orphans_are_marked(wire, header):
    scene, series = Scene(wire), Series(header, SETTINGS)
    series.note_point(note(0, point=3))
    for number in range(6):
        feed(series, scene.frame("accepted", number))
    rows = series.ledger.rows(8).columns
    assert rows["point"].tolist() == [3, -1, -1, -1, -1, -1, -1, -1]
    assert rows["x"][0] == 1.5
    assert np.isnan(rows["x"][1])
    assert rows["frame"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert rows["verdict"].tolist()[-2:] == [Category.MISSING] * 2
    assert rows["dof"][-1] == -1


def test_new_thresholds_give_the_sums_of_a_fresh_run_with_them(wire, header):
    kinds = ["accepted"] * 20 + ["background"] * 6 + ["streak"] * 3 + ["low_intensity"] * 6
    changes = {"screening.background_ratio_max": 0.2, "screening.chi2_ratio_max": 1e5}
    scene, series = Scene(wire), Series(header, SETTINGS)
    for number, kind in enumerate(kinds):
        feed(series, scene.frame(kind, number))
    assert series.apply_settings(SETTINGS.changed(changes)) == 2
    series.finish()
    fresh_scene, fresh = Scene(wire), Series(header, SETTINGS.changed(changes))
    for number, kind in enumerate(kinds):
        feed(fresh, fresh_scene.frame(kind, number))
    fresh.finish()
    np.testing.assert_array_equal(series.accepted.data, fresh.accepted.data)
    np.testing.assert_array_equal(series.ledger.column("verdict"), fresh.ledger.column("verdict"))
    assert set(series.ledger.column("parameters")) == {2}
    assert series.versions[-1].from_frame == len(kinds)


def test_screening_settings_are_derived_once_a_version(wire, header, monkeypatch):
    derived = []
    monkeypatch.setattr(
        "service.series.screen_settings", lambda settings: derived.append(settings) or screen_settings(settings)
    )
    scene, series = Scene(wire), Series(header, SETTINGS)
    for number in range(30):
        feed(series, scene.frame("accepted", number))
    assert series.settled
    stricter = SETTINGS.changed({"screening.chi2_ratio_max": 1e-3})
    series.apply_settings(stricter)
    feed(series, scene.frame("accepted", 30))
    series.finish()
    assert series.ledger.counts["streak"] == 31
    assert derived == [SETTINGS, stricter]


def test_missing_frames_are_known_by_number(wire, header):
    scene, series = Scene(wire), Series(header, SETTINGS)
    for number in (0, 1, 4, 5, 9):
        feed(series, scene.frame("accepted", number))
    assert series.ledger.missing_frames() == [(2, 3), (6, 8)]
    series.expected = 12
    assert series.ledger.missing_frames(series.announced) == [(2, 3), (6, 8), (10, 11)]


def test_a_small_hold_keeps_frames_near_a_cut_longest(wire, header):
    scene = Scene(wire)
    series = Series(header, SETTINGS.changed({"screening.hold_mib": 1}))
    for number in range(600):
        feed(series, scene.frame("background" if number % 200 == 25 else "accepted", number))
    assert series._hold.held_bytes <= 2**20
    gone = [row for row in range(600) if series._hold.get(row) is None]
    assert gone
    assert all(series._hold.get(row) is not None for row in (25, 225, 425))
