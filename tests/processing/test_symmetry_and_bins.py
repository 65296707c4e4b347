"""Centring, the symmetry patch, and binning over valid pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.binning import binned, unbent
from processing.speckle import central_speckle
from processing.symmetrise import Weighted, centred, friedel_patched, measured


def plain(values, valid=None):
    values = np.asarray(values, dtype=float)
    return measured(values, values, np.ones(values.shape, dtype=bool) if valid is None else valid)


def test_a_whole_pixel_centre_only_crops():
    values = np.random.default_rng(0).random((40, 50))
    out = centred(plain(values), (20.0, 27.0), 11)
    np.testing.assert_allclose(out.counts, values[15:26, 22:33], rtol=1e-6)
    np.testing.assert_array_equal(out.weight, 1.0)


def test_a_slope_keeps_its_values_when_shifted_by_part_of_a_pixel():
    y, x = np.mgrid[0:40, 0:50].astype(float)
    out = centred(plain(3 * y + 5 * x), (20.3, 27.8), 11)
    wanted = 3 * (20.3 + np.arange(-5, 6))[:, None] + 5 * (27.8 + np.arange(-5, 6))[None, :]
    np.testing.assert_allclose(out.mean, wanted, rtol=1e-6)


def test_outside_the_detector_is_missing():
    out = centred(plain(np.ones((20, 20))), (2.0, 17.0), 11)
    assert out.weight[:3].max() == 0.0
    assert out.weight[3:, :8].min() == 1.0
    assert out.weight[:, 8:].max() == 0.0
    assert centred(plain(np.ones((20, 20))), (500.0, 500.0), 5).weight.max() == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(14, 16), st.floats(14, 16))
def test_what_is_masked_never_shows(seed, row, col):
    rng = np.random.default_rng(seed)
    valid = rng.random((31, 31)) > 0.3
    values = rng.random((31, 31))
    spoiled = np.where(valid, values, 1e12)
    one, other = (friedel_patched(centred(plain(v, valid), (row, col), 21)) for v in (values, spoiled))
    np.testing.assert_array_equal(one.counts, other.counts)
    assert one.mean.max() <= values.max() + 1e-6


def test_a_missing_pixel_takes_its_partner_and_two_missing_stay_missing():
    values = np.arange(25.0).reshape(5, 5)
    valid = np.ones((5, 5), dtype=bool)
    valid[0, 1] = valid[1, 0] = valid[3, 4] = False
    out = friedel_patched(plain(values, valid))
    assert out.mean[0, 1] == out.mean[4, 3] == values[4, 3]
    assert out.weight[1, 0] == out.weight[3, 4] == 0.0
    assert out.mean[0, 0] == pytest.approx((values[0, 0] + values[4, 4]) / 2)
    np.testing.assert_array_equal(out.mean, out.mean[::-1, ::-1])


def test_variance_of_a_mean_of_partners_is_half():
    rng = np.random.default_rng(1)
    draws = rng.poisson(50.0, size=(400, 5, 5)).astype(float)
    means = np.array([friedel_patched(plain(d)).mean for d in draws])
    stated = friedel_patched(plain(np.full((5, 5), 50.0))).mean_variance
    np.testing.assert_allclose(means.var(axis=0)[0], stated[0], rtol=0.4)
    assert stated[0, 0] == pytest.approx(25.0)


def test_binning_counts_valid_pixels_only():
    values = np.ones((9, 9))
    valid = np.ones((9, 9), dtype=bool)
    values[0, 0] = 100.0
    valid[0, 0] = False
    valid[3:6, 3:6] = False
    valid[4, 4] = True
    out = binned(plain(values, valid), 3)
    np.testing.assert_allclose(out.mean[0, 0], 1.0)
    assert out.weight[0, 0] == 8
    assert out.weight[1, 1] == 0  # one of nine is less than half


def test_the_middle_stays_the_middle():
    values = np.zeros((45, 45))
    values[22, 22] = 9.0
    out = binned(plain(values), 9)
    assert np.unravel_index(out.counts.argmax(), out.counts.shape) == (2, 2)


@pytest.mark.parametrize("factor", [2, 4, 7, 0])
def test_impossible_bins_are_refused_in_words(factor):
    with pytest.raises(ValueError, match="binning must be odd and divide the array's width of 45 px"):
        binned(plain(np.ones((45, 45))), factor)


def test_an_even_width_is_refused_in_words():
    with pytest.raises(ValueError, match="width of the array must be odd"):
        centred(plain(np.ones((9, 9))), (4.0, 4.0), 4)


def test_bend_inside_bins_is_corrected_to_fourth_order():
    def fringes(y, x):
        return 2 + np.cos(1.3 * y) * np.cos(0.7 * x)

    factor, n = 15, 33
    fine = (np.arange(n * factor) - n * factor // 2) / factor
    means = binned(plain(fringes(fine[:, None], fine[None, :])), factor).mean
    at = np.arange(n) - n // 2
    truth = fringes(at[:, None], at[None, :])
    valid = np.ones((n, n), dtype=bool)
    inner = np.s_[2:-2, 2:-2]
    before, after = np.abs(means - truth)[inner].max(), np.abs(unbent(means, valid) - truth)[inner].max()
    assert before > 0.08
    assert after < 0.004


def test_bend_uses_no_missing_neighbour():
    n = 11
    values = 5.0 + (np.arange(n)[:, None] - 5.0) ** 2 + np.zeros((1, n))
    valid = np.ones((n, n), dtype=bool)
    valid[4, 7] = False
    spoiled = np.where(valid, values, 1e9)
    out = unbent(spoiled, valid)
    assert out[valid].max() < 100
    assert out[5, 5] == pytest.approx(5.0 - 2.0 / 24.0, abs=1e-3)
    assert out[5, 7] == pytest.approx(5.0, abs=0.02)  # its neighbour is missing: left as it is along that axis


def test_central_speckle_is_a_diameter_in_detector_pixels():
    removed = central_speckle(65, 15, 151.0)
    assert removed[32, 32 + 5]  # 75 px
    assert not removed[32, 32 + 6]  # 90 px
    assert not central_speckle(65, 15, 0.0).any()
    assert isinstance(plain(np.ones((3, 3))), Weighted)
