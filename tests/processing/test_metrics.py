"""Scores, equation (2), profiles."""

import numpy as np
import pytest

from processing.align import fourier_shifted
from processing.geometry import q_of_array_per_m
from processing.metrics import amplitude_error, compare_to_model, line_profile, radial_mean, shell_width_m
from processing.models import hollow_shell, sample

PIXEL = 3.998e-9


def band_limited(model, n, pixel):
    """Image from perfect amplitudes and phases up to the array's edge."""
    amplitude = model.amplitude(q_of_array_per_m(n, pixel))
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(amplitude)).real)


def test_truth_scores_perfectly_wherever_it_lies_and_however_it_is_scaled():
    truth = sample("au-sio2").projection(PIXEL, 65, 16)
    for image in (truth, 7.3 * truth, fourier_shifted(truth, (5.4, -3.7)), truth[::-1, ::-1]):
        scores = compare_to_model(image, PIXEL, sample("au-sio2"))
        assert scores.ssim > 0.9999
        assert scores.error < 2e-3
    assert scores.crop_px == 2 * 11 + 1
    assert compare_to_model(2.0 * truth, PIXEL, sample("au-sio2")).scale == pytest.approx(0.5 / truth.max(), rel=1e-3)


def test_perfect_phases_score_as_science_says():
    scores = compare_to_model(band_limited(sample("au-sio2"), 65, PIXEL), PIXEL, sample("au-sio2"))
    assert scores.error == pytest.approx(0.043, abs=0.003)
    assert scores.ssim == pytest.approx(0.9975, abs=5e-4)


def test_nonsense_scores_badly_on_the_crop():
    rng = np.random.default_rng(0)
    blob = np.zeros((65, 65))
    blob[20:45, 20:45] = rng.random((25, 25))
    scores = compare_to_model(blob, PIXEL, sample("au-sio2"))
    assert scores.ssim < 0.5
    assert scores.error > 0.4


def test_error_and_scale_are_the_stated_sums():
    truth = sample("nv-lp").projection(1.3e-9, 65, 16)
    image = hollow_shell(outer_diameter_m=19e-9, thickness_m=3.4e-9).projection(1.3e-9, 65, 16)
    scores = compare_to_model(image, 1.3e-9, sample("nv-lp"))
    half = int(np.ceil(0.75 * 19.0 / 1.3))
    t = (truth / truth.max())[32 - half : 33 + half, 32 - half : 33 + half]
    a = image[32 - half : 33 + half, 32 - half : 33 + half]
    scale = (a * t).sum() / (a * a).sum()
    assert scores.crop_px == len(t)
    assert scores.scale == pytest.approx(scale, rel=1e-3)
    assert scores.error == pytest.approx(np.abs(scale * a - t).sum() / t.sum(), rel=2e-2)
    assert scores.error > 0.05


def test_images_that_cannot_be_compared_are_refused_in_words():
    model = sample("au-sio2")
    with pytest.raises(ValueError, match="at least 23 px wide, got \\(9, 9\\)"):
        compare_to_model(np.ones((9, 9)), PIXEL, model)
    with pytest.raises(ValueError, match="must be finite and not all zero"):
        compare_to_model(np.zeros((65, 65)), PIXEL, model)


def test_equation_two_with_free_and_absolute_scale():
    rng = np.random.default_rng(0)
    model = rng.random((20, 20))
    measured = 3.0 * model
    measured[0, 0] += 5.0
    valid = np.ones((20, 20), dtype=bool)
    valid[5:8] = False
    measured[5:8] = 1e9
    found = amplitude_error(measured, model, valid, absolute_scale=2.0)
    f, g = measured[valid], model[valid]
    assert found.scale == pytest.approx((f @ g) / (g @ g))
    assert found.absolute == pytest.approx(np.abs(f - 2 * g).sum() / f.sum())
    assert found.free < found.absolute
    with pytest.raises(ValueError, match="got 0 valid pixels"):
        amplitude_error(measured, model, ~np.ones_like(valid))


def test_profiles_go_through_the_middle():
    image = np.arange(49.0).reshape(7, 7)
    np.testing.assert_array_equal(line_profile(image, axis=0), image[:, 3])
    np.testing.assert_array_equal(line_profile(image, axis=1), image[3])
    radius = np.hypot(*(np.mgrid[:41, :41] - 20))
    np.testing.assert_allclose(radial_mean(10.0 - 0.3 * radius)[1:15], 10.0 - 0.3 * np.arange(1, 15), atol=0.05)


@pytest.mark.parametrize(("outer_nm", "thickness_nm"), [(19.0, 2.6), (19.0, 3.4), (17.5, 2.37)])
def test_shell_width_follows_the_shell(outer_nm, thickness_nm):
    model = hollow_shell(outer_diameter_m=outer_nm * 1e-9, thickness_m=thickness_nm * 1e-9)
    fine = shell_width_m(model.projection(0.2e-9, 151, 4), 0.2e-9)
    assert fine * 1e9 == pytest.approx(thickness_nm, abs=0.6)
    coarse = shell_width_m(fourier_shifted(band_limited(model, 65, 1.3e-9), (9.3, -4.1)), 1.3e-9)
    truth = shell_width_m(model.projection(1.3e-9, 65, 16), 1.3e-9)
    assert coarse == pytest.approx(truth, abs=0.4e-9)


def test_thicker_shells_read_wider():
    widths = [
        shell_width_m(hollow_shell(outer_diameter_m=19e-9, thickness_m=t).projection(0.5e-9, 75, 8), 0.5e-9)
        for t in (2.0e-9, 2.6e-9, 3.4e-9)
    ]
    assert widths == sorted(widths)
    assert widths[2] - widths[0] > 0.5e-9


def test_a_solid_particle_has_no_shell():
    with pytest.raises(ValueError, match="must show a ring, got its maximum in the middle"):
        shell_width_m(sample("au-sio2").projection(PIXEL, 65, 8), PIXEL)
