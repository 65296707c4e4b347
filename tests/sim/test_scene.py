"""What lies under the beam, and what it must be called."""

from collections import Counter

import numpy as np
import pytest

from sim.sample import experiment
from sim.scene import ON_SILICON, STREAK_VISIBLE, Scene


def raster(size):
    axis = (np.arange(size) - (size - 1) / 2) * 10.0
    return [(x, y) for y in axis for x in axis]


@pytest.mark.parametrize("sample", ["au-sio2", "nv-lp"])
@pytest.mark.parametrize("size", [10, 15, 20])
def test_every_raster_meets_all_kinds_of_places(sample, size):
    for seed in range(4):
        scene = Scene(experiment(sample), seed)
        counts = Counter(scene.at(x, y).label for x, y in raster(size))
        share = {label: count / size**2 for label, count in counts.items()}
        assert 0.07 <= share["low_intensity"] <= 0.14, (seed, share)
        assert 0.03 <= share["streak"] <= 0.10, (seed, share)
        assert 0.015 <= share["background"] <= 0.07, (seed, share)
        assert share["accepted"] >= 0.70, (seed, share)


def test_large_raster_keeps_the_proportions():
    scene = Scene(experiment("nv-lp"), 5)
    share = Counter(scene.at(x, y).label for x, y in raster(60))
    assert 0.06 <= share["low_intensity"] / 3600 <= 0.13
    assert 0.03 <= share["streak"] / 3600 <= 0.09
    assert 0.03 <= share["background"] / 3600 <= 0.06


def test_clip_grows_across_an_edge_and_its_streak_stands_upright_to_it():
    scene = Scene(experiment("au-sio2"), 0)
    places = [scene.at(x, 0.0) for x in np.arange(-30.0, -48.0, -0.25)]
    clips = np.array([place.clip for place in places])
    assert (np.diff(clips) >= -1e-12).all()
    assert clips[0] == 0.0
    assert clips[-1] > 0.999
    half = places[int(np.argmin(np.abs(clips - 0.5)))]
    edge = max(half.streaks, key=lambda streak: streak.strength)
    assert edge.strength > 0.9
    assert abs(np.rad2deg(edge.angle)) < 6.0  # the ribs run nearly along y
    assert {place.label for place in places} >= {"accepted", "streak", "low_intensity"}


def test_labels_follow_clip_and_streak():
    scene = Scene(experiment("au-sio2"), 3)
    for x, y in raster(30):
        place = scene.at(x, y)
        strongest = max((streak.strength for streak in place.streaks), default=0.0)
        if place.clip >= ON_SILICON:
            assert place.label == "low_intensity"
        elif strongest >= STREAK_VISIBLE:
            assert place.label == "streak"
        else:
            assert place.label == ("background" if place.concentration == 0.0 else "accepted")
        if 0.1 <= place.clip < ON_SILICON:
            assert place.graded
        if place.clip == 0.0 and not place.streaks:
            assert not place.graded


def test_concentration_spreads_by_ten_percent_and_is_smooth():
    spreads, steps = [], []
    for seed in range(4):
        scene = Scene(experiment("au-sio2"), seed)
        values = np.array([scene.at(x, y).concentration for x, y in raster(60)])
        spreads.append(values[values > 0].std())
        near = [scene.at(x, 11.0).concentration - scene.at(x + 1.0, 11.0).concentration for x in range(0, 60, 5)]
        steps.append(np.abs([step for step in near if abs(step) < 0.5]).max())
    assert np.mean(spreads) == pytest.approx(0.10, abs=0.015)
    assert max(steps) < 0.03


def test_seed_fixes_the_scene():
    one, same, other = (Scene(experiment("au-sio2"), seed) for seed in (4, 4, 5))
    points = raster(12)
    assert [one.at(x, y) for x, y in points] == [same.at(x, y) for x, y in reversed(points)][::-1]
    assert [one.at(x, y) for x, y in points] != [other.at(x, y) for x, y in points]
