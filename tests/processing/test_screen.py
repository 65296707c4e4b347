import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.frame import Category, FrameScore
from processing.screen import (
    RADIUS_STEP_PX,
    ScreenSettings,
    judge,
    reference_total,
    ring_pixels,
    ring_radii,
    score,
)


def many(total, chi2_over_dof=1.0, dof=500):
    total = np.asarray(total, np.uint64)
    return total, np.full(total.shape, chi2_over_dof * dof), np.full(total.shape, dof, np.int64)


def test_the_ring_of_the_paper_has_about_500_pixels():
    ring = ring_pixels(np.ones((200, 200), np.uint8), 99.7, 100.2, 28.6, 31.2)
    assert 480 < ring.size < 500


def test_the_ring_leaves_masked_pixels_out():
    valid = np.ones((9, 9), np.uint8)
    valid[4, 6] = 0
    ring = ring_pixels(valid, 4, 4, 1.9, 2.1)
    assert sorted(ring.tolist()) == [2 * 9 + 4, 4 * 9 + 2, 6 * 9 + 4]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_score_equals_plain_numpy_and_never_counts_the_two_flag_values(dtype):
    rng = np.random.default_rng(3)
    pixels = rng.poisson(20, (60, 50)).astype(dtype)
    top = np.iinfo(dtype).max
    pixels[3, 3], pixels[4, 4] = top, top - 1
    valid = (rng.random((60, 50)) > 0.1).astype(np.uint8)
    valid[3:5, 3:5] = 1
    ring = ring_pixels(valid, 4, 4, 0, 6)
    points = score(pixels, valid, ring)
    counted = (valid != 0) & (pixels < top - 1)
    assert points.total == pixels[counted].sum(dtype=np.uint64)
    values = pixels.ravel()[ring]
    values = values[values < top - 1].astype(object)
    assert (points.ring_sum, points.ring_square_sum, points.ring_pixels) == (
        sum(values),
        sum(values**2),
        len(values),
    )
    mean = sum(values) / len(values)
    assert points.chi2 == pytest.approx(sum((value - mean) ** 2 for value in values) / mean, rel=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 3), st.integers(0, 3000)), min_size=3, max_size=40),
)
def test_chi2_without_the_radial_trend_is_that_of_the_residuals_of_a_line(pairs):
    counts, radii = map(list, zip(*pairs, strict=True))
    found = FrameScore.of(0, counts, radii)
    if len(set(radii)) == 1:  # there is no slope to take off
        plain = FrameScore.of(0, counts)
        assert (found.chi2, found.dof) == (plain.chi2, plain.dof) or not any(counts)
        return
    assert found.dof == len(counts) - 2
    if not any(counts):
        assert math.isnan(found.chi2)
        return
    x, y = ([Fraction(value) for value in values] for values in (radii, counts))
    n, mean_x, mean_y = len(x), sum(x) / len(x), sum(y) / len(y)
    slope = sum((x[i] - mean_x) * (y[i] - mean_y) for i in range(n)) / sum((one - mean_x) ** 2 for one in x)
    left = sum((y[i] - mean_y - slope * (x[i] - mean_x)) ** 2 for i in range(n)) / mean_y
    assert found.chi2 == float(left)  # the exact fraction, rounded once


def test_a_radial_slope_is_scatter_unless_it_is_removed():
    rng = np.random.default_rng(8)
    valid = np.ones((200, 200), np.uint8)
    center = 99.7, 100.2
    ring = ring_pixels(valid, *center, 28.6, 31.2)
    radii = ring_radii(ring, 200, *center)
    distance = np.hypot(np.arange(200)[:, None] - center[0], np.arange(200)[None, :] - center[1])
    np.testing.assert_allclose(radii * RADIUS_STEP_PX, distance.ravel()[ring] - distance.ravel()[ring].min(), atol=1e-3)
    air = rng.poisson(np.clip(400 - 60 * (distance - 28.6), 100, 500)).astype(np.uint32)  # falls steeply
    kept, removed = score(air, valid, ring), score(air, valid, ring, radii)
    assert kept.chi2 > 5 * kept.dof
    assert 0.8 < removed.chi2 / removed.dof < 1.2
    assert (removed.total, removed.ring_square_sum, removed.dof) == (kept.total, kept.ring_square_sum, kept.dof - 1)
    streak = air.copy()
    streak[100, 120:140] += 4000
    assert score(streak, valid, ring, radii).chi2 > 10 * removed.dof


def test_squares_of_32_bit_counts_do_not_overflow():
    pixels = np.full((40, 40), 2**32 - 3, np.uint32)
    points = score(pixels, np.ones((40, 40), np.uint8), np.arange(1600))
    assert points.ring_square_sum == 1600 * (2**32 - 3) ** 2
    assert points.chi2 == 0.0


def test_without_ring_pixels_chi2_is_nan_and_rejects_nothing():
    points = score(np.ones((4, 4), np.uint32), np.ones((4, 4), np.uint8), np.zeros(0, np.int64))
    assert math.isnan(points.chi2)
    assert points.dof == -1
    verdict = judge(np.array([100], np.uint64), np.array([np.nan]), np.array([-1]), 100.0, ScreenSettings())
    assert verdict[0] == Category.ACCEPTED


def test_rules_apply_in_order_and_by_strict_comparison():
    settings = ScreenSettings()
    total, chi2, dof = many([1000, 600, 599, 300, 299, 1000, 299, 500])
    chi2[[5, 6, 7]] = 1.6 * 500 + 1e-9
    verdict = judge(total, chi2, dof, 1000.0, settings)
    expected = "accepted accepted background background low_intensity streak low_intensity streak"
    assert [Category(int(v)).label for v in verdict] == expected.split()


def test_the_absolute_chi2_cut_works_beside_the_ratio():
    total, chi2, dof = many([10, 10])
    chi2[:] = [800.0, 800.5]
    settings = ScreenSettings(chi2_ratio_max=100, chi2_max=800)
    assert judge(total, chi2, dof, 10.0, settings).tolist() == [Category.ACCEPTED, Category.STREAK]


def test_switched_off_everything_is_accepted():
    assert set(judge(*many([1, 2, 3]), 1e9, ScreenSettings(enabled=False)).tolist()) == {Category.ACCEPTED}


@pytest.mark.parametrize("silicon", [0.05, 0.3, 0.6, 0.8])
@pytest.mark.parametrize("empty", [0.02, 0.1])
def test_the_reference_is_that_of_sample_frames_however_much_silicon_there_is(silicon, empty):
    rng = np.random.default_rng(5)
    for _ in range(10):
        kinds = rng.choice([0.103, 0.45, 1.0], 400, p=[silicon, empty, 1 - silicon - empty])
        total = 1e7 * kinds * rng.normal(1, np.where(kinds == 1, 0.1, 0.01))
        found = reference_total(*many(total), ScreenSettings())
        assert found == pytest.approx(1e7, rel=0.03)


def test_bright_streaks_do_not_pull_the_reference_up():
    total, chi2, dof = many([100.0] * 30 + [250.0] * 30)
    chi2[30:] *= 5
    assert reference_total(total, chi2, dof, ScreenSettings()) == 100.0


def test_a_given_reference_is_taken_and_no_counts_give_none():
    assert reference_total(*many([1, 2]), ScreenSettings(reference_total=77.0)) == 77.0
    assert reference_total(*many([0, 0]), ScreenSettings()) is None
    assert reference_total(*many([]), ScreenSettings()) is None


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=60), st.randoms())
def test_the_reference_does_not_depend_on_the_order_of_frames(totals, shuffler):
    mixed = list(totals)
    shuffler.shuffle(mixed)
    assert reference_total(*many(totals), ScreenSettings()) == reference_total(*many(mixed), ScreenSettings())
