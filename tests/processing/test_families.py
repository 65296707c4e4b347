"""Families of solutions and the transfer function, on images made for the purpose."""

import numpy as np
import pytest

from processing.align import aligned, fourier_shifted
from processing.families import best_mean, find_families, group_agreement
from processing.project import disc
from processing.transfer import CUTOFF, transfer_function

N = 33
WHERE = ~disc(N, 2.5)


def blobs(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:N, :N] - N // 2
    image = np.zeros((N, N))
    for _ in range(6):
        at = rng.uniform(-5, 5, 2)
        image += rng.uniform(0.3, 1) * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 3)
    return image


def copies(image, count, seed, noise=0.01):
    """The same image moved, inverted and noisy."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        moved = fourier_shifted(image, tuple(rng.uniform(-3, 3, 2)))
        moved = moved[::-1, ::-1] if k % 2 else moved
        out.append(moved + noise * rng.normal(size=image.shape))
    return np.array(out, dtype=np.float32)


@pytest.fixture(scope="module")
def mixed():
    """Six of one image with small R, nine of another, one of its own with the smallest R."""
    images = np.concatenate([copies(blobs(1), 6, 1), copies(blobs(2), 9, 2), copies(blobs(3), 1, 3)])
    r_factors = np.concatenate([np.linspace(0.02, 0.03, 6), np.linspace(0.04, 0.05, 9), [0.015]])
    order = np.random.default_rng(4).permutation(16)
    return images[order], r_factors[order], order


def test_families_are_found_and_the_trusted_one_comes_first(mixed):
    images, r_factors, order = mixed
    families = find_families(images, r_factors, WHERE)
    assert [len(f.members) for f in families] == [6, 9, 1]
    assert sorted(order[list(families[0].members)]) == list(range(6))
    assert sorted(order[list(families[1].members)]) == list(range(6, 15))
    assert list(r_factors[list(families[0].members)]) == sorted(r_factors[list(families[0].members)])
    assert families[0].r_factor == pytest.approx(0.022, abs=0.001)


def test_mean_of_a_family_is_its_image_with_less_noise(mixed):
    images, r_factors, _ = mixed
    family = find_families(images, r_factors, WHERE)[0]
    errors = [np.abs(aligned(best_mean(images, family, most), blobs(1)) - blobs(1)).mean() for most in (1, 6)]
    assert errors[1] < 0.6 * errors[0]


def test_halves_agree_on_one_image_and_not_on_two(mixed):
    images, r_factors, _ = mixed
    same = copies(blobs(1), 12, 5)
    assert group_agreement(same, np.linspace(0.02, 0.03, 12), WHERE, fraction=0.3) > 0.98
    split = np.empty((12, N, N), dtype=np.float32)
    split[::2], split[1::2] = copies(blobs(1), 6, 6), copies(blobs(2), 6, 7)
    assert group_agreement(split, np.linspace(0.02, 0.03, 12), WHERE, fraction=0.3) < 0.8
    assert group_agreement(images[:1], r_factors[:1], WHERE, fraction=0.3) == 0.0


def amplitude_of(image):
    return np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))).astype(np.float32)


def test_transfer_is_one_where_all_agree_and_cut_where_phases_differ():
    image = blobs(1) + 0.2 * np.random.default_rng(0).normal(size=(N, N)) * disc(N, 6)
    amplitude = amplitude_of(image)
    away = np.hypot(*(np.mgrid[:N, :N] - N // 2))
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    cut = 9.0
    images = []
    for seed in range(24):
        noise = np.fft.fftshift(np.fft.fft2(np.random.default_rng(seed).normal(size=(N, N))))
        phase = np.where(away < cut, 1.0, noise / np.abs(noise))
        images.append(np.fft.ifft2(np.fft.ifftshift(spectrum * phase)).real.astype(np.float32))
    curve = transfer_function(images, amplitude, WHERE, pixel_size_m=2e-9, speckle_bins=1.0)
    assert np.nanmin(curve.prtf[4:8]) > 0.95
    assert np.nanmax(curve.prtf[12:]) < CUTOFF
    assert np.isnan(curve.prtf[0])
    crossing = 2 * np.pi * cut / (N * 2e-9)
    assert curve.resolution_m == pytest.approx(np.pi / crossing, rel=0.1)
    assert not curve.limited_by_array
    whole = transfer_function([image.astype(np.float32)] * 3, amplitude, WHERE, pixel_size_m=2e-9, speckle_bins=1.0)
    assert whole.limited_by_array
    assert whole.resolution_m == pytest.approx(np.pi / whole.q_per_m[-1])
    np.testing.assert_allclose(whole.prtf[np.isfinite(whole.prtf)], 1.0, atol=1e-3)


def test_transfer_without_data_is_nan():
    nothing = np.zeros((N, N), dtype=bool)
    image = blobs(1).astype(np.float32)
    curve = transfer_function([image], amplitude_of(image), nothing, pixel_size_m=2e-9, speckle_bins=1.0)
    assert np.isnan(curve.resolution_m)
