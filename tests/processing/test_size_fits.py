"""Sizes read from amplitudes: the error matrix of core and shell, and the thickness of a hollow shell."""

import numpy as np
import pytest

from processing.error_matrix import error_matrix
from processing.geometry import q_of_array_per_m
from processing.models import core_shell, hollow_shell
from processing.shell_fit import fit_shell

CORES, OUTERS = np.arange(16, 22) * 1e-9, np.arange(53, 59) * 1e-9


def noisy(model, n, pixel_m, brightness, seed=0):
    """Amplitudes of a model with photon noise, its vectors and where they count."""
    q = q_of_array_per_m(n, pixel_m)
    photons = brightness * (model.amplitude(q) / model.electrons) ** 2
    amplitude = np.sqrt(np.random.default_rng(seed).poisson(photons))
    return amplitude, q, q > 3.3 * np.pi / model.outer_diameter_m


@pytest.mark.parametrize(("core_nm", "outer_nm"), [(19, 55), (17, 57)])
def test_minimum_is_at_the_true_sizes(core_nm, outer_nm):
    model = core_shell(core_diameter_m=core_nm * 1e-9, outer_diameter_m=outer_nm * 1e-9)
    amplitude, q, valid = noisy(model, 65, 4e-9, 1e9)
    per_electron = np.sqrt(1e9) / model.electrons
    found = error_matrix(amplitude, valid, q, per_electron, core_m=CORES, outer_m=OUTERS)
    assert found.free.shape == (6, 6)
    for error, core, outer in (found.minimum, found.absolute_minimum):
        assert error < 0.04
        assert (core, outer) == pytest.approx((core_nm * 1e-9, outer_nm * 1e-9))
    assert found.free.max() > 0.2
    twice = error_matrix(amplitude, valid, q, 2 * per_electron, core_m=CORES, outer_m=OUTERS)
    np.testing.assert_allclose(twice.free, found.free)
    assert twice.absolute.min() > 0.5


@pytest.mark.parametrize(("outer_nm", "thickness_nm"), [(19.0, 2.6), (18.4, 2.37), (19.6, 3.1)])
def test_thickness_within_a_tenth_of_a_nanometre(outer_nm, thickness_nm):
    model = hollow_shell(outer_diameter_m=outer_nm * 1e-9, thickness_m=thickness_nm * 1e-9)
    amplitude, q, valid = noisy(model, 81, 1.3e-9, 1e8)
    found = fit_shell(amplitude, valid, q, diameter_m=19e-9)
    assert found.thickness_m == pytest.approx(thickness_nm * 1e-9, abs=0.1e-9)
    assert found.outer_diameter_m == pytest.approx(outer_nm * 1e-9, abs=0.1e-9)
    assert found.error < 0.1


def test_a_fit_without_data_is_refused_in_words():
    with pytest.raises(ValueError, match="must be valid somewhere, got none"):
        fit_shell(np.ones((9, 9)), np.zeros((9, 9), dtype=bool), np.ones((9, 9)), diameter_m=19e-9)
