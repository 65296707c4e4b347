"""Centre of a summed pattern by Friedel symmetry (paper section 2.2, science.md 3).

Without absorption I(q) = I(-q). The pattern is compared with its own inversion through every trial centre c for
which 2c is an integer: there the inversion maps pixels on pixels and nothing is interpolated. What is compared is
the variance-stabilised count f = 2 sqrt(I + 3/8) (Anscombe, 1948), so that

    chi^2(2c) = 1/2 sum over pairs of valid pixels x, 2c - x of [f(x) - f(2c - x)]^2 / 2

weighs strong and weak pixels alike; all trial centres come from three correlations. A cubic through the
neighbourhood of the smallest mean gives the centre to a small part of a pixel and, by its scatter, the
uncertainty. (A pure paraboloid over the same 7 x 7 trial centres is off by 0.01 px, since gaps and beam stop make the
valley lopsided: cubic terms take that up.)
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

INNER_PX = 40.0
"""Pixels nearer to the guess are left out: the shadow of a beam stop is not centred on the beam."""
OUTER_PX = 420.0
REACH_PX = 12.0
_FIT_HALVES = (3, 6, 10)  # half-steps about the best trial centre; the wider ones only where noise hides the minimum
_CUBIC = [(i, j) for i in range(4) for j in range(4 - i)]  # powers of row and column
_MIN_PAIRS = 200
_MOVES = 4
_SIGMA_FACTOR, _SIGMA_FLOOR_PX = 1.5, 0.002  # neighbouring trials are not quite independent: measured on simulated sums
_OUTLIER_SIGMA = 8.0


class CenterNotFoundError(ValueError):
    """The pattern does not tell its centre; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Center:
    """Where the beam meets the detector.

    Attributes
    ----------
    row, col : float
        Beam centre in pixels; pixel centres lie at integers.
    sigma_px : float
        Standard uncertainty of either coordinate in pixels, from photon noise and remaining asymmetry.
    chi2_per_pair : float
        Mean of [f(x) - f(2c - x)]^2 / 2 at the centre: 1 for a symmetric pattern with Poisson noise, less where most
        pixels counted nothing.
    pairs : int
        Pairs of valid opposite pixels compared.
    """

    row: float
    col: float
    sigma_px: float
    chi2_per_pair: float
    pairs: int


def find_center(
    intensity: NDArray[np.generic],
    valid: NDArray[np.bool_],
    guess: tuple[float, float],
    *,
    inner_px: float = INNER_PX,
    outer_px: float = OUTER_PX,
    reach_px: float = REACH_PX,
) -> Center:
    """Centre of inversion of a pattern near a first guess.

    Parameters
    ----------
    intensity : ndarray, shape (rows, cols)
        Summed counts; background need not be subtracted, since that of air and membrane shares the centre.
    valid : ndarray of bool, shape (rows, cols)
        True where a pixel carries data.
    guess : tuple of float
        (row, col) of the expected centre in pixels.
    inner_px, outer_px : float
        Only pixels between these distances from the guess are compared.
    reach_px : float
        How far from the guess the centre may lie. When it is found at the edge of the reach the search goes on from
        there, up to four times.

    Returns
    -------
    Center
        Centre, uncertainty and quality.

    Raises
    ------
    CenterNotFoundError
        If too few opposite pixels carry data, nothing was counted, or no minimum is found within reach.
    """
    here = (float(guess[0]), float(guess[1]))
    for _ in range(_MOVES):
        f, v, origin = _stabilised(intensity, valid, here, inner_px, outer_px)
        lags = _lags(here, origin, reach_px)
        mean, pairs = _mean_chi2(f, v, lags)
        if not np.isfinite(mean).any():
            raise CenterNotFoundError(
                f"pairs of opposite valid pixels around {here} must be at least {_MIN_PAIRS}, got fewer; "
                "correct the beam centre or the mask"
            )
        i, j = (int(k) for k in np.unravel_index(int(np.argmin(mean)), mean.shape))
        found = _minimum(mean, (i, j))
        if found is not None:
            row, col, chi2, sigma = found
            return Center(
                row=(lags[0][i] + row) / 2.0 + origin[0],
                col=(lags[1][j] + col) / 2.0 + origin[1],
                sigma_px=float(np.hypot(_SIGMA_FACTOR * sigma / 2.0, _SIGMA_FLOOR_PX)),
                chi2_per_pair=chi2,
                pairs=int(pairs[i, j]),
            )
        here = (lags[0][i] / 2.0 + origin[0], lags[1][j] / 2.0 + origin[1])
    raise CenterNotFoundError(
        f"beam centre must lie within {_MOVES * reach_px:g} px of the first guess {guess}, none found; "
        "correct the beam centre in the settings or sum more frames"
    )


def _stabilised(
    intensity: NDArray[np.generic], valid: NDArray[np.bool_], guess: tuple[float, float], inner: float, outer: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[int, int]]:
    """Part around the guess: f (0 where not valid), weights 0 or 1, and its first row and column."""
    rows, cols = (
        slice(max(0, round(at - outer)), max(0, min(size, round(at + outer) + 1)))
        for at, size in zip(guess, intensity.shape, strict=True)
    )
    counts = np.asarray(intensity[rows, cols], dtype=np.float64)
    good = np.array(valid[rows, cols], dtype=bool) & np.isfinite(counts)
    if counts.size == 0:
        raise CenterNotFoundError(f"beam centre must lie on the detector, got {guess}; correct it in the settings")
    y = np.arange(rows.start, rows.stop)[:, None] - guess[0]
    x = np.arange(cols.start, cols.stop)[None, :] - guess[1]
    radius = np.hypot(y, x)
    good &= (radius >= inner) & (radius <= outer)
    if not counts[good].any():
        raise CenterNotFoundError("summed pattern must hold counts near the beam, got none; sum more frames")
    f = 2.0 * np.sqrt(np.maximum(counts, 0.0) + 0.375)
    good &= ~_outliers(f, good)
    return np.where(good, f, 0.0), good.astype(np.float64), (rows.start, cols.start)


def _outliers(f: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Hot or dead pixels the mask does not know: far from the median of their neighbours, in units of sigma = 1."""
    filled = np.where(good, f, np.median(f[good]))
    middle = scipy.ndimage.median_filter(filled, size=3)
    low = scipy.ndimage.minimum_filter(middle, size=3)
    high = scipy.ndimage.maximum_filter(middle, size=3)
    return (filled > high + _OUTLIER_SIGMA) | (filled < low - _OUTLIER_SIGMA)


def _mean_chi2(
    f: NDArray[np.float64], v: NDArray[np.float64], lags: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of [f(x) - f(s - x)]^2 / 2 over valid pairs and number of pairs, for every sum of coordinates s in lags."""
    size = [scipy.fft.next_fast_len(n + len(lag), real=True) for n, lag in zip(f.shape, lags, strict=True)]
    F, V, Q = (scipy.fft.rfft2(a, s=size) for a in (f, v, f * f))
    grid = np.ix_(lags[0] % size[0], lags[1] % size[1])
    pairs = np.rint(scipy.fft.irfft2(V * V, s=size)[grid])
    # sum (f - f')^2 / 2 = sum f^2 v' - sum f f', in one transform
    difference = scipy.fft.irfft2(Q * V - F * F, s=size)[grid]
    enough = pairs >= _MIN_PAIRS
    return np.where(enough, difference / np.maximum(pairs, 1.0), np.inf), pairs / 2.0


def _lags(
    guess: tuple[float, float], origin: tuple[int, int], reach: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Trial values of 2c relative to the part's first pixel, within reach of the guess and a margin for the fit."""
    half = int(np.ceil(2.0 * reach)) + _FIT_HALVES[-1]
    rows, cols = (
        np.rint(2.0 * (at - first)) + np.arange(-half, half + 1) for at, first in zip(guess, origin, strict=True)
    )
    return rows.astype(np.intp), cols.astype(np.intp)


def _minimum(mean: NDArray[np.float64], place: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Row and column offset of the minimum from the best trial, its value and its uncertainty, all in half-steps."""
    for half in _FIT_HALVES:
        i, j = place
        if not all(half <= k < size - half for k, size in zip(place, mean.shape, strict=True)):
            return None
        part = mean[i - half : i + half + 1, j - half : j + half + 1]
        found = _cubic_minimum(part) if np.isfinite(part).all() else None
        if found is not None:
            return found
    return None


def _cubic_minimum(part: NDArray[np.float64]) -> tuple[float, float, float, float] | None:
    """Minimum of a cubic through trial centres: offsets, value, and uncertainty of the worse coordinate.

    Trial centres pair other pixels each, so their noise is independent: the scatter about the cubic measures it, and
    its effect on the slope over the curvature is the uncertainty.
    """
    half = part.shape[0] // 2
    y, x = (a.ravel().astype(float) for a in np.mgrid[-half : half + 1, -half : half + 1])
    terms = np.stack([y**i * x**j for i, j in _CUBIC], axis=1)
    c = dict(zip(_CUBIC, np.linalg.lstsq(terms, part.ravel(), rcond=None)[0], strict=True))
    at = np.zeros(2)
    for _ in range(20):  # Newton; a paraboloid would be done after one step
        v, u = at
        slope = np.array(
            [
                sum(k * i * v ** (i - 1) * u**j for (i, j), k in c.items() if i),
                sum(k * j * v**i * u ** (j - 1) for (i, j), k in c.items() if j),
            ]
        )
        cross = sum(k * i * j * v ** (i - 1) * u ** (j - 1) for (i, j), k in c.items() if i and j)
        hessian = np.array(
            [
                [sum(k * i * (i - 1) * v ** (i - 2) * u**j for (i, j), k in c.items() if i > 1), cross],
                [cross, sum(k * j * (j - 1) * v**i * u ** (j - 2) for (i, j), k in c.items() if j > 1)],
            ]
        )
        if np.linalg.eigvalsh(hessian)[0] <= 0:
            return None
        step = np.linalg.solve(hessian, slope)
        at = at - step
        if np.abs(at).max() > half:
            return None
        if np.abs(step).max() < 1e-4:
            break
    value = float(sum(k * at[0] ** i * at[1] ** j for (i, j), k in c.items()))
    fitted = terms @ np.array(list(c.values()))
    scatter = np.sum((part.ravel() - fitted) ** 2) / (part.size - len(c))
    slope_variance = scatter * np.linalg.inv(terms.T @ terms)[_CUBIC.index((1, 0)), _CUBIC.index((1, 0))]
    sigma = float(np.sqrt(slope_variance) / np.linalg.eigvalsh(hessian)[0])
    return float(at[0]), float(at[1]), value, sigma
