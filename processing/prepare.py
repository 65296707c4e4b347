"""From a summed pattern to the amplitudes a reconstruction is given (paper section 2.2, science.md 3).

Centre by Friedel symmetry, background by the ratio of frames, missing pixels patched by their partners, binning over
valid pixels, correction for the bend inside a bin, central speckle removed, square root.
"""

import numpy as np
from numpy.typing import NDArray

from processing.background import Background, scaled_background
from processing.binning import binned, unbent
from processing.center import CenterNotFoundError, find_center
from processing.geometry import Geometry, is_quick_width
from processing.prepared import CannotPrepareError, Prepared, PrepareSettings, SummedPattern
from processing.symmetrise import centred, friedel_patched, measured

_LEAST_SPECKLE_BINS = 4.5  # a speckle must stay at least so many bins wide when the array is reduced
_WIDEST_PX = 999  # of the array when nothing is known about the object
_PIXELS_ACROSS_OBJECT = 14.6  # image pixels over the object's diameter, as in the paper (3.99 of 55 nm, 1.3 of 19 nm)
_LEAST_BINS = 15  # fewer rows than this is no diffraction pattern

__all__ = ["CannotPrepareError", "PrepareSettings", "Prepared", "SummedPattern", "array_size", "prepare"]


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
    dark, known = _background(counts.shape, pattern.frames, background, valid, geometry, settings, warnings)
    if dark is None:
        net = measured(counts, counts, good)
    else:
        net = measured(counts - dark.expected, counts + dark.variance, good & known)
    if settings.negative == "pixels":
        net = measured(net.counts, net.variance, (net.weight > 0) & (net.counts >= 0))
    patched = friedel_patched(centred(net, geometry.center, total * bins))
    small = binned(patched, total)
    intensity = unbent(small.mean, small.weight > 0)
    variance = np.divide(small.variance, small.weight**2, out=np.zeros_like(intensity), where=small.weight > 0)
    if dark is not None and dark.profile_sigma is not None:
        variance += dark.profile_sigma(total * _bin_radius(bins)) ** 2
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
        background_frames=background.frames if background is not None and dark is not None else 0,
        warnings=tuple(warnings),
    )


def central_speckle(bins: int, bin_px: int, diameter_px: float) -> NDArray[np.bool_]:
    """True where the middle of a bin lies inside the removed centre; shape (bins, bins)."""
    return bin_px * _bin_radius(bins) < diameter_px / 2.0


def _bin_radius(bins: int) -> NDArray[np.float64]:
    """Distance of every bin from the middle one in bins; shape (bins, bins)."""
    away = np.arange(bins) - bins // 2
    return np.hypot(away[:, None], away[None, :])


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


def _background(
    shape: tuple[int, int],
    frames: int,
    background: SummedPattern | None,
    valid: NDArray[np.bool_],
    geometry: Geometry,
    settings: PrepareSettings,
    warnings: list[str],
) -> tuple[Background | None, NDArray[np.bool_]]:
    """What to subtract from the sum, and where it is known."""
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
