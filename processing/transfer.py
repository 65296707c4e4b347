"""How far the phases can be trusted: the phase-retrieval transfer function, equation (3) of the paper.

PRTF(q) = |<G(q)>| / F(q): where independent runs find the same phases their mean keeps its amplitude, where they do not
it vanishes. Seeds of a guided run share a template and agree by construction, so their curve is optimistic.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from processing.align import aligned

CUTOFF = 1.0 / np.e
"""The paper's criterion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A phase-retrieval transfer function.

    Attributes
    ----------
    prtf : ndarray of float64, shape (m,)
        Ring by ring, smoothed over one speckle; NaN on rings without data.
    q_per_m : ndarray of float64, shape (m,)
        Scattering vector of the rings in 1/m.
    resolution_m : float
        Half-period pi / q where the curve first falls below 1/e; pi / q of the last ring when it never does; NaN
        without data.
    limited_by_array : bool
        True when it never does: the resolution is at least as good as stated.
    images : int
        How many it rests on: of M images with random phases the mean keeps sqrt(pi / 4 M) of the amplitude.
    """

    prtf: NDArray[np.float64]
    q_per_m: NDArray[np.float64]
    resolution_m: float
    limited_by_array: bool
    images: int


def transfer_function(
    images: list[NDArray[np.float32]],
    amplitude: NDArray[np.float32],
    valid: NDArray[np.bool_],
    *,
    pixel_size_m: float,
    speckle_bins: float,
) -> Transfer:
    """PRTF of independent solutions.

    Parameters
    ----------
    images : list of ndarray of float32, shape (n, n)
        Solutions; the first is the one the others are laid on.
    amplitude : ndarray of float32, shape (n, n)
        Measured amplitudes F, zero frequency at ``[n // 2, n // 2]``.
    valid : ndarray of bool, shape (n, n)
        False where F is missing.
    pixel_size_m : float
        Pixel of the images in m.
    speckle_bins : float
        Width of a speckle in pixels of the transform, over which the curve is smoothed.

    Returns
    -------
    Transfer
        The curve and the resolution.
    """
    n = amplitude.shape[0]
    mean = np.zeros((n, n), dtype=np.complex128)
    for image in images:
        mean += scipy.fft.fft2(aligned(image, images[0]))
    agreed = np.abs(scipy.fft.fftshift(mean)) / max(1, len(images))
    away = np.arange(n) - n // 2
    ring = np.rint(np.hypot(away[:, None], away[None, :])).astype(np.intp)
    above = np.bincount(ring[valid], agreed[valid], minlength=ring.max() + 1)
    below = np.bincount(ring[valid], amplitude[valid].astype(np.float64), minlength=ring.max() + 1)
    sigma = speckle_bins / 2.355  # full width at half maximum of one speckle
    smooth_above, smooth_below = (scipy.ndimage.gaussian_filter1d(a, sigma, mode="nearest") for a in (above, below))
    measured = below > 0
    prtf = np.where(measured, smooth_above / np.where(measured, smooth_below, 1.0), np.nan)
    q = np.arange(prtf.size) * (2.0 * np.pi / (n * pixel_size_m))
    resolution_m, limited = _crossing(prtf, q)
    return Transfer(prtf=prtf, q_per_m=q, resolution_m=resolution_m, limited_by_array=limited, images=len(images))


def _crossing(prtf: NDArray[np.float64], q: NDArray[np.float64]) -> tuple[float, bool]:
    """First crossing of the cutoff, interpolated, as half-period."""
    rings = np.flatnonzero(np.isfinite(prtf))
    if rings.size == 0:
        return float("nan"), False
    low = rings[prtf[rings] < CUTOFF]
    if low.size == 0:
        return float(np.pi / q[rings[-1]]), True
    k = int(low[0])
    before = rings[rings < k]
    at = q[k]
    if before.size:
        j = int(before[-1])
        at = q[j] + (q[k] - q[j]) * (prtf[j] - CUTOFF) / (prtf[j] - prtf[k])
    return float(np.pi / at), False
