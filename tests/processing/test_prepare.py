"""From a sum to amplitudes."""

from dataclasses import replace

import numpy as np
import pytest

from processing.geometry import q_of_array_per_m
from processing.prepare import CannotPrepareError, PrepareSettings, SummedPattern, prepare
from processing.sampling import array_size


def amplitude_error(prepared, model):
    """Eq. (2) with free scale against the true form factor."""
    q = q_of_array_per_m(len(prepared.valid), prepared.pixel_size_m)
    f, g = prepared.amplitude[prepared.valid].astype(float), np.abs(model.amplitude(q))[prepared.valid]
    scale = (f * g).sum() / (g * g).sum()
    return np.abs(f - scale * g).sum() / f.sum()


def prepared_of(s, **settings):
    return prepare(s.pattern, s.valid, s.geometry, PrepareSettings(**settings), background=s.background)


@pytest.mark.parametrize(("sample", "pixel_nm"), [("au-sio2", 4.00), ("nv-lp", 1.326)])
def test_amplitudes_are_the_form_factor(summed, sample, pixel_nm):
    s = summed(sample, 300, 0)
    prepared = prepared_of(s)
    assert prepared.amplitude.shape == (65, 65)
    assert prepared.amplitude.dtype == np.float32
    assert prepared.pixel_size_m * 1e9 == pytest.approx(pixel_nm, rel=2e-3)
    assert np.hypot(prepared.center[0] - s.center[0], prepared.center[1] - s.center[1]) < 0.02
    assert amplitude_error(prepared, s.model) < 0.025
    assert prepared.frames == 300
    assert prepared.background_frames == 25
    assert prepared.warnings == ()
    np.testing.assert_array_equal(prepared.amplitude, prepared.amplitude[::-1, ::-1])
    np.testing.assert_array_equal(prepared.amplitude > 0, prepared.valid)
    assert not prepared.valid[32, 32]
    assert prepared.central_speckles(s.model.outer_diameter_m) == pytest.approx(2.1, abs=0.15)


def test_the_stated_noise_is_the_noise(summed):
    draws = [prepared_of(summed("au-sio2", 50, seed), find_center=False) for seed in range(8)]
    always = np.all([d.valid for d in draws], axis=0)
    scatter = np.std([d.amplitude.astype(float) ** 2 for d in draws], axis=0, ddof=1)[always]
    stated = np.mean([d.sigma for d in draws], axis=0)[always]
    assert np.median(scatter / stated) == pytest.approx(0.95, abs=0.12)  # 0.95: median of eight draws' scatter


def test_reduced_and_unreduced_arrays_have_the_same_pixel_and_amplitudes(summed):
    s = summed("au-sio2", 300, 1)
    small, large = prepared_of(s), prepared_of(s, reduction=1)
    assert large.amplitude.shape == (325, 325)
    assert large.pixel_size_m == small.pixel_size_m
    bright = small.valid & (small.amplitude**2 > 30 * small.sigma)
    middle = large.amplitude[2::5, 2::5]
    np.testing.assert_allclose(middle[bright], small.amplitude[bright], rtol=0.25)
    assert np.median(np.abs(middle[bright] / small.amplitude[bright] - 1)) < 0.02


def test_the_papers_order_lifts_the_far_part(summed):
    s = summed("au-sio2", 30, 2)
    bins, pixels = prepared_of(s), prepared_of(s, negative="pixels")
    assert amplitude_error(bins, s.model) < 0.7 * amplitude_error(pixels, s.model)


def test_azimuthal_background_leaves_less_missing_than_raw(summed):
    s = summed("au-sio2", 300, 3)
    smooth, raw = prepared_of(s), prepared_of(s, background="raw")
    assert smooth.valid.mean() > raw.valid.mean()
    assert amplitude_error(smooth, s.model) < amplitude_error(raw, s.model)


def test_excluded_counts_are_made_up_for(summed):
    s = summed("au-sio2", 100, 4)
    excluded = np.zeros(s.valid.shape, dtype=np.uint32)
    counts = s.pattern.counts.copy()
    excluded[:, ::3] = 30  # a third of the columns saturated in 30 of 100 frames and added nothing then
    counts[:, ::3] = np.rint(counts[:, ::3] * 0.7).astype(np.uint64)
    excluded[::50] = 80  # and some rows in most frames
    counts[::50] = 0
    held = replace(s, pattern=SummedPattern(counts=counts, frames=100, excluded=excluded))
    spoiled = replace(s, pattern=SummedPattern(counts=counts, frames=100))
    assert amplitude_error(prepared_of(held), s.model) < 1.2 * amplitude_error(prepared_of(s), s.model)
    assert amplitude_error(prepared_of(spoiled), s.model) > 2 * amplitude_error(prepared_of(s), s.model)


def test_without_background_frames_it_goes_on_and_says_so(summed):
    s = summed("au-sio2", 300, 5)
    empty = SummedPattern(counts=np.zeros(s.valid.shape, dtype=np.uint64), frames=0)
    for background in (None, empty):
        prepared = prepare(s.pattern, s.valid, s.geometry, background=background)
        assert prepared.background_frames == 0
        assert any("no background frames" in warning for warning in prepared.warnings)


def test_one_frame_is_enough_to_try(summed):
    s = summed("au-sio2", 1, 6, background_frames=1)
    prepared = prepared_of(s)
    assert amplitude_error(prepared, s.model) < 0.3


def test_an_array_wider_than_the_detector_is_patched_or_missing(summed):
    s = summed("au-sio2", 300, 7)
    wide = prepared_of(s, width_px=1035, reduction=5)
    assert wide.amplitude.shape == (69, 69)
    assert amplitude_error(wide, s.model) < 0.03
    cut = np.s_[:700, :]  # the beam is now 212 px from the lower edge
    near_edge = replace(
        s,
        pattern=SummedPattern(counts=s.pattern.counts[cut], frames=300),
        background=SummedPattern(counts=s.background.counts[cut], frames=25),
        valid=s.valid[cut],
    )
    patched = prepared_of(near_edge, width_px=975, reduction=5)
    assert amplitude_error(patched, s.model) < 0.03
    corner = np.s_[380:, 400:]  # 108 and 115 px: bins up there have no partner either
    near_corner = replace(
        near_edge,
        pattern=SummedPattern(counts=s.pattern.counts[corner], frames=300),
        background=None,
        valid=s.valid[corner],
        geometry=s.geometry.at((s.geometry.center[0] - 380, s.geometry.center[1] - 400)),
    )
    prepared = prepare(near_corner.pattern, near_corner.valid, near_corner.geometry, PrepareSettings(width_px=975))
    assert not prepared.valid[0, -1]
    assert prepared.valid[-1, -8:].any()


def test_a_pattern_without_a_centre_keeps_the_given_one_and_says_so(summed):
    s = summed("au-sio2", 100, 8)
    half = s.valid.copy()
    half[487:] = False
    prepared = prepare(s.pattern, half, s.geometry, PrepareSettings(), background=s.background)
    assert prepared.center == s.geometry.center
    assert prepared.center_sigma_px is None
    assert any("centre not found, the given one is used" in warning for warning in prepared.warnings)


def test_width_and_reduction_fit_the_object(summed):
    geometry, shape = summed("au-sio2", 1, 0).geometry, (1065, 1030)
    assert array_size(geometry, shape, PrepareSettings()) == (15, 65)
    assert array_size(geometry, shape, PrepareSettings(object_diameter_m=55e-9)) == (15, 65)
    assert array_size(geometry, shape, PrepareSettings(reduction=1)) == (3, 325)
    large = (4371, 4150)
    far = geometry.at((2125.0, 2024.0))
    bin_px, bins = array_size(far, large, PrepareSettings(object_diameter_m=19e-9))
    assert bin_px * bins == pytest.approx(2998, rel=0.03)
    assert array_size(far, large, PrepareSettings(width_px=2997, reduction=9)) == (27, 111)


def test_an_object_far_from_the_usual_gets_its_own_array(summed):
    from processing.models import core_shell

    big = core_shell(core_diameter_m=40e-9, outer_diameter_m=110e-9)
    s = summed("au-sio2", 300, 9, model=big)
    prepared = prepared_of(s)
    assert prepared.speckle_bins(110e-9) > 3.5


def test_what_cannot_be_prepared_is_refused_in_words(summed):
    s = summed("au-sio2", 1, 0)
    nothing = SummedPattern(counts=np.zeros(s.valid.shape, dtype=np.uint64), frames=0)
    with pytest.raises(CannotPrepareError, match="must hold at least 1 frame, got 0"):
        prepare(nothing, s.valid, s.geometry)
    with pytest.raises(CannotPrepareError, match="must hold counts on valid pixels, got none"):
        prepare(replace(nothing, frames=5), s.valid, s.geometry)
    with pytest.raises(CannotPrepareError, match="must hold counts on valid pixels, got none"):
        prepare(s.pattern, np.zeros_like(s.valid), s.geometry)
    with pytest.raises(CannotPrepareError, match="background must have the mask's shape"):
        prepare(s.pattern, s.valid, s.geometry, background=SummedPattern(counts=np.ones((4, 4)), frames=1))
    with pytest.raises(CannotPrepareError, match="beam centre must lie on the detector"):
        prepare(s.pattern, s.valid, s.geometry.at((5000.0, 10.0)))
    with pytest.raises(CannotPrepareError, match="width must be an odd multiple of 15 px"):
        prepare(s.pattern, s.valid, s.geometry, PrepareSettings(width_px=976))
    with pytest.raises(CannotPrepareError, match="binning and reduction must be odd and positive, got 2"):
        prepare(s.pattern, s.valid, s.geometry, PrepareSettings(binning=2))
    with pytest.raises(CannotPrepareError, match="must reach at least 112 px to every side"):
        prepare(s.pattern, s.valid, s.geometry.at((60.0, 500.0)))
    with pytest.raises(CannotPrepareError, match="bins with a positive intensity"):
        prepare(s.pattern, s.valid, s.geometry, PrepareSettings(central_px=3000.0))
