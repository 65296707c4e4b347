"""Poisson draws: the right distribution, from a counter, and sums that are exact."""

import numpy as np
import pytest
from scipy import stats

from sim import poisson


def flat(mean, key, shape=(400, 500), codes=None, *, stop_in=True):
    counts = np.zeros(shape, np.uint32)
    nothing = np.zeros(shape, np.float32)
    codes = np.zeros(shape, np.uint8) if codes is None else codes
    poisson.add_scattering(counts, codes, nothing, nothing, key, 0.0, 0.0, mean, stop_in, 0, 0)
    return counts


@pytest.mark.parametrize("mean", [0.002, 0.4, 3.0, 9.9, 10.1, 60.0, 900.0])
def test_counts_follow_poisson(mean):
    counts = flat(mean, poisson.frame_key(1, int(1000 * mean)))
    values = np.arange(stats.poisson.ppf(1e-4, mean), stats.poisson.ppf(1 - 1e-4, mean) + 1)
    edges = np.concatenate([[-0.5], values + 0.5, [np.inf]])
    expected = counts.size * np.diff(np.concatenate([[0.0], stats.poisson.cdf(values, mean), [1.0]]))
    found, _ = np.histogram(counts, edges)
    enough = expected > 5
    chi2 = ((found - expected)[enough] ** 2 / expected[enough]).sum()
    assert stats.chi2.sf(chi2, enough.sum() - 1) > 1e-4
    assert abs(counts.mean() - mean) < 5 * np.sqrt(mean / counts.size)


def test_neighbours_and_frames_are_independent():
    one, other = (flat(5.0, poisson.frame_key(7, 1, frame)).astype(float) for frame in (0, 1))
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(one[:, 1:].ravel(), one[:, :-1].ravel())[0, 1]) < 0.01


def test_same_key_same_frame_and_every_part_of_the_key_counts():
    assert np.array_equal(flat(5.0, poisson.frame_key(1, 2, 3)), flat(5.0, poisson.frame_key(1, 2, 3)))
    keys = {poisson.frame_key(*parts) for parts in ((1, 2, 3), (1, 3, 2), (2, 2, 3), (1, 2, 4), (1, 2), (1, 2, 3, 0))}
    assert len(keys) == 6


def test_masked_pixels_and_those_behind_the_stop_count_nothing():
    codes = np.zeros((40, 50), np.uint8)
    codes[0], codes[1], codes[2] = poisson.MASKED_MAX, poisson.MASKED_SECOND, poisson.SHADOW
    lit = np.full((40, 50), 30.0, np.float32)
    for stop_in, shadow_is_lit in ((True, False), (False, True)):
        counts = np.zeros((40, 50), np.uint32)
        poisson.add_scattering(counts, codes, lit, lit, poisson.frame_key(3), 1.0, 0.0, 0.0, stop_in, 0, 0)
        assert not counts[:2].any()
        assert bool(counts[2].any()) is shadow_is_lit
        assert counts[3:].min() > 0


def test_streak_is_a_line_through_the_centre_that_falls_with_the_square_of_the_radius():
    counts = np.zeros((401, 401), np.uint32)
    codes = np.zeros_like(counts, np.uint8)
    poisson.add_streak(counts, codes, poisson.frame_key(1), 200.0, 200.0, np.deg2rad(30.0), 1e6, 1.5, 28.0, True)
    rows, cols = np.nonzero(counts > 100)
    angle = np.rad2deg(np.arctan2(rows - 200.0, cols - 200.0)) % 180.0
    far = np.hypot(rows - 200.0, cols - 200.0) > 60
    assert np.abs(angle[far] - 30.0).max() < 8.0
    near, twice = (counts[round(200 + r * 0.5), round(200 + r * np.sqrt(0.75))] for r in (60, 120))
    assert near / twice == pytest.approx(4.0, rel=0.3)


def test_spot_holds_all_its_photons():
    counts = np.zeros((101, 101), np.uint32)
    poisson.add_spot(counts, np.zeros_like(counts, np.uint8), poisson.frame_key(1), 50.3, 49.6, 1.2, 1e6)
    assert counts.sum() == pytest.approx(1e6, abs=6e3)
    rows = (counts.sum(1) * np.arange(101)).sum() / counts.sum()
    assert rows == pytest.approx(50.3, abs=0.01)


def test_readout_flags_masked_and_saturated_pixels():
    counts = np.array([[5, 5, 5, 70000]], np.uint32)
    codes = np.array([[0, poisson.MASKED_MAX, poisson.MASKED_SECOND, 0]], np.uint8)
    out = np.empty((1, 4), np.uint16)
    poisson.read_out(counts, codes, out, 65535, 20000)
    assert out.tolist() == [[5, 65535, 65534, 65535]]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_sum_is_exact_and_can_be_undone(dtype):
    rng = np.random.default_rng(1)
    top = int(np.iinfo(dtype).max)
    codes = rng.integers(0, 4, (90, 113)).astype(np.uint8)
    frames = rng.integers(0, top + 1, (5, 90, 113)).astype(dtype)
    frames[:, ::7, ::5] = top - rng.integers(0, 3, frames[:, ::7, ::5].shape).astype(dtype)
    total, excluded = np.zeros(codes.shape, np.uint64), np.zeros(codes.shape, np.uint32)
    for frame in frames:
        poisson.add_to_sum(total, excluded, frame, codes, top - 1, 1)
    poisson.add_to_sum(total, excluded, frames[2], codes, top - 1, -1)
    kept = np.delete(frames, 2, axis=0)
    active, counted = codes < poisson.MASKED_MAX, kept < top - 1
    assert np.array_equal(total, np.where(counted, kept, 0).sum(0, dtype=np.uint64) * active)
    assert np.array_equal(excluded, (~counted & active).sum(0))
