"""Background of air and membrane, from frames without sample, by the ratio of frames (paper section 2.2).

Raw subtraction carries the photon noise of the few background frames into every pixel; since air and membrane scatter
alike in all directions, the azimuthal mean of the background does not (science.md 3).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.interpolate
from numpy.typing import NDArray

BackgroundMode = Literal["azimuthal", "raw"]

_NODE_RATIO = 1.02  # nodes of the smoothed profile are 2 % apart in radius
_HALF_WINDOW = (
    0.06  # each from a parabola over +- 6 % of its radius (at least 3 px): averages noise, keeps slope and bend
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What the background adds to a sum of frames.

    Attributes
    ----------
    expected : ndarray of float64, shape (rows, cols)
        Counts to subtract; with "raw" 0 where the background has no data.
    variance : ndarray of float64, shape (rows, cols)
        Variance by photon noise that is independent from pixel to pixel.
    profile_sigma : callable or None
        Standard deviation in counts that all pixels of a radius (px) share, from the azimuthal mean.
    """

    expected: NDArray[np.float64]
    variance: NDArray[np.float64]
    profile_sigma: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None


def scaled_background(
    background: NDArray[np.float64],
    valid: NDArray[np.bool_],
    radius_px: NDArray[np.float64],
    *,
    ratio: float,
    mode: BackgroundMode = "azimuthal",
) -> Background:
    """What the background adds to a sum of frames.

    Parameters
    ----------
    background : ndarray of float64, shape (rows, cols)
        Sum of the background frames.
    valid : ndarray of bool, shape (rows, cols)
        True where the background carries data.
    radius_px : ndarray of float64, shape (rows, cols)
        Distance from the beam in pixels.
    ratio : float
        Frames in the sum over frames in the background.
    mode : {"azimuthal", "raw"}
        Smoothed mean over rings, or pixel by pixel.

    Returns
    -------
    Background
        Counts to subtract and their uncertainty.

    Raises
    ------
    ValueError
        If no pixel of the background is valid.
    """
    if not valid.any():
        raise ValueError("background must have valid pixels, got none; check the mask or leave the background out")
    if mode == "raw":
        counts = np.where(valid, background, 0.0)
        return Background(expected=counts * ratio, variance=counts * ratio**2)
    profile = radial_profile(background, valid, radius_px)
    covered = valid.mean()

    def sigma(radius: NDArray[np.float64]) -> NDArray[np.float64]:
        # pixels under the window of the local parabola; its value in the middle has 9/4 of the mean's variance
        pixels = 4.0 * np.pi * np.maximum(radius, 1.0) * np.maximum(3.0, _HALF_WINDOW * radius) * covered
        return ratio * np.sqrt(2.25 * profile(radius) / pixels)

    return Background(expected=profile(radius_px) * ratio, variance=np.zeros(background.shape), profile_sigma=sigma)


def radial_profile(
    values: NDArray[np.float64], valid: NDArray[np.bool_], radius_px: NDArray[np.float64]
) -> scipy.interpolate.PchipInterpolator:
    """Smooth mean of `values` against the distance from the beam.

    Parameters
    ----------
    values, radius_px : ndarray of float64, shape (rows, cols)
        Counts and distance from the beam in pixels.
    valid : ndarray of bool, shape (rows, cols)
        Pixels that take part; at least one.

    Returns
    -------
    scipy.interpolate.PchipInterpolator
        Counts a pixel at a radius in px, constant beyond the first and last valid ring; never negative.
    """
    ring = np.rint(radius_px[valid]).astype(np.intp)
    pixels = np.bincount(ring).astype(np.float64)
    sums = np.bincount(ring, weights=values[valid])
    rings = np.nonzero(pixels)[0]
    mean, weight = sums[rings] / pixels[rings], pixels[rings]
    first, last = float(max(rings[0], 1)), float(max(rings[-1], 2))
    nodes = np.geomspace(first, last, max(2, int(np.log(last / first) / np.log(_NODE_RATIO)) + 1))
    smooth = np.maximum([_local_parabola(node, rings, mean, weight) for node in nodes], 0.0)
    knots = np.concatenate([[-1.0], nodes, [nodes[-1] + 1e6]])  # flat outside what was measured
    if knots.size < 4 or nodes[0] == nodes[-1]:
        knots, smooth = np.array([-1.0, 0.5, 1e6]), np.full(1, np.average(mean, weights=weight))
        return scipy.interpolate.PchipInterpolator(knots, np.repeat(smooth, 3))
    return scipy.interpolate.PchipInterpolator(knots, np.concatenate([smooth[:1], smooth, smooth[-1:]]))


def _local_parabola(
    at: float, rings: NDArray[np.intp], mean: NDArray[np.float64], weight: NDArray[np.float64]
) -> float:
    """Value at a radius of the weighted parabola through the rings around it."""
    half = max(3.0, _HALF_WINDOW * at)
    near = np.abs(rings - at) <= half
    degree = min(2, int(near.sum()) - 1)
    if degree < 0:
        return float(np.interp(at, rings, mean))
    x = (rings[near] - at) / half
    terms = x[:, None] ** np.arange(degree + 1)
    root = np.sqrt(weight[near])
    return float(np.linalg.lstsq(terms * root[:, None], mean[near] * root, rcond=None)[0][0])
