"""Binning that counts valid pixels only, and its correction for the bend of the pattern (science.md 3)."""

import numpy as np
from numpy.typing import NDArray

from processing.symmetrise import Weighted

_SECOND, _FOURTH = 1.0 / 24.0, 3.0 / 640.0
_MIDDLE, _NEXT = 1.0 + 2.0 * _SECOND + 6.0 * _FOURTH, _SECOND + 4.0 * _FOURTH
UNBENT_NOISE = _MIDDLE**2 + 2.0 * _NEXT**2 + 2.0 * _FOURTH**2
"""By how much `unbent` raises independent noise: the root of its squared weights along each of two axes, 1.24."""


def binned(pattern: Weighted, factor: int, least_fraction: float = 0.5) -> Weighted:
    """Sums over blocks of `factor` x `factor` pixels.

    Parameters
    ----------
    pattern : Weighted, shape (n, n)
        n an odd multiple of `factor`, so that the middle pixel is the middle of the middle block.
    factor : int
        Odd block width; 1 changes nothing but the least fraction.
    least_fraction : float
        Blocks with fewer measured pixels than this fraction are missing.

    Returns
    -------
    Weighted, shape (n / factor, n / factor)
        ``mean`` is the mean count a pixel over the measured pixels of the block.

    Raises
    ------
    ValueError
        If `factor` is even or does not divide n.
    """
    n = pattern.counts.shape[0]
    if factor < 1 or factor % 2 == 0 or n % factor:
        raise ValueError(
            f"binning must be odd and divide the array's width of {n} px, got {factor}; choose another width or binning"
        )

    def blocks(array: NDArray[np.float32]) -> NDArray[np.float32]:
        sums = array.reshape(n // factor, factor, n // factor, factor).sum(axis=(1, 3), dtype=np.float64)
        return sums.astype(np.float32)

    weight = blocks(pattern.weight)
    keep = weight >= max(least_fraction * factor**2, 1e-6)
    return Weighted(
        counts=np.where(keep, blocks(pattern.counts), np.float32(0.0)),
        variance=np.where(keep, blocks(pattern.variance), np.float32(0.0)),
        weight=np.where(keep, weight, np.float32(0.0)),
    )


def unbent(mean: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values at the middle of bins from means over bins.

    The mean over a bin of width 1 is I + (1/24) lap I + ...; its inverse along each axis, to fourth order, is
    I - d2 I / 24 + 3 d4 I / 640 with the second and fourth differences (finite-volume deconvolution).

    Parameters
    ----------
    mean : ndarray of float64, shape (n, n)
        Mean intensity in each bin.
    valid : ndarray of bool, shape (n, n)
        Bins that carry data.

    Returns
    -------
    ndarray of float64, shape (n, n)
        Corrected where the neighbours along an axis carry data; second order only where the next ones do not.
    """
    once = _unbent_rows(np.where(valid, mean, 0.0), valid)
    return _unbent_rows(once.T, valid.T).T


def _unbent_rows(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Correction along the first axis."""
    two = np.zeros_like(values)
    four = np.zeros_like(values)
    near = np.zeros_like(valid)
    far = np.zeros_like(valid)
    two[1:-1] = values[2:] - 2.0 * values[1:-1] + values[:-2]
    near[1:-1] = valid[2:] & valid[1:-1] & valid[:-2]
    if len(values) >= 5:
        four[2:-2] = values[4:] - 4.0 * values[3:-1] + 6.0 * values[2:-2] - 4.0 * values[1:-3] + values[:-4]
        far[2:-2] = near[2:-2] & valid[4:] & valid[:-4]
    return values - _SECOND * np.where(near, two, 0.0) + _FOURTH * np.where(far, four, 0.0)
