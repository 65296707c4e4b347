"""How much of the detector is used and how coarsely: width and binning of the prepared array (science.md 1 and 3)."""

from processing.geometry import Geometry, is_quick_width
from processing.prepared import CannotPrepareError, PrepareSettings

LEAST_BINS = 15
"""Fewer rows than this is no diffraction pattern."""

_LEAST_SPECKLE_BINS = 4.5  # a speckle must stay at least so many bins wide when the array is reduced
_WIDEST_PX = 999  # of the array when nothing is known about the object
_PIXELS_ACROSS_OBJECT = 14.6  # image pixels over the object's diameter, as in the paper (3.99 of 55 nm, 1.3 of 19 nm)


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
    while bins >= LEAST_BINS and not is_quick_width(bins):
        bins -= 1
    if bins < LEAST_BINS:
        raise CannotPrepareError(
            f"the detector must reach at least {LEAST_BINS * total // 2} px to every side of the beam centre "
            f"{tuple(round(c, 1) for c in geometry.center)}, got {min(sides):.0f} px; give the width of the array"
        )
    return total, bins
