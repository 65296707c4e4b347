"""The two constraints are projections."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.project import centred, constraints_of, disc, wrapped


def some_constraints(seed, n=21, missing=0.2):
    rng = np.random.default_rng(seed)
    density = np.where(disc(n, 5.0), rng.random((n, n)), 0.0)
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(density)))).astype(np.float32)
    valid = rng.random((n, n)) > missing
    return constraints_of(amplitude, valid & valid[::-1, ::-1], disc(n, 5.5)), density


def objects(seed, n=21, seeds=3):
    return np.random.default_rng(seed).normal(size=(seeds, n, n)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_projections_are_idempotent(seed):
    constraints, _ = some_constraints(seed)
    x = objects(seed)
    once = constraints.onto_modulus(x)
    np.testing.assert_allclose(constraints.onto_modulus(once), once, atol=2e-5 * np.abs(once).max())
    inside = constraints.onto_density(x)
    np.testing.assert_array_equal(constraints.onto_density(inside), inside)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_modulus_is_met_where_measured_and_floats_where_missing(seed):
    constraints, _ = some_constraints(seed)
    x = objects(seed)
    before, after = np.fft.rfft2(x), np.fft.rfft2(constraints.onto_modulus(x))
    measured = constraints.modulus >= 0
    # the first column holds each frequency twice, as one and as its conjugate, and is left out of the exact comparison
    measured[:, 0] = False
    top = constraints.modulus.max()
    np.testing.assert_allclose(
        np.abs(after)[:, measured], np.broadcast_to(constraints.modulus[measured], (3, measured.sum())), atol=1e-4 * top
    )
    missing = constraints.modulus < 0
    missing[:, 0] = False
    np.testing.assert_allclose(after[:, missing], before[:, missing], atol=1e-4 * top)


def test_the_true_object_satisfies_both_and_has_no_r_factor():
    constraints, density = some_constraints(5)
    truth = wrapped(density[None].astype(np.float32))
    np.testing.assert_allclose(constraints.onto_modulus(truth), truth, atol=1e-5)
    np.testing.assert_array_equal(constraints.onto_density(truth), truth)
    assert constraints.r_factor(truth)[0] < 1e-6
    assert constraints.r_factor(2 * truth)[0] == pytest.approx(1.0, rel=1e-4)
    np.testing.assert_array_equal(centred(truth)[0], density.astype(np.float32))


def test_r_factor_is_that_of_the_full_transform():
    constraints, density = some_constraints(6, missing=0.0)
    x = objects(6)
    full = np.abs(np.fft.fft2(x))
    truth = np.abs(np.fft.fft2(np.fft.ifftshift(density)))
    expected = np.abs(full - truth).sum(axis=(1, 2)) / truth.sum()
    np.testing.assert_allclose(constraints.r_factor(x), expected, rtol=1e-4)


def test_impossible_arrays_are_refused_in_words():
    amplitude = np.ones((20, 20), dtype=np.float32)
    with pytest.raises(ValueError, match="must be square of one odd width"):
        constraints_of(amplitude, amplitude > 0, amplitude > 0)
    odd = np.ones((21, 21), dtype=np.float32)
    with pytest.raises(ValueError, match="must hold at least one pixel, got none"):
        constraints_of(odd, odd < 0, disc(21, 4))
