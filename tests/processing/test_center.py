"""Centre by Friedel symmetry on simulated sums."""

import numpy as np
import pytest

from processing.center import CenterNotFoundError, find_center


def error_px(found, true):
    return float(np.hypot(found.row - true[0], found.col - true[1]))


@pytest.mark.parametrize("sample", ["au-sio2", "nv-lp"])
@pytest.mark.parametrize(("frames", "limit_px"), [(300, 0.01), (10, 0.05), (1, 0.25)])
def test_centre_of_a_sum(summed, sample, frames, limit_px):
    for seed in range(2 if frames < 300 else 1):
        s = summed(sample, frames, seed)
        found = find_center(s.pattern.counts, s.valid, (s.center[0] + 2.3, s.center[1] - 1.9))
        assert error_px(found, s.center) < limit_px
        assert error_px(found, s.center) < 6 * found.sigma_px
        assert 0.85 * min(1.0, frames / 3) < found.chi2_per_pair < 1.15  # nearly empty pixels scatter less
        assert found.pairs > 100_000


def test_a_guess_beyond_the_reach_is_followed(summed):
    s = summed("au-sio2", 100, 3)
    found = find_center(s.pattern.counts, s.valid, (s.center[0] + 20.0, s.center[1] - 15.0))
    assert error_px(found, s.center) < 0.02


def test_the_answer_does_not_depend_on_the_guess(summed):
    s = summed("au-sio2", 100, 4)
    one = find_center(s.pattern.counts, s.valid, s.geometry.center)
    other = find_center(s.pattern.counts, s.valid, (s.center[0] + 5.5, s.center[1] + 4.2))
    assert np.hypot(one.row - other.row, one.col - other.col) < 0.02


def test_unknown_hot_pixels_do_not_pull(summed):
    s = summed("au-sio2", 300, 5)
    counts = s.pattern.counts.copy()
    rng = np.random.default_rng(0)
    rows, cols = rng.integers(350, 480, 30), rng.integers(530, 660, 30)  # all on one side
    counts[rows, cols] += np.uint64(10**7)
    assert error_px(find_center(counts, s.valid, s.geometry.center), s.center) < 0.02


def test_a_shift_of_the_pattern_shifts_the_centre(summed):
    s = summed("nv-lp", 100, 6)
    counts, valid = np.roll(s.pattern.counts, (-7, 11), (0, 1)), np.roll(s.valid, (-7, 11), (0, 1))
    one = find_center(s.pattern.counts, s.valid, s.geometry.center)
    other = find_center(counts, valid, (s.geometry.center[0] - 7, s.geometry.center[1] + 11))
    assert (other.row - one.row, other.col - one.col) == pytest.approx((-7, 11), abs=0.005)


def test_what_cannot_tell_its_centre_is_refused_in_words(summed):
    s = summed("au-sio2", 1, 7)
    with pytest.raises(CenterNotFoundError, match="must hold counts near the beam, got none"):
        find_center(np.zeros_like(s.pattern.counts), s.valid, s.geometry.center)
    with pytest.raises(CenterNotFoundError, match="must lie on the detector"):
        find_center(s.pattern.counts, s.valid, (-600.0, 500.0))
    half = s.valid.copy()
    half[470:, :] = False  # nothing has an opposite
    with pytest.raises(CenterNotFoundError, match="pairs of opposite valid pixels around"):
        find_center(s.pattern.counts, half, s.geometry.center)
