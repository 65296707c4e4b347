"""Scattering vectors, image pixels, and equation (1)."""

import numpy as np
import pytest

from processing.geometry import Geometry, is_quick_width, q_of_array_per_m, thomson_photons
from processing.models import sample

PAPER = Geometry(wavelength_m=0.140556e-9, distance_m=2.08, pixel_m=75e-6, center=(488.3, 514.6))


def test_the_papers_numbers():
    assert PAPER.field_m == pytest.approx(3898.08e-9, rel=1e-5)
    assert PAPER.image_pixel_m(977) == pytest.approx(3.99e-9, rel=1e-3)
    assert PAPER.image_pixel_m(2998) == pytest.approx(1.30e-9, rel=1e-3)
    assert PAPER.speckle_px(55e-9) == pytest.approx(70.9, abs=0.1)
    edge = PAPER.q_at_radius_per_m(np.array([488.5]))[0]
    assert edge * 1e-9 == pytest.approx(0.788, abs=2e-3)


def test_q_grows_from_the_centre_and_bends_below_the_flat_one():
    q = PAPER.q_per_m((1030, 1065))
    assert q.shape == (1030, 1065)
    assert np.unravel_index(q.argmin(), q.shape) == (488, 515)
    flat = 2 * np.pi * PAPER.radius_px((1030, 1065)) / PAPER.field_m
    ratio = q[0, 0] / flat[0, 0]
    assert 0.999 < ratio < 1.0  # sin against tan: 0.1 % at most


def test_q_of_the_array_meets_q_of_the_detector():
    n, width = 65, 975
    q = q_of_array_per_m(n, PAPER.image_pixel_m(width))
    on_detector = PAPER.q_at_radius_per_m(np.arange(33) * (width / n))
    np.testing.assert_allclose(q[32, 32:], on_detector, rtol=5e-4)


def test_solid_angle_falls_off_axis():
    omega = PAPER.solid_angle_sr((1030, 1065))
    assert omega.max() == pytest.approx((75e-6 / 2.08) ** 2, rel=1e-6)
    assert omega.min() / omega.max() == pytest.approx(0.999, abs=1e-3)


def test_photons_of_the_first_sample_at_the_beam_stop():
    radius = np.array([28.5, 488.0])
    counts = thomson_photons(
        sample("au-sio2").amplitude(PAPER.q_at_radius_per_m(radius)),
        particles=25280,
        flux_per_m2_s=1e9 / (6e-6 * 18e-6),
        exposure_s=60,
        solid_angle_sr=(75e-6 / 2.08) ** 2,
    )
    assert counts[0] == pytest.approx(576, rel=0.05)  # science.md 1
    assert counts[1] == pytest.approx(0.004, rel=0.2)


@pytest.mark.parametrize(
    ("width", "quick"), [(325, True), (999, True), (65, True), (326, False), (163, False), (0, False)]
)
def test_quick_widths(width, quick):
    assert is_quick_width(width) is quick


def test_impossible_geometry_is_refused_in_words():
    with pytest.raises(ValueError, match=r"distance must be positive and finite \(m\), got 0"):
        Geometry(wavelength_m=1e-10, distance_m=0.0, pixel_m=75e-6, center=(0, 0))
    with pytest.raises(ValueError, match="beam centre must be finite"):
        Geometry(wavelength_m=1e-10, distance_m=1.0, pixel_m=75e-6, center=(np.nan, 0))
