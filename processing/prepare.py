"""From a summed pattern to the amplitudes a reconstruction is given (paper section 2.2, science.md 3).

Centre by Friedel symmetry, background by the ratio of frames, missing pixels patched by their partners, binning over
valid pixels, correction for the bend inside a bin, central speckle removed, square root.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processing.background import BackgroundMode, scaled_background
from processing.binning import binned, unbent
from processing.center import CenterNotFoundError, find_center
from processing.geometry import Geometry, is_quick_width
from processing.symmetrise import Weighted, centred, friedel_patched, measured

_LEAST_SPECKLE_BINS = 4.5  # a speckle must stay at least so many bins wide when the array is reduced
_WIDEST_PX = 999  # of the array when nothing is known about the object
_PIXELS_ACROSS_OBJECT = 14.6  # image pixels over the object's diameter, as in the paper (3.99 of 55 nm, 1.3 of 19 nm)
_LEAST_BINS = 15  # fewer rows than this is no diffraction pattern


class CannotPrepareError(ValueError):
    """A sum from which no amplitudes can be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSettings:
    """How amplitudes are made from a sum.

    Attributes
    ----------
    width_px : int or None
        Detector pixels a side that are used, odd. None: as wide as the detector allows on every side of the beam,
        at most 999, or 14.6 speckles where the object's diameter is given.
    binning : int
        Odd binning of the paper (3).
    reduction : int or None
        Further odd binning (5 for 325 to 65, 9 for 999 to 111, 1 for none). None: the largest that leaves a speckle
        4.5 bins wide, and 5 where the object's diameter is not given.
    central_px : float
        Diameter of the removed central speckle in detector pixels about the true centre.
    background : {"azimuthal", "raw", "none"}
        Smoothed azimuthal mean of the background frames, pixel by pixel, or not subtracted.
    negative : {"bins", "pixels"}
        Whether values below zero after subtraction are missing once binned, or before. Before is the paper's order;
        it keeps only upward fluctuations where photons are few and so lifts the far part of the pattern.
    find_center : bool
        False uses the geometry's centre as it is.
    center_reach_px : float
        How far the centre may lie from the geometry's.
    object_diameter_m : float or None
        Expected diameter of the object in m; decides automatic width and reduction only.
    """

    width_px: int | None = None
    binning: int = 3
    reduction: int | None = None
    central_px: float = 151.0
    background: BackgroundMode | Literal["none"] = "azimuthal"
    negative: Literal["bins", "pixels"] = "bins"
    find_center: bool = True
    center_reach_px: float = 12.0
    object_diameter_m: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Amplitudes for a reconstruction.

    Attributes
    ----------
    amplitude : ndarray of float32, shape (n, n)
        Square root of the mean counts a detector pixel in the sum; zero frequency at ``[n // 2, n // 2]``, symmetric
        under inversion, 0 where missing.
    sigma : ndarray of float32, shape (n, n)
        Standard deviation of the *intensity* ``amplitude**2`` by photon noise; 0 where missing.
    valid : ndarray of bool, shape (n, n)
        False where the amplitude is missing and floats in the reconstruction.
    pixel_size_m : float
        Pixel of the reconstructed image in m.
    bin_px : int
        Detector pixels a side of one bin.
    center : tuple of float
        (row, col) of the beam on the detector in pixels.
    center_sigma_px : float or None
        Its standard uncertainty; None where it was given, not found.
    central_px : float
        Diameter of the removed centre in detector pixels.
    frames, background_frames : int
        Frames in the sum and in the background subtracted from it.
    warnings : tuple of str
        What the user should know about these amplitudes.
    """

    amplitude: NDArray[np.float32]
    sigma: NDArray[np.float32]
    valid: NDArray[np.bool_]
    pixel_size_m: float
    bin_px: int
    center: tuple[float, float]
    center_sigma_px: float | None
    central_px: float
    frames: int
    background_frames: int
    warnings: tuple[str, ...] = ()

    def speckle_bins(self, object_diameter_m: float) -> float:
        """Width in bins of a speckle of an object of this diameter in m."""
        return self.amplitude.shape[0] * self.pixel_size_m / object_diameter_m

    def central_speckles(self, object_diameter_m: float) -> float:
        """Diameter of the removed centre in speckles of an object of this diameter in m (paper: 2.1)."""
        return self.central_px / self.bin_px / self.speckle_bins(object_diameter_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class SummedPattern:
    """A sum of frames and what is needed to read it.

    Attributes
    ----------
    counts : ndarray of unsigned integer or float, shape (rows, cols)
        Sum of the frames.
    frames : int
        Frames in it.
    excluded : ndarray of unsigned integer, shape (rows, cols), or None
        In how many of the frames a pixel was saturated and added nothing.
    """

    counts: NDArray[np.generic]
    frames: int
    excluded: NDArray[np.generic] | None = None

    def complete(self, valid: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Counts as if no frame were excluded, and which pixels carry data in at least half of the frames."""
        counts = np.asarray(self.counts, dtype=np.float64)
        good = np.asarray(valid, dtype=bool) & np.isfinite(counts)
        if self.excluded is None or not self.excluded.any():
            return counts, good
        seen = self.frames - np.asarray(self.excluded, dtype=np.float64)
        good &= seen >= 0.5 * self.frames
        return counts * (self.frames / np.maximum(seen, 1.0)), good


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
    _refuse_impossible(pattern, valid, background)
    counts, good = pattern.complete(valid)
    if not np.any(counts[good] > 0):
        raise CannotPrepareError("summed pattern must hold counts on valid pixels, got none; sum more frames")
    warnings: list[str] = []
    geometry, center_sigma = _centre(counts, good, geometry, settings, warnings)
    total, bins = array_size(geometry, counts.shape, settings)
    net = _less_background(counts, good, pattern.frames, background, valid, geometry, settings, warnings)
    if settings.negative == "pixels":
        net = measured(net.counts, net.variance, (net.weight > 0) & (net.counts >= 0))
    patched = friedel_patched(centred(net, geometry.center, total * bins))
    small = binned(patched, total)
    intensity = unbent(small.mean, small.weight > 0)
    variance = np.divide(small.variance, small.weight**2, out=np.zeros_like(intensity), where=small.weight > 0)
    keep = (small.weight > 0) & (intensity > 0) & ~central_speckle(bins, total, settings.central_px)
    if np.count_nonzero(keep) < _LEAST_BINS:
        raise CannotPrepareError(
            f"bins with a positive intensity beyond the removed centre must be at least {_LEAST_BINS}, got "
            f"{np.count_nonzero(keep)}; sum more frames, or check mask, centre and background"
        )
    return Prepared(
        amplitude=np.sqrt(np.where(keep, intensity, 0.0)).astype(np.float32),
        sigma=np.sqrt(np.where(keep, variance, 0.0)).astype(np.float32),
        valid=keep,
        pixel_size_m=geometry.image_pixel_m(total * bins),
        bin_px=total,
        center=geometry.center,
        center_sigma_px=center_sigma,
        central_px=settings.central_px,
        frames=pattern.frames,
        background_frames=background.frames if background is not None and settings.background != "none" else 0,
        warnings=tuple(warnings),
    )


def central_speckle(bins: int, bin_px: int, diameter_px: float) -> NDArray[np.bool_]:
    """True where the middle of a bin lies inside the removed centre; shape (bins, bins)."""
    away = (np.arange(bins) - bins // 2) * float(bin_px)
    return np.hypot(away[:, None], away[None, :]) < diameter_px / 2.0


def array_size(geometry: Geometry, shape: tuple[int, ...], settings: PrepareSettings) -> tuple[int, int]:
    """Detector pixels a bin and bins a side.

    Parameters
    ----------
    geometry : Geometry
        Detector and beam centre.
    shape : tuple of int
        (rows, cols) of the detector.
    settings : PrepareSettings
        Width, binning and reduction, each given or automatic.

    Returns
    -------
    bin_px, bins : int
        Both odd; their product is the width used.

    Raises
    ------
    CannotPrepareError
        If the given width, binning and reduction do not fit each other, or the beam is too near the detector's edge.
    """
    speckle = None if settings.object_diameter_m is None else geometry.speckle_px(settings.object_diameter_m)
    reduction = settings.reduction
    if reduction is None:
        most = 5.0 if speckle is None else speckle / settings.binning / _LEAST_SPECKLE_BINS
        reduction = max(1, 2 * ((int(most) - 1) // 2) + 1)
    total = settings.binning * reduction
    if total < 1 or total % 2 == 0:
        raise CannotPrepareError(
            f"binning and reduction must be odd and positive, got {settings.binning} and {reduction}"
        )
    if settings.width_px is not None:
        if settings.width_px % total or not is_quick_width(settings.width_px // total):
            raise CannotPrepareError(
                f"width must be an odd multiple of {total} px without large prime factors, got {settings.width_px} px; "
                "975 and 999 are good ones"
            )
        return total, settings.width_px // total
    sides = [min(at, size - 1 - at) for at, size in zip(geometry.center, shape, strict=True)]
    widest = 2 * min(sides) + 1
    widest = min(widest, _WIDEST_PX if speckle is None else _PIXELS_ACROSS_OBJECT * speckle)
    bins = int(widest / total + 0.05)  # a few columns that stand over the edge are patched or missing
    while bins >= _LEAST_BINS and not is_quick_width(bins):
        bins -= 1
    if bins < _LEAST_BINS:
        raise CannotPrepareError(
            f"the detector must reach at least {_LEAST_BINS * total // 2} px to every side of the beam centre "
            f"{tuple(round(c, 1) for c in geometry.center)}, got {min(sides):.0f} px; give the width of the array"
        )
    return total, bins


def _refuse_impossible(pattern: SummedPattern, valid: NDArray[np.bool_], background: SummedPattern | None) -> None:
    """Raise when the arrays do not fit or there is nothing to prepare."""
    for what, data in (("summed pattern", pattern), ("background", background)):
        if data is not None and data.counts.shape != valid.shape:
            raise CannotPrepareError(
                f"{what} must have the mask's shape {valid.shape}, got {data.counts.shape}; use sums of one detector"
            )
    if pattern.frames < 1:
        raise CannotPrepareError("summed pattern must hold at least 1 frame, got 0; wait for accepted frames")


def _centre(
    counts: NDArray[np.float64],
    good: NDArray[np.bool_],
    geometry: Geometry,
    settings: PrepareSettings,
    warnings: list[str],
) -> tuple[Geometry, float | None]:
    """Geometry with the centre found, or the given one with a warning."""
    if not all(0 <= at < size for at, size in zip(geometry.center, counts.shape, strict=True)):
        raise CannotPrepareError(
            f"beam centre must lie on the detector of {counts.shape} px, got {geometry.center}; "
            "correct the beam centre in the settings"
        )
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


def _less_background(
    counts: NDArray[np.float64],
    good: NDArray[np.bool_],
    frames: int,
    background: SummedPattern | None,
    valid: NDArray[np.bool_],
    geometry: Geometry,
    settings: PrepareSettings,
    warnings: list[str],
) -> Weighted:
    """Sum without its background, as weighted pixels."""
    if settings.background == "none":
        return measured(counts, counts, good)
    if background is None or background.frames < 1 or not np.asarray(background.counts).any():
        warnings.append("no background frames: air and membrane are still in the amplitudes")
        return measured(counts, counts, good)
    dark, dark_good = background.complete(valid)
    ratio = frames / background.frames
    radius = geometry.radius_px((counts.shape[0], counts.shape[1]))
    expected, variance = scaled_background(dark, dark_good, radius, ratio=ratio, mode=settings.background)
    if settings.background == "raw":
        good = good & dark_good
    return measured(counts - expected, counts + variance, good)
