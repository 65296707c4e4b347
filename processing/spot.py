"""Where the direct beam hits the detector, from one attenuated frame without the beam stop.

The spot is a few pixels wide, so its centre of mass after subtraction of what lies around it is its centre; with n
photons in a spot of width s the statistical uncertainty is s / sqrt(n).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.accumulate import first_excluded_value

HALF_PX = 8
"""Half the window about the spot."""
CANDIDATES = 64
"""Brightest pixels that are looked at: more than a detector has pixels that count on their own."""
LEAST_PHOTONS = 50
MASKED_AT_MOST = 0.1
_MOVES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A bright spot.

    Attributes
    ----------
    row, col : float
        Its centre, px; pixel centres lie at integers.
    peak : int
        Counts of its brightest pixel.
    photons : int
        Counts in it, background subtracted.
    """

    row: float
    col: float
    peak: int
    photons: int


def find_spot(pixels: NDArray[np.unsignedinteger], valid: NDArray[np.uint8]) -> Spot | None:
    """Find the brightest spot of a frame.

    A pixel that counts on its own is no spot: the brightest pixel is the one with the brightest neighbours.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16 or uint32, shape (rows, cols)
    valid : ndarray of uint8, shape (rows, cols)
        1 where a pixel counts.

    Returns
    -------
    Spot or None
        None when there are fewer than 50 photons in it, or more than a tenth of its window has no data.
    """
    limit = first_excluded_value(pixels.dtype)
    counts = np.where((valid != 0) & (pixels < limit), pixels, 0).astype(np.int64)
    flat = counts.ravel()
    brightest = np.argpartition(flat, -CANDIDATES)[-CANDIDATES:] if flat.size > CANDIDATES else np.arange(flat.size)
    places = [divmod(int(index), counts.shape[1]) for index in brightest]
    neighbours = [int(_around(counts, row, col, 1).sum() - counts[row, col]) for row, col in places]
    row, col = (float(part) for part in places[int(np.argmax(neighbours))])
    photons = 0.0
    for _ in range(_MOVES):
        here = round(row), round(col)
        window, good = _around(counts, *here, HALF_PX), _around(valid, *here, HALF_PX) != 0
        rows, cols = np.indices(window.shape)
        near = np.hypot(rows - min(here[0], HALF_PX), cols - min(here[1], HALF_PX)) <= 0.5 * HALF_PX
        if (~good & near).sum() > MASKED_AT_MOST * near.sum():
            return None
        outside = window[good & ~near]
        light = np.where(good & near, window - (outside.mean() if outside.size else 0.0), 0.0)
        photons = float(light.sum())
        if photons < LEAST_PHOTONS:
            return None
        row = float((light * rows).sum() / photons) + max(0, here[0] - HALF_PX)
        col = float((light * cols).sum() / photons) + max(0, here[1] - HALF_PX)
        if (round(row), round(col)) == here:
            break
    return Spot(row=row, col=col, peak=int(_around(counts, *here, HALF_PX).max()), photons=round(photons))


def _around(array: NDArray[np.integer], row: int, col: int, half: int) -> NDArray[np.integer]:
    return array[max(0, row - half) : row + half + 1, max(0, col - half) : col + half + 1]
