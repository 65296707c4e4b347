"""Two halves of a sum tell its signal to noise, how far it reaches, and how many frames it would take further."""

from dataclasses import replace

import numpy as np
import pytest

from processing.geometry import Geometry
from processing.prepare import PrepareSettings, prepare
from processing.prepared import SummedPattern
from processing.signal_to_noise import signal_to_noise

SIDE, BIN = 195, 5
CENTER = (97.0, 97.0)
ROWS, COLS = np.indices((SIDE, SIDE))
RADIUS = np.hypot(ROWS - CENTER[0], COLS - CENTER[1])
GEOMETRY = Geometry(wavelength_m=1.4e-10, distance_m=2.0, pixel_m=75e-6, center=CENTER)
SIGNAL = 0.1 * np.exp(-RADIUS / 15)  # counts a frame in a pixel
HALO = np.full((SIDE, SIDE), 0.01)


def drawn(frames, seed, signal=SIGNAL, halo=HALO):
    """Even frames, and all."""
    rng = np.random.default_rng(seed)
    even, odd = (rng.poisson(count * (signal + halo)) for count in (frames - frames // 2, frames // 2))
    return (
        SummedPattern(counts=even.astype(np.uint64), frames=frames - frames // 2),
        SummedPattern(counts=(even + odd).astype(np.uint64), frames=frames),
    )


def found(frames, seed=0, **changes):
    even, whole = drawn(frames, seed, **changes)
    valid = np.ones((SIDE, SIDE), bool)
    settings = PrepareSettings(width_px=SIDE, binning=BIN, reduction=1, central_px=30.0, background="none")
    prepared = prepare(whole, valid, GEOMETRY, replace(settings, find_center=False))
    return signal_to_noise(even, whole, valid, prepared, CENTER, dark=frames * HALO, speckle_bins=2.0)


def test_it_is_that_of_photon_noise():
    made = found(200)
    for ring in (5, 7, 9):
        signal = 200 * BIN**2 * 0.1 * np.exp(-ring * BIN / 15)
        expected = signal / np.sqrt(signal + 200 * BIN**2 * 0.01)
        assert made.snr[ring] == pytest.approx(expected, rel=0.2)
    assert np.isnan(made.snr[0])
    assert np.nanmax(made.correlation) < 1


def test_it_grows_with_the_root_of_the_frames():
    few, many = found(100), found(1600)
    assert many.snr[8] / few.snr[8] == pytest.approx(4, rel=0.2)
    assert many.resolution_m < few.resolution_m


@pytest.mark.parametrize("seed", range(3))
def test_the_forecast_comes_true(seed):
    now = found(100, seed)
    wanted = now.resolution_m / 1.1
    needed = now.frames_needed(wanted)
    assert 110 < needed < 500
    assert found(needed, seed + 10).resolution_m == pytest.approx(wanted, rel=0.15)
    assert now.frames_needed(now.resolution_m * 1.3) < 100


def test_where_there_is_no_telling_it_says_none():
    now = found(100)
    assert now.frames_needed(np.pi / now.q_per_m.max() / 2) is None  # beyond the array
    assert now.frames_needed(1.01 * np.pi / now.q_per_m[np.isfinite(now.snr)].max()) is None  # nothing but noise there


def test_a_sum_without_a_particle_has_no_signal():
    made = found(400, signal=np.zeros((SIDE, SIDE)))
    assert np.nanmax(made.snr) < 1
    assert made.frames_needed(np.pi / made.q_per_m[12]) is None


def test_pixels_that_were_ever_excluded_are_left_out():
    even, whole = drawn(200, 1)
    counts = whole.counts.copy()
    counts[60:70, 60:70] += np.uint64(100_000)
    excluded = np.zeros(counts.shape, np.uint32)
    excluded[60:70, 60:70] = 1
    valid = np.ones((SIDE, SIDE), bool)
    settings = PrepareSettings(
        width_px=SIDE, binning=BIN, reduction=1, central_px=30.0, background="none", find_center=False
    )
    prepared = prepare(whole, valid, GEOMETRY, settings)
    hot = SummedPattern(counts=counts, frames=200, excluded=excluded)
    plain, masked = (signal_to_noise(even, one, valid, prepared, CENTER, speckle_bins=2.0) for one in (whole, hot))
    np.testing.assert_allclose(masked.correlation[4:12], plain.correlation[4:12], rtol=0.02)


def test_an_empty_half_is_refused():
    even, whole = drawn(10, 0)
    with pytest.raises(ValueError, match="both halves of a sum must hold at least 1 frame, got 10 and 0"):
        signal_to_noise(replace(even, frames=10), whole, np.ones((SIDE, SIDE), bool), None, CENTER)
