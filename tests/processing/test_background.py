"""Background by the ratio of frames, azimuthal and raw."""

import numpy as np
import pytest

from processing.background import radial_profile, scaled_background

SHAPE = (301, 401)
RADIUS = np.hypot(*np.meshgrid(np.arange(301) - 150.3, np.arange(401) - 190.8, indexing="ij"))
HALO = 200.0 / (1.0 + (RADIUS / 60.0) ** 2) + 3.0


def everywhere():
    return np.ones(SHAPE, dtype=bool)


def test_profile_of_a_smooth_halo_is_that_halo():
    profile = radial_profile(HALO, everywhere(), RADIUS)
    seen = (RADIUS > 5) & (RADIUS < 140)
    np.testing.assert_allclose(profile(RADIUS)[seen], HALO[seen], rtol=3e-3)


def test_masked_pixels_do_not_count():
    valid = RADIUS % 7 > 2
    spoiled = np.where(valid, HALO, 1e9)
    found = radial_profile(spoiled, valid, RADIUS)(RADIUS)
    seen = (RADIUS > 5) & (RADIUS < 140)
    np.testing.assert_allclose(found[seen], HALO[seen], rtol=5e-3)


def test_profile_stays_flat_beyond_what_was_measured_and_is_never_negative():
    valid = (RADIUS > 40) & (RADIUS < 100)
    profile = radial_profile(HALO, valid, RADIUS)
    assert profile(5.0) == pytest.approx(profile(40.0), rel=0.02)
    assert profile(900.0) == pytest.approx(profile(100.0), rel=0.02)
    sparse = np.where(np.random.default_rng(0).random(SHAPE) < 1e-3, 1.0, 0.0)
    assert radial_profile(sparse, everywhere(), RADIUS)(RADIUS).min() >= 0.0


def test_a_single_valid_ring_gives_its_mean():
    valid = np.rint(RADIUS) == 50
    assert radial_profile(HALO, valid, RADIUS)(RADIUS).max() == pytest.approx(HALO[valid].mean(), rel=1e-9)


def test_azimuthal_noise_is_as_stated_and_far_below_the_raw():
    counts = [np.random.default_rng(k).poisson(HALO).astype(float) for k in range(40)]
    found = [scaled_background(c, everywhere(), RADIUS, ratio=12.0) for c in counts]
    at = np.array([30.0, 60.0, 110.0])
    values = np.array([[f.expected[150, 190 + int(r)] for r in at] for f in found])
    stated = found[0].profile_sigma(at)
    np.testing.assert_allclose(values.std(axis=0), stated, rtol=0.5)
    raw = scaled_background(counts[0], everywhere(), RADIUS, ratio=12.0, mode="raw")
    assert np.all(stated < 0.1 * np.sqrt(raw.variance[150, 190 + at.astype(int)]))


def test_raw_is_scaled_pixel_by_pixel():
    valid = everywhere()
    valid[3] = False
    raw = scaled_background(HALO, valid, RADIUS, ratio=4.0, mode="raw")
    np.testing.assert_allclose(raw.expected[~valid], 0.0)
    np.testing.assert_allclose(raw.expected[valid], 4 * HALO[valid])
    np.testing.assert_allclose(raw.variance[valid], 16 * HALO[valid])


def test_a_background_without_valid_pixels_is_refused_in_words():
    with pytest.raises(ValueError, match="background must have valid pixels, got none"):
        scaled_background(HALO, ~everywhere(), RADIUS, ratio=1.0)
