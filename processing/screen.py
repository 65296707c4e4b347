"""Judge a frame by its total and by chi^2 next to the beam stop (paper, section 3.2 and eq. 4).

Eq. (4) as printed lacks a square and would always be zero; chi^2 = sum((I - mean)^2) / mean is meant (Cochran 1952).
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from processing.accumulate import first_excluded_value
from processing.frame import Category, FrameScore

RADIUS_STEP_PX = 1 / 1024
"""Distances of ring pixels are counted in these, so that sums over them are exact integers too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenSettings:
    """The three cuts.

    Attributes
    ----------
    enabled : bool
        False: every valid frame is accepted.
    intensity_ratio_min : float
        A total strictly below this part of the reference hit the silicon frame.
    chi2_ratio_max : float
        chi^2 strictly above this many degrees of freedom is a streak.
    chi2_max : float or None
        The same as an absolute number (the paper's 800), None: off.
    background_ratio_max : float
        A total strictly below this part of the reference missed the sample.
    reference_total : float or None
        The total of a good frame when it is known; None: found from the frames.
    """

    enabled: bool = True
    intensity_ratio_min: float = 0.3
    chi2_ratio_max: float = 1.6
    chi2_max: float | None = None
    background_ratio_max: float = 0.6
    reference_total: float | None = None


def ring_pixels(
    valid: NDArray[np.uint8], center_row: float, center_col: float, inner_px: float, outer_px: float
) -> NDArray[np.int64]:
    """Return the flat indices of the valid pixels with inner <= distance to the centre < outer.

    Parameters
    ----------
    valid : ndarray of uint8, shape (rows, cols)
    center_row, center_col : float
        Beam centre in pixels; pixel centres are integers.
    inner_px, outer_px : float

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    rows = np.arange(valid.shape[0])[:, None] - center_row
    cols = np.arange(valid.shape[1])[None, :] - center_col
    square = rows * rows + cols * cols
    ring = (square >= inner_px**2) & (square < outer_px**2) & (valid != 0)
    return np.flatnonzero(ring)


def ring_radii(ring: NDArray[np.int64], columns: int, center_row: float, center_col: float) -> NDArray[np.int64]:
    """Return the distances of ring pixels from the beam, counted from the least one.

    Parameters
    ----------
    ring : ndarray of int64, shape (n,)
        Flat indices from `ring_pixels`.
    columns : int
        Of the frame.
    center_row, center_col : float
        Beam centre in pixels.

    Returns
    -------
    ndarray of int64, shape (n,)
        In `RADIUS_STEP_PX`.
    """
    row, col = np.divmod(ring, columns)
    steps = np.rint(np.hypot(row - center_row, col - center_col) / RADIUS_STEP_PX).astype(np.int64)
    return steps - steps.min() if steps.size else steps


@numba.njit(nogil=True, cache=True)
def _total(pixels: NDArray[np.unsignedinteger], valid: NDArray[np.uint8], limit: np.unsignedinteger) -> np.uint64:
    total = np.uint64(0)
    for i in range(pixels.size):
        value = pixels[i]
        if value < limit and valid[i]:
            total += np.uint64(value)
    return total


def score(
    pixels: NDArray[np.unsignedinteger],
    valid: NDArray[np.uint8],
    ring: NDArray[np.int64],
    radii: NDArray[np.int64] | None = None,
) -> FrameScore:
    """Return the exact integers a frame is judged by.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16 or uint32, shape (rows, cols)
    valid : ndarray of uint8, shape (rows, cols)
    ring : ndarray of int64, shape (n,)
        Flat indices from `ring_pixels`.
    radii : ndarray of int64, shape (n,), optional
        From `ring_radii`, to take a radial trend off.
    """
    limit = pixels.dtype.type(first_excluded_value(pixels.dtype))
    flat = np.ascontiguousarray(pixels).ravel()
    total = int(_total(flat, valid.reshape(-1), limit))
    values = flat[ring]
    counted = values < limit
    return FrameScore.of(total, values[counted].tolist(), () if radii is None else radii[counted].tolist())


def is_streak(chi2: NDArray[np.float64], dof: NDArray[np.int64], settings: ScreenSettings) -> NDArray[np.bool_]:
    """Return where chi^2 is above its cut; NaN (no ring pixels) rejects nothing."""
    streak: NDArray[np.bool_] = chi2 > settings.chi2_ratio_max * dof
    if settings.chi2_max is not None:
        streak |= chi2 > settings.chi2_max
    return streak


def reference_total(
    total: NDArray[np.uint64], chi2: NDArray[np.float64], dof: NDArray[np.int64], settings: ScreenSettings
) -> float | None:
    """Find the total of a frame that hit the sample.

    The median of all frames fails once more than half of them are silicon or empty. So: among the frames without a
    streak, take the brightest group (those within 25 % of some frame) that holds at least a twentieth of the
    frames, and return its median.

    Returns
    -------
    float or None
        None when there is no frame with counts.
    """
    if settings.reference_total is not None:
        return settings.reference_total
    usable = np.sort(total[(total > 0) & ~is_streak(chi2, dof, settings)].astype(np.float64))
    if usable.size == 0:
        usable = np.sort(total[total > 0].astype(np.float64))
    if usable.size == 0:
        return None
    low = np.searchsorted(usable, usable / 1.25, side="left")
    high = np.searchsorted(usable, usable * 1.25, side="right")
    members = high - low
    enough = np.flatnonzero(members >= min(0.05 * usable.size, members.max()))
    start = int(enough[-1])  # the brightest frame in enough company; from there down to the middle of its crowd
    rivals = np.arange(low[start], start + 1)
    best = int(rivals[np.argmax(members[rivals])])
    return float(np.median(usable[low[best] : high[best]]))


def judge(
    total: NDArray[np.uint64],
    chi2: NDArray[np.float64],
    dof: NDArray[np.int64],
    reference: float | None,
    settings: ScreenSettings,
) -> NDArray[np.uint8]:
    """Apply the rules in the order low intensity, streak, background, each by strict comparison.

    Parameters
    ----------
    total : ndarray of uint64, shape (n,)
    chi2 : ndarray of float64, shape (n,)
    dof : ndarray of int64, shape (n,)
    reference : float or None
        Total of a frame that hit the sample; None: the two intensity rules reject nothing.

    Returns
    -------
    ndarray of uint8, shape (n,)
        `Category` of each frame.
    """
    verdict = np.full(total.shape, Category.ACCEPTED, np.uint8)
    if not settings.enabled:
        return verdict
    level = total.astype(np.float64)
    if reference is not None:
        verdict[level < settings.background_ratio_max * reference] = Category.BACKGROUND
    verdict[is_streak(chi2, dof, settings)] = Category.STREAK
    if reference is not None:
        verdict[level < settings.intensity_ratio_min * reference] = Category.LOW_INTENSITY
    return verdict
