"""Registration by shift and inversion."""

import numpy as np
import pytest

from processing.align import aligned, aligned_mean, centred_on_mass, coherence, fourier_shifted, registration_shift


@pytest.fixture
def lopsided():
    """A smooth image without symmetry, so that only the right shift and orientation fit."""
    y, x = np.mgrid[-20:21, -20:21]
    return (
        np.exp(-(y**2 + x**2) / 18.0)
        + 0.6 * np.exp(-((y - 5) ** 2 + (x - 3) ** 2) / 6.0)
        + 0.3 * np.exp(-((y + 2) ** 2 + (x - 7) ** 2) / 5.0)
    )


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.25, -2.6), (-17.3, 12.49)])
def test_shift_is_found_to_a_thousandth_of_a_pixel(lopsided, shift):
    moved = fourier_shifted(lopsided, shift)
    found = registration_shift(moved, lopsided)
    np.testing.assert_allclose(found, (-shift[0], -shift[1]), atol=1e-3)


def test_inversion_and_shift_are_undone(lopsided):
    moved = fourier_shifted(lopsided, (3.4, -1.7))[::-1, ::-1]
    np.testing.assert_allclose(aligned(moved, lopsided), lopsided, atol=1e-4)


def test_mean_of_moved_copies_is_the_image(lopsided):
    copies = [fourier_shifted(lopsided, (k * 0.7, -k * 0.3))[:: 1 - 2 * (k % 2), :: 1 - 2 * (k % 2)] for k in range(5)]
    np.testing.assert_allclose(aligned_mean(copies, lopsided), lopsided, atol=1e-4)


def test_coherence_is_one_for_itself_and_small_for_another(lopsided):
    where = np.ones(lopsided.shape, dtype=bool)
    where[18:23, 18:23] = False
    noise = np.random.default_rng(1).normal(size=lopsided.shape)
    assert coherence(lopsided, lopsided, where) == pytest.approx(1.0)
    assert coherence(lopsided, -lopsided, where) == pytest.approx(-1.0)
    assert abs(coherence(lopsided, noise, where)) < 0.2


def test_centre_of_mass_goes_to_the_middle(lopsided):
    centred = centred_on_mass(fourier_shifted(lopsided, (15.3, -9.1)))
    again = centred_on_mass(centred)
    np.testing.assert_allclose(again, centred, atol=1e-6)
    row = (centred.sum(axis=1) * np.arange(41)).sum() / centred.sum()
    assert row == pytest.approx(20, abs=0.1)
