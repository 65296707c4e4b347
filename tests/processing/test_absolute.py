"""Counts on the diagonal against a prediction without a free scale."""

import numpy as np
import pytest

from processing.absolute import diagonal
from processing.geometry import Geometry, thomson_photons
from processing.models import sample


@pytest.fixture(scope="module")
def predicted():
    geometry = Geometry(wavelength_m=0.140556e-9, distance_m=2.08, pixel_m=75e-6, center=(150.3, 148.8))
    shape = (301, 301)
    photons = thomson_photons(
        sample("au-sio2").amplitude(geometry.q_per_m(shape)),
        particles=25280,
        flux_per_m2_s=1e9 / 108e-12,
        exposure_s=60.0,
        solid_angle_sr=geometry.solid_angle_sr(shape),
    )
    return photons, geometry


def test_paper_counts_come_out_of_equation_one(predicted):
    photons, geometry = predicted
    at_stop = photons[np.abs(geometry.radius_px(photons.shape) - 29) < 1].mean()
    assert at_stop == pytest.approx(576, rel=0.1)  # science.md 1, at the edge of the beam stop


@pytest.mark.parametrize("scale", [1.0, 1.15])
def test_a_wrong_scale_is_seen_and_a_right_one_is_not(predicted, scale):
    photons, geometry = predicted
    valid = geometry.radius_px(photons.shape) > 28.6
    counts = np.random.default_rng(0).poisson(1000 * scale * photons)
    found = diagonal(np.where(valid, counts, 0), valid, 1000 * photons, geometry.center)
    assert found.clear.sum() > 20
    assert found.mean == pytest.approx(scale - 1.0, abs=0.005)
    assert (found.worst < 0.10) == (scale == 1.0)
    assert found.radius_px[0] < 0 < found.radius_px[-1]
    np.testing.assert_allclose(np.diff(found.radius_px[found.radius_px > 60])[:-1], 8 * np.sqrt(2), rtol=1e-9)


def test_masked_pixels_and_dim_segments_do_not_count(predicted):
    photons, geometry = predicted
    valid = np.ones(photons.shape, dtype=bool)
    counts = 10 * photons
    valid[200:240] = False
    counts[200:240] = 1e9
    found = diagonal(counts, valid, 10 * photons, geometry.center)
    assert found.worst < 1e-9
    assert not found.clear.all()
    assert not np.any((found.radius_px / np.sqrt(2) > 58) & (found.radius_px / np.sqrt(2) < 82))
    nothing = diagonal(0 * counts, valid, 1e-6 * photons, geometry.center)
    assert np.isnan(nothing.worst)
    assert np.isnan(nothing.mean)
