"""The direct beam on a frame: found to a small part of a pixel, not taken for a pixel that counts on its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.spot import find_spot

SHAPE = (120, 140)


def frame(row, col, photons=30_000, sigma=1.2, background=0.05, seed=0, dtype=np.uint32):
    rows, cols = np.indices(SHAPE)
    light = np.exp(-0.5 * ((rows - row) ** 2 + (cols - col) ** 2) / sigma**2)
    mean = photons * light / light.sum() + background
    return np.random.default_rng(seed).poisson(mean).astype(dtype)


@settings(deadline=None, max_examples=30)
@given(row=st.floats(2.0, 117.0), col=st.floats(2.0, 137.0), seed=st.integers(0, 999))
def test_the_centre_is_found_within_photon_noise(row, col, seed):
    spot = find_spot(frame(row, col, seed=seed), np.ones(SHAPE, np.uint8))
    # Near the border a part of the spot is cut off.
    tolerance = 0.05 if min(row, col, 119 - row, 139 - col) > 6 else 0.4
    assert spot.row == pytest.approx(row, abs=tolerance)
    assert spot.col == pytest.approx(col, abs=tolerance)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_pixels_that_count_on_their_own_are_no_spot(dtype):
    pixels = frame(50.3, 60.7, photons=5000, dtype=dtype)
    top = np.iinfo(dtype).max
    pixels[10, 10], pixels[20, 100] = top, top - 1
    pixels[80, 30] = 40_000
    pixels[90, 90] = 60_000
    spot = find_spot(pixels, np.ones(SHAPE, np.uint8))
    assert (spot.row, spot.col) == pytest.approx((50.3, 60.7), abs=0.1)
    assert spot.peak == pixels[46:56, 56:66].max()
    assert spot.photons == pytest.approx(5000, rel=0.05)


def test_without_a_spot_or_with_one_on_a_gap_there_is_none():
    valid = np.ones(SHAPE, np.uint8)
    assert find_spot(frame(50.0, 60.0, photons=0), valid) is None
    valid[48:60] = 0
    assert find_spot(frame(50.0, 60.0), valid) is None


def test_one_dead_pixel_in_its_window_does_not_lose_it():
    valid = np.ones(SHAPE, np.uint8)
    valid[53, 60] = 0
    spot = find_spot(frame(50.0, 60.0), valid)
    assert (spot.row, spot.col) == pytest.approx((50.0, 60.0), abs=0.1)
