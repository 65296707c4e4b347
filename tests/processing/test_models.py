"""Form factors against sasmodels, projections against the form factors."""

import warnings

import numpy as np
import pytest

from processing.models import (
    core_shell,
    electron_density_per_m3,
    hard_sphere_structure,
    hollow_shell,
    sample,
)

NM = 1e-9


def sasmodels_amplitude_squared(model_name, parameters, q_per_m):
    """|F|^2 in electrons^2 of a sasmodels sphere whose scattering length densities are given in e/nm^3."""
    with warnings.catch_warnings():  # a third-party compile step: its warnings say nothing about our numbers
        warnings.simplefilter("ignore")
        from sasmodels.core import load_model
        from sasmodels.direct_model import call_Fq

        kernel = load_model(model_name, dtype="double", platform="dll").make_kernel([np.asarray(q_per_m) * 1e-10])
        squared = call_Fq(kernel, {"scale": 1.0, "background": 0.0, **parameters})[1]
        kernel.release()
    # 1e-4 (sum of sld V f)^2 with V in A^3; 1 e/nm^3 is 1e-3 e/A^3
    return squared * 1e4 * 1e-6


def test_core_shell_agrees_with_sasmodels():
    q = np.linspace(0.002, 1.2, 400) / NM
    model = core_shell(core_diameter_m=19 * NM, outer_diameter_m=55 * NM)
    core, shell = (layer.contrast_per_m3 * NM**3 for layer in model.layers)
    parameters = {"radius": 95, "thickness": 180, "sld_core": core, "sld_shell": shell, "sld_solvent": 0}
    expected = sasmodels_amplitude_squared("core_shell_sphere", parameters, q)
    np.testing.assert_allclose(model.amplitude(q) ** 2, expected, rtol=1e-6, atol=1e-6 * expected.min())


def test_hollow_shell_agrees_with_sasmodels():
    q = np.linspace(0.002, 3.0, 400) / NM
    model = hollow_shell(outer_diameter_m=19 * NM, thickness_m=2.6 * NM)
    parameters = {"volfraction": 1.0, "radius": 69, "thickness": 26, "sld": 430.0, "sld_solvent": 334.0}
    with_volume = sasmodels_amplitude_squared("vesicle", parameters, q)
    np.testing.assert_allclose(model.amplitude(q) ** 2, with_volume, rtol=1e-6, atol=1e-6 * with_volume.min())


def test_forward_amplitude_is_the_number_of_electrons():
    for name in ("au-sio2", "nv-lp"):
        model = sample(name)
        assert model.amplitude(0.0) == pytest.approx(model.electrons, rel=1e-12)
        near_zero = model.amplitude(np.array([1e5, 2.0e6, 2.3e6]))  # across the switch from series to formula
        assert np.all(np.diff(near_zero) < 0)
        assert near_zero[0] == pytest.approx(model.electrons, rel=1e-4)


def test_gold_carries_its_anomalous_term():
    atoms_per_m3 = 19.3e6 * 6.02214076e23 / 196.97
    assert electron_density_per_m3({"Au": 1}, density_g_per_cm3=19.3) / atoms_per_m3 == pytest.approx(73.92, abs=0.02)


@pytest.mark.parametrize(("name", "diameter_nm", "pixel_nm"), [("au-sio2", 55, 3.99), ("nv-lp", 19, 1.3)])
def test_projection_keeps_the_electrons_and_transforms_into_the_amplitude(name, diameter_nm, pixel_nm):
    model = sample(name)
    assert model.outer_diameter_m == pytest.approx(diameter_nm * NM)
    pixel, n = pixel_nm * NM, 65
    image = model.projection(pixel, n, 16)
    assert image.shape == (n, n)
    assert image.sum() * pixel**2 == pytest.approx(model.electrons, rel=2e-3)
    np.testing.assert_allclose(image, image[::-1, ::-1], rtol=1e-9)
    # Fourier slice theorem; the average over a pixel multiplies by its sinc. Low q only, where aliasing is small.
    row = np.fft.fft2(np.fft.ifftshift(image))[0].real * pixel**2
    k = np.arange(1, 12)
    q = 2 * np.pi * k / (n * pixel)
    expected = model.amplitude(q) * np.sinc(k / n)
    np.testing.assert_allclose(row[1:12], expected, atol=0.01 * model.electrons)


def test_unknown_sample_and_impossible_layers_are_refused_in_words():
    with pytest.raises(ValueError, match="sample must be au-sio2 or nv-lp, got 'gold'"):
        sample("gold")
    with pytest.raises(ValueError, match="must be positive and growing"):
        core_shell(core_diameter_m=60 * NM, outer_diameter_m=55 * NM)
    with pytest.raises(ValueError, match="must be positive, got 0"):
        sample("nv-lp").projection(0.0, 65)


@pytest.mark.parametrize("packing", [0.1, 0.3, 0.5])
def test_structure_of_hard_spheres_agrees_with_sasmodels(packing):
    q = np.linspace(0.004, 0.8, 400) / NM
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sasmodels.core import load_model
        from sasmodels.direct_model import call_kernel

        kernel = load_model("hardsphere", dtype="double", platform="dll").make_kernel([q * 1e-10])
        expected = call_kernel(kernel, {"radius_effective": 275.0, "volfraction": packing})
        kernel.release()
    np.testing.assert_allclose(hard_sphere_structure(q, 55 * NM, packing), expected, rtol=2e-5)
    assert np.all(hard_sphere_structure(q, 55 * NM, 0.0) == 1.0)


def test_a_spread_of_sizes_fills_the_minima_and_changes_nothing_without_spread():
    q = np.linspace(0.01, 1.1, 600) / NM
    model = sample("au-sio2")
    np.testing.assert_array_equal(model.mean_square(q, 0.0), model.amplitude(q) ** 2)
    rng = np.random.default_rng(0)
    sizes = rng.normal((19.0, 55.0), 1.25, (4000, 2))
    drawn = np.mean(
        [core_shell(core_diameter_m=c * NM, outer_diameter_m=o * NM).amplitude(q) ** 2 for c, o in sizes], axis=0
    )
    np.testing.assert_allclose(model.mean_square(q, 1.25 * NM), drawn, rtol=0.15)
    low = np.argmin(model.amplitude(q) ** 2)
    assert model.mean_square(q, 1.25 * NM)[low] > 100 * model.amplitude(q)[low] ** 2
