"""How large the object is, from its pattern alone (indirect Fourier transform: Glatter, 1977; paper's Glatter 1982).

The intensity, averaged over orientations, is I(q) = integral from 0 to D of p(r) sin(q r) / (q r) dr, where the pair
distance function p(r) ends at the largest diameter D. Fitted with functions that end at a trial D, the pattern is
described down to its noise when the trial is large enough, and not at all when it is smaller: chi^2(D) has a knee. It
needs neither the missing centre nor a model of the particle.
"""

import numpy as np
from numpy.typing import NDArray

from processing.geometry import q_of_array_per_m
from processing.prepared import Prepared

_TRIAL_RATIO = 1.015
_SYSTEMATIC = 0.02  # of the intensity: binning, centre; keeps millions of photons from asking for a perfect model
_AHEAD = 12  # trials: chi^2 is compared with the one of a diameter 20 % larger
_KNEE, _LEAST_DROP = 1.3, 2.0  # ratio of the two at the knee, and on the steepest part of the cliff before it
_RINGS = 184  # four a bin for the usual 65 x 65
_CLEAR_SIGMA = 3.0  # rings that stand out of the noise
_SMALLEST_PX, _LARGEST_FRACTION = 4.0, 0.75  # range of trials: image pixels, part of the array


def estimate_diameter_m(prepared: Prepared) -> float | None:
    """Diameter of the object from the knee of chi^2(D).

    An edge is placed no better than to a quarter of a period of the frequencies that stand out of the noise; the knee
    comes about so much (pi / q / 2 with their median) before the true diameter, and it is added.

    Parameters
    ----------
    prepared : Prepared
        Amplitudes with their noise.

    Returns
    -------
    float or None
        Diameter in m, within 2 % from some thirty frames on and up to 6 % low with one; None where the pattern shows
        no knee (too few photons, or a background that is still in it).
    """
    pixel, n = prepared.pixel_size_m, prepared.amplitude.shape[0]
    smallest, largest = _SMALLEST_PX * pixel, _LARGEST_FRACTION * n * pixel
    trials = np.geomspace(smallest, largest, int(np.log(largest / smallest) / np.log(_TRIAL_RATIO)) + 1)
    q, intensity, sigma = _rings(prepared)
    if intensity.size < 1.5 * (q.max() * largest / np.pi + 4):
        return None
    chi2 = np.array([_chi2(q, intensity, sigma, trial) for trial in trials])
    drop = np.log(chi2[:-_AHEAD] / chi2[_AHEAD:])
    cliff = int(np.argmax(drop))
    flat = np.flatnonzero(drop[cliff:] < np.log(_KNEE))
    if drop[cliff] < np.log(_LEAST_DROP) or flat.size == 0:
        return None
    last = cliff + int(flat[0]) - 1
    part = (drop[last] - np.log(_KNEE)) / (drop[last] - drop[last + 1])
    clear = q[intensity > _CLEAR_SIGMA * sigma]
    typical = float(np.median(clear)) if clear.size else q.max()
    return float(trials[last] * _TRIAL_RATIO**part + 0.5 * np.pi / typical)


def _rings(prepared: Prepared) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Vectors (1/m), weighted mean intensity and uncertainty of narrow rings: the average over orientations."""
    n = prepared.amplitude.shape[0]
    valid = prepared.valid
    q = q_of_array_per_m(n, prepared.pixel_size_m)[valid]
    intensity = prepared.amplitude[valid].astype(np.float64) ** 2
    shared = prepared.shared_sigma[valid].astype(np.float64)
    own = np.sqrt(np.maximum(prepared.sigma[valid].astype(np.float64) ** 2 - shared**2, 1e-8 * intensity.max()))
    weight = 1.0 / own**2
    ring = np.rint(q * (_RINGS / q.max())).astype(np.intp)
    total = np.bincount(ring, weight)
    filled = total > 0
    total = total[filled]
    mean = np.bincount(ring, weight * intensity)[filled] / total
    mean_q = np.bincount(ring, weight * q)[filled] / total
    mean_shared = np.bincount(ring, weight * shared)[filled] / total
    # a bin and its partner are one measurement; what a ring shares does not average out
    return mean_q, mean, np.sqrt(2.0 / total + mean_shared**2 + (_SYSTEMATIC * mean) ** 2)


def _chi2(q: NDArray[np.float64], intensity: NDArray[np.float64], sigma: NDArray[np.float64], diameter: float) -> float:
    """Reduced chi^2 of the best p(r) = sum of c_j r sin(pi j r / D), and a constant for leftover background.

    Each term transforms into (-1)^(j+1) pi j D sin(q D) / q / ((pi j)^2 - (q D)^2).
    """
    x = q * diameter
    j = np.arange(1, int(np.ceil(x.max() / np.pi)) + 3)
    gap = (np.pi * j) ** 2 - x[:, None] ** 2
    zero = np.abs(gap) < 1e-7
    # at x = pi j the quotient has the limit 1/2; the sign (-1)^(j+1) is that of the sine's slope
    terms = np.where(zero, 0.5, (-1.0) ** (j + 1) * np.pi * j * np.sin(x)[:, None] / np.where(zero, 1.0, gap))
    terms = np.column_stack([terms / q[:, None], np.ones_like(q)]) / sigma[:, None]
    terms /= np.linalg.norm(terms, axis=0)
    wanted = intensity / sigma
    fitted = np.linalg.lstsq(terms, wanted, rcond=1e-10)[0]
    return float(np.sum((wanted - terms @ fitted) ** 2) / (wanted.size - terms.shape[1]))
