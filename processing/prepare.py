"""From a summed pattern to the amplitudes a reconstruction is given (paper section 2.2, science.md 3).

Centre by Friedel symmetry, background by the ratio of frames, missing pixels patched by their partners, binning over
valid pixels, correction for the bend inside a bin, central speckle removed, square root.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from processing.background import Background, scaled_background
from processing.binning import UNBENT_NOISE, binned, unbent
from processing.center import CenterNotFoundError, find_center
from processing.geometry import Geometry
from processing.object_size import estimate_diameter_m
from processing.prepared import CannotPrepareError, Prepared, PrepareSettings, SummedPattern
from processing.sampling import LEAST_BINS, array_size
from processing.speckle import bin_radius, central_speckle
from processing.symmetrise import Weighted, centred, friedel_patched, measured

_CENTER_PX = 420  # about the centre are always looked at, to find it
_MARGIN_PX = 60  # that the found centre may lie off the given one
_OTHER_WIDTH, _COARSE_SPECKLE_BINS = 1.5, 3.5  # when the object, once seen, asks for another array
__all__ = ["CannotPrepareError", "PrepareSettings", "Prepared", "SummedPattern", "prepare"]


def prepare(
    pattern: SummedPattern,
    valid: NDArray[np.bool_],
    geometry: Geometry,
    settings: PrepareSettings | None = None,
    *,
    background: SummedPattern | None = None,
) -> Prepared:
    """Amplitudes of one particle from the summed pattern of an ensemble.

    Parameters
    ----------
    pattern : SummedPattern
        Sum of the accepted frames.
    valid : ndarray of bool, shape (rows, cols)
        The static mask, True where a pixel carries data.
    geometry : Geometry
        Detector and a first guess of the centre.
    settings : PrepareSettings, optional
        How; the paper's way by default.
    background : SummedPattern, optional
        Sum of the background frames.

    Returns
    -------
    Prepared
        Amplitudes, mask, centre and pixel.

    Raises
    ------
    CannotPrepareError
        If there are no frames or no counts, the shapes differ, the centre is off the detector, a width or binning is
        impossible, or nothing is left after preparing.
    """
    settings = settings or PrepareSettings()
    _refuse_impossible(pattern, valid, geometry, background)
    window, origin = _window(geometry, valid.shape, settings)
    near = geometry.at((geometry.center[0] - origin[0], geometry.center[1] - origin[1]))
    prepared = _prepare_part(
        pattern.part(window),
        np.asarray(valid[window], dtype=bool),
        near,
        settings,
        background=None if background is None else background.part(window),
        whole=(origin, (valid.shape[0], valid.shape[1])),
    )
    seen = None
    if settings.width_px is None and settings.object_diameter_m is None:
        seen = estimate_diameter_m(prepared)
    if seen is None or not _asks_for_other_array(prepared, seen, geometry, valid.shape, settings):
        return prepared
    return prepare(pattern, valid, geometry, replace(settings, object_diameter_m=seen), background=background)


def _asks_for_other_array(
    prepared: Prepared, diameter_m: float, geometry: Geometry, shape: tuple[int, ...], settings: PrepareSettings
) -> bool:
    """Whether an object of this diameter is far from what the automatic width and reduction fit."""
    if prepared.speckle_bins(diameter_m) < _COARSE_SPECKLE_BINS:
        return True
    try:
        bin_px, bins = array_size(geometry.at(prepared.center), shape, replace(settings, object_diameter_m=diameter_m))
    except CannotPrepareError:
        return False
    used = prepared.bin_px * prepared.amplitude.shape[0]
    return not 1.0 / _OTHER_WIDTH < bin_px * bins / used < _OTHER_WIDTH


def _window(
    geometry: Geometry, shape: tuple[int, ...], settings: PrepareSettings
) -> tuple[tuple[slice, slice], tuple[int, int]]:
    """Part of the detector that is needed, and its first row and column: 16M pixels would fill gigabytes."""
    bin_px, bins = array_size(geometry, shape, settings)
    half = max(bin_px * bins // 2, _CENTER_PX) + _MARGIN_PX
    rows, cols = (
        slice(max(0, round(at) - half), min(size, round(at) + half + 1))
        for at, size in zip(geometry.center, shape, strict=True)
    )
    return (rows, cols), (rows.start, cols.start)


def _prepare_part(
    pattern: SummedPattern,
    valid: NDArray[np.bool_],
    geometry: Geometry,
    settings: PrepareSettings,
    *,
    background: SummedPattern | None,
    whole: tuple[tuple[int, int], tuple[int, int]],
) -> Prepared:
    """Amplitudes from the part around the beam; `whole` is its first row and column and the detector's shape."""
    counts, good = pattern.complete(valid)
    if not np.any(counts[good] > 0):
        raise CannotPrepareError("summed pattern must hold counts on valid pixels, got none; sum more frames")
    warnings: list[str] = []
    geometry, center_sigma = _centre(counts, good, geometry, settings, warnings)
    origin, shape = whole
    center = (geometry.center[0] + origin[0], geometry.center[1] + origin[1])
    bin_px, bins = array_size(geometry.at(center), shape, settings)
    dark, known = _background(pattern.frames, background, valid, geometry, settings, warnings)
    net = measured(counts, counts, good) if dark is None else _less(counts, good & known, dark)
    if settings.negative == "pixels":
        net = measured(net.counts, net.variance, (net.weight > 0) & (net.counts >= 0))
    small = binned(friedel_patched(centred(net, geometry.center, bin_px * bins)), bin_px)
    intensity = unbent(small.mean, small.weight > 0)
    shared = np.zeros(intensity.shape)
    if dark is not None and dark.profile_sigma is not None:
        shared = dark.profile_sigma(bin_px * bin_radius(bins))
    sigma = np.hypot(UNBENT_NOISE * np.sqrt(small.mean_variance), shared)
    keep = (small.weight > 0) & (intensity > 0) & ~central_speckle(bins, bin_px, settings.central_px)
    if np.count_nonzero(keep) < LEAST_BINS:
        raise CannotPrepareError(
            f"bins with a positive intensity beyond the removed centre must be at least {LEAST_BINS}, got "
            f"{np.count_nonzero(keep)}; sum more frames, or check mask, centre and background"
        )
    return Prepared(
        amplitude=np.sqrt(np.where(keep, intensity, 0.0)).astype(np.float32),
        sigma=np.where(keep, sigma, 0.0).astype(np.float32),
        shared_sigma=np.where(keep, shared, 0.0).astype(np.float32),
        valid=keep,
        pixel_size_m=geometry.image_pixel_m(bin_px * bins),
        bin_px=bin_px,
        center=center,
        center_sigma_px=center_sigma,
        central_px=settings.central_px,
        frames=pattern.frames,
        background_frames=background.frames if background is not None and dark is not None else 0,
        warnings=tuple(warnings),
    )


def _less(counts: NDArray[np.float64], good: NDArray[np.bool_], dark: Background) -> Weighted:
    """Sum without its background."""
    return measured(counts - dark.expected, counts + dark.variance, good)


def _refuse_impossible(
    pattern: SummedPattern, valid: NDArray[np.bool_], geometry: Geometry, background: SummedPattern | None
) -> None:
    """Raise when the arrays do not fit or there is nothing to prepare."""
    for what, data in (("summed pattern", pattern), ("background", background)):
        if data is not None and data.counts.shape != valid.shape:
            raise CannotPrepareError(
                f"{what} must have the mask's shape {valid.shape}, got {data.counts.shape}; use sums of one detector"
            )
    if pattern.frames < 1:
        raise CannotPrepareError("summed pattern must hold at least 1 frame, got 0; wait for accepted frames")
    if not all(0 <= at < size for at, size in zip(geometry.center, valid.shape, strict=True)):
        raise CannotPrepareError(
            f"beam centre must lie on the detector of {valid.shape} px, got {geometry.center}; "
            "correct the beam centre in the settings"
        )


def _centre(
    counts: NDArray[np.float64],
    good: NDArray[np.bool_],
    geometry: Geometry,
    settings: PrepareSettings,
    warnings: list[str],
) -> tuple[Geometry, float | None]:
    """Geometry with the centre found, or the given one with a warning."""
    if not settings.find_center:
        return geometry, None
    try:
        found = find_center(counts, good, geometry.center, reach_px=settings.center_reach_px)
    except CenterNotFoundError as error:
        warnings.append(f"centre not found, the given one is used: {error}")
        return geometry, None
    if found.sigma_px > 0.25:
        warnings.append(f"centre uncertain by {found.sigma_px:.2f} px; sum more frames")
    return geometry.at((found.row, found.col)), found.sigma_px


def _background(
    frames: int,
    background: SummedPattern | None,
    valid: NDArray[np.bool_],
    geometry: Geometry,
    settings: PrepareSettings,
    warnings: list[str],
) -> tuple[Background | None, NDArray[np.bool_]]:
    """What to subtract from the sum, and where it is known."""
    shape = (valid.shape[0], valid.shape[1])
    everywhere = np.ones(shape, dtype=bool)
    if settings.background == "none":
        return None, everywhere
    if background is None or background.frames < 1 or not np.asarray(background.counts).any():
        warnings.append("no background frames: air and membrane are still in the amplitudes")
        return None, everywhere
    dark, known = background.complete(valid)
    found = scaled_background(
        dark, known, geometry.radius_px(shape), ratio=frames / background.frames, mode=settings.background
    )
    return found, known if settings.background == "raw" else everywhere
