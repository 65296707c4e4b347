"""The central speckle: which bins are removed around the beam (paper section 2.2).

Its 151 px are read as a diameter in detector pixels about the true centre, 2.1 speckles of the paper's particles. Read
as 151 binned pixels, 453 of the detector, it would be 6.4 speckles, and nothing could be reconstructed (science.md 3).
"""

import numpy as np
from numpy.typing import NDArray


def central_speckle(bins: int, bin_px: int, diameter_px: float) -> NDArray[np.bool_]:
    """True where the middle of a bin lies inside the removed centre; shape (bins, bins)."""
    return bin_px * bin_radius(bins) < diameter_px / 2.0


def bin_radius(bins: int) -> NDArray[np.float64]:
    """Distance of every bin from the middle one in bins; shape (bins, bins)."""
    away = np.arange(bins) - bins // 2
    return np.hypot(away[:, None], away[None, :])
