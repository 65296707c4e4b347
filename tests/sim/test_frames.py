"""Frames depend on beam, stage and shutter; and on nothing but their key."""

from dataclasses import replace

import numpy as np
import pytest

from sim.beamline import Conditions
from sim.detector import pixels
from sim.frames import Exposure, FrameSource
from sim.settings import SimSettings

CALM = Conditions(
    x_um=0.0, y_um=0.0, z_um=0.0, moving=False, open_s=60.0, injection_s=0.0, transmission=1.0, beam_stop_in=True
)


@pytest.fixture(scope="module")
def source():
    return FrameSource(SimSettings(seed=11))


def exposure(frame=0, seconds=60.0, series=1, **conditions):
    seen = {"open_s": seconds} | conditions
    return Exposure(series=series, frame=frame, count_time_s=seconds, conditions=replace(CALM, **seen))


def place_of(source, label, **more):
    """A position where the scene has that label and is not graded."""
    for y in np.arange(-95.0, 100.0, 5.0):
        for x in np.arange(-95.0, 100.0, 5.0):
            place = source.scene.at(float(x), float(y))
            wanted = all(getattr(place, name) == value for name, value in more.items())
            if place.label == label and wanted and (label == "streak" or not place.graded):
                return {"x_um": float(x), "y_um": float(y)}
    raise AssertionError(label)


def total(source, frame):
    counted = frame[source.valid]
    return int(counted[counted < np.iinfo(frame.dtype).max - 1].sum(dtype=np.uint64))


def ring_chi2(source, frame):
    g = source.geometry
    radius = np.hypot(np.arange(g.shape[0])[:, None] - g.header_row, np.arange(g.shape[1])[None, :] - g.header_col)
    ring = frame[(radius >= 28.6) & (radius < 31.2) & source.valid].astype(float)
    ring = ring[ring < 2**32 - 2]
    return ((ring - ring.mean()) ** 2).sum() / ring.mean() / (ring.size - 1)


def test_a_frame_is_fixed_by_seed_series_and_number(source):
    first = source.draw(exposure(3))
    source.draw(exposure(4))
    assert np.array_equal(first, source.draw(exposure(3)))
    assert np.array_equal(first, FrameSource(SimSettings(seed=11)).draw(exposure(3)))
    for other in (exposure(4), exposure(3, series=2)):
        assert not np.array_equal(first, source.draw(other))
    assert not np.array_equal(first, FrameSource(SimSettings(seed=12)).draw(exposure(3)))


def test_frames_are_independent_draws_of_one_mean(source):
    where = place_of(source, "accepted", streaks=(), clip=0.0)
    one, two = (source.draw(exposure(i, **where)).astype(float) for i in (0, 1))
    good = source.valid & ~source.maps.stop & (60.0 * source.maps.sample > 8.0) & (np.maximum(one, two) < 1e6)
    ratio = (one[good] - two[good]) ** 2 / (one[good] + two[good])
    assert ratio.size > 10_000
    assert ratio.mean() == pytest.approx(1.0, abs=0.05)


def test_labels_and_totals(source):
    totals, chi2 = {}, {}
    for label in ("accepted", "low_intensity", "background", "streak"):
        where = place_of(source, label)
        shot = exposure(5, **where)
        frame = source.draw(shot)
        concentration = source.place(shot).concentration or 1.0
        totals[label], chi2[label] = total(source, frame) / concentration, ring_chi2(source, frame)
        assert source.label(shot) == label
    assert chi2["accepted"] < 1.6
    assert chi2["background"] < 1.6
    assert chi2["streak"] > 1.6
    assert totals["low_intensity"] / totals["accepted"] == pytest.approx(0.103, rel=0.25)
    clean = exposure(6, **place_of(source, "accepted", streaks=(), clip=0.0))
    scale = source.place(clean).concentration
    empty = total(source, source.draw(exposure(7, **place_of(source, "background", streaks=(), clip=0.0))))
    sample = (total(source, source.draw(clean)) - empty) / scale
    assert empty / (empty + sample) == pytest.approx(0.45, abs=0.01)


def test_silicon_passes_a_tenth(source):
    deep = place_of(source, "low_intensity", clip=1.0)
    shot = exposure(8, **deep)
    frame = total(source, source.draw(shot))
    clean = exposure(6, **place_of(source, "accepted", streaks=(), clip=0.0))
    empty = total(source, source.draw(exposure(7, **place_of(source, "background", streaks=(), clip=0.0))))
    sample = (total(source, source.draw(clean)) - empty) / source.place(clean).concentration
    assert frame == pytest.approx(0.103 * (empty + source.place(shot).concentration * sample), rel=0.01)


def test_closed_shutter_is_dark(source):
    shot = exposure(1, 60.0, open_s=0.0)
    frame = source.draw(shot)
    assert source.label(shot) == "gated"
    assert 0 < total(source, frame) < 30  # rare noise


@pytest.mark.parametrize("conditions", [{"open_s": 59.0}, {"injection_s": 4.0}])
def test_disturbed_frames_are_gated(source, conditions):
    assert source.label(exposure(1, 60.0, **conditions)) == "gated"


def test_injection_disturbs_the_pattern(source):
    where = place_of(source, "accepted", streaks=(), clip=0.0)
    calm = source.draw(exposure(2, **where))
    kicked = source.draw(exposure(2, injection_s=4.0, **where))
    assert ring_chi2(source, calm) < 1.6
    assert not np.array_equal(calm, kicked)
    assert np.array_equal(kicked, source.draw(exposure(2, injection_s=4.0, **where)))


def test_direct_beam_stands_at_the_true_centre(source):
    shot = exposure(0, 1.0, transmission=1e-6, beam_stop_in=False)
    frame = source.draw(shot).astype(float)
    assert source.label(shot) == "alignment"
    row, col = 488, 515
    spot = frame[row - 8 : row + 9, col - 8 : col + 9]
    assert spot.sum() == pytest.approx(1000, abs=150)
    offset = np.arange(-8, 9)
    assert row + (spot.sum(1) * offset).sum() / spot.sum() == pytest.approx(source.geometry.true_row, abs=0.15)
    assert col + (spot.sum(0) * offset).sum() / spot.sum() == pytest.approx(source.geometry.true_col, abs=0.15)


def test_unattenuated_direct_beam_saturates(source):
    frame = source.draw(exposure(0, 1.0, beam_stop_in=False))
    assert frame[488, 515] == 2**32 - 1


def test_shadow_of_the_stop_is_empty(source):
    frame = source.draw(exposure(0, **place_of(source, "accepted")))
    assert frame[source.maps.stop & (source.codes == 1)].max() <= 1


@pytest.mark.parametrize(("seconds", "dtype"), [(0.005, np.uint16), (0.05, np.uint32)])
def test_masked_pixels_stand_at_the_flag_values_of_the_type(source, seconds, dtype):
    frame = source.draw(exposure(0, seconds))
    top = np.iinfo(dtype).max
    known = pixels("eig1m")
    assert frame.dtype == dtype
    assert set(np.unique(frame[known.mask != 0])) == {top - 1, top}
    assert (frame[520] == top).all()
    unexpected = np.flatnonzero((frame >= top - 1) & (known.mask == 0))
    assert set(unexpected) <= set(known.hot)


def test_hot_pixels_fire_in_some_frames_only(source):
    hot = pixels("eig1m").hot
    fired = np.array([source.draw(exposure(i, 0.02, open_s=0.0)).flat[hot] >= 2**32 - 2 for i in range(12)])
    assert 0.1 < fired.mean() < 0.5
    assert len({tuple(row) for row in fired}) > 6


def test_exposure_scales_the_photons(source):
    where = place_of(source, "accepted", streaks=(), clip=0.0)
    long, short = (total(source, source.draw(exposure(1, seconds, **where))) for seconds in (60.0, 6.0))
    assert long / short == pytest.approx(10.0, rel=0.01)
