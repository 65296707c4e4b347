"""Which part of the sums an image is made from: the same for a running series and for a result file."""

import math
from dataclasses import dataclass

from processing.snapshot import Window, window_about
from service.config import Reconstruction

_MARGIN_PX = 96
_LEAST_WIDTH_PX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagingWindow:
    """A window of the detector about the beam centre.

    Attributes
    ----------
    window : pair of slice
        Its rows and columns on the detector.
    origin : tuple of int
        (row, col) of its first pixel on the detector.
    center : tuple of float
        Beam centre (row, col) in the window, px.
    """

    window: Window
    origin: tuple[int, int]
    center: tuple[float, float]


def imaging_window(
    settings: Reconstruction,
    *,
    center: tuple[float, float],
    shape: tuple[int, int],
    wavelength_m: float,
    distance_m: float,
    pixel_size_m: float,
) -> ImagingWindow:
    """Choose the window for an image; without `width_px` it is at least what the preparation may choose.

    Parameters
    ----------
    settings : Reconstruction
        Of which `width_px` and `object_diameter_m` count.
    center : tuple of float
        Beam centre (row, col) on the detector, px.
    shape : tuple of int
        (rows, columns) of the detector.
    wavelength_m, distance_m, pixel_size_m : float

    Examples
    --------
    >>> found = imaging_window(Reconstruction(width_px=100), center=(60.5, 500.0), shape=(512, 1030),
    ...                        wavelength_m=1.4e-10, distance_m=2.0, pixel_size_m=75e-6)
    >>> found.origin, found.center
    ((0, 402), (60.5, 98.0))
    """
    width = settings.width_px
    if width is None:
        speckle_of_a_metre_px = wavelength_m * distance_m / pixel_size_m
        diameter_m = settings.object_diameter_m or math.inf
        width = max(_LEAST_WIDTH_PX, math.ceil(15 * speckle_of_a_metre_px / diameter_m))
    window = window_about(center, width + _MARGIN_PX, shape)
    origin = (int(window[0].start), int(window[1].start))
    return ImagingWindow(window=window, origin=origin, center=(center[0] - origin[0], center[1] - origin[1]))
