"""Expected photons: the paper's numbers, and what screening needs of them."""

import numpy as np
import pytest

from sim.detector import GEOMETRIES, PIXEL_M, pixels
from sim.diffraction import BACKGROUND_RATIO, STREAK_SIGMA_PX, expected, signal_per_s
from sim.sample import experiment


def square(size, distance_m, what, particles=None):
    offset = np.arange(size) - size // 2
    radius = np.hypot(offset[:, None], offset[None, :])
    return radius, what.exposure_s * signal_per_s(radius * PIXEL_M, distance_m, what, particles)


def test_gold_in_silica_gives_the_expected_photons():
    radius, photons = square(977, 2.08, experiment("au-sio2"))
    # the published estimate (5.8e6, 576) counts Z electrons of gold; f' takes some 5 % off
    assert photons[radius > 28.5].sum() == pytest.approx(5.8e6, rel=0.06)
    assert photons[(radius >= 28.6) & (radius < 31.2)].mean() == pytest.approx(576, rel=0.06)
    assert photons[488, -1] == pytest.approx(0.004, rel=0.2)


def test_hollow_particles_in_water_give_the_expected_photons():
    edges = np.arange(29, 1500)  # rings of an array of 2999 px, without its corners
    photons = experiment("nv-lp").exposure_s * signal_per_s(edges * PIXEL_M, 2.08, experiment("nv-lp"))
    assert (2 * np.pi * edges * photons).sum() == pytest.approx(3.6e6, rel=0.02)


def test_equation_one_by_hand():
    what = experiment("au-sio2")
    per_area = 1e9 / (6e-6 * 18e-6)
    solid_angle = (75e-6 / 2.08) ** 2
    forward = per_area * solid_angle * 2.8179403e-15**2 * what.model.electrons**2
    assert signal_per_s(np.zeros(1), 2.08, what, 1.0)[0] == pytest.approx(forward, rel=1e-6)
    two, one = (signal_per_s(np.full(1, 3e-3), 2.08, what, number)[0] for number in (2.0, 1.0))
    assert two == pytest.approx(2 * one)


@pytest.fixture(scope="module", params=["au-sio2", "nv-lp"])
def one_megapixel(request):
    return GEOMETRIES["eig1m"], experiment(request.param), expected(GEOMETRIES["eig1m"], experiment(request.param))


def test_empty_membrane_scatters_its_share(one_megapixel):
    geometry, _, maps = one_megapixel
    seen = (pixels(geometry.name).mask == 0) & ~maps.stop
    background, sample = maps.background[seen].sum(dtype=float), maps.sample[seen].sum(dtype=float)
    assert background / (background + sample) == pytest.approx(BACKGROUND_RATIO, abs=1e-4)
    assert 0.40 <= BACKGROUND_RATIO <= 0.50


@pytest.mark.parametrize("centre", ["true", "header"])
def test_ring_beside_the_stop_is_clear_and_flat(one_megapixel, centre):
    geometry, what, maps = one_megapixel
    rows = np.arange(geometry.shape[0])[:, None] - getattr(geometry, f"{centre}_row")
    cols = np.arange(geometry.shape[1])[None, :] - getattr(geometry, f"{centre}_col")
    radius = np.hypot(rows, cols)
    ring = (radius >= 28.6) & (radius < 31.2) & (pixels(geometry.name).mask == 0)
    assert not maps.stop[ring].any()
    for light in (maps.sample + maps.background, maps.background):
        mean = what.exposure_s * light[ring].astype(float)
        # chi^2 / dof of a frame is 1 for noise plus what the pattern's own slope adds
        assert 1.0 + mean.var() / mean.mean() < 1.27


def test_shadow_is_the_size_of_the_stop(one_megapixel):
    _, _, maps = one_megapixel
    assert 2 * np.sqrt(maps.stop.sum() / np.pi) == pytest.approx(57, abs=1)


def test_full_streak_is_far_above_the_cut(one_megapixel):
    _, what, maps = one_megapixel
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    line = maps.streak_per_s * np.exp(-0.5 * (29.9 * np.sin(angle) / STREAK_SIGMA_PX) ** 2)
    flat = float((maps.sample + maps.background)[488 - 30, 515])
    assert what.exposure_s * line.var() / flat > 50
