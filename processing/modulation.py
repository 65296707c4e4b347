"""Whether a pattern shows a particle at all, or only what falls smoothly from the beam, as air and membrane do.

The pattern of anything with an edge goes up and down, along the radius (a round object) or around the beam (any other).
A smooth pattern phases as well as a good one, into a blob, with a small R factor and seeds that agree. In simulation
one frame of particles is always told from it, and no sum of 1 to 10,000 frames of background was taken for particles.
"""

import numpy as np
from numpy.typing import NDArray

from processing.prepared import Prepared
from processing.speckle import bin_radius

_SIGMAS = 5.0
_LEAST_RISE = 1.1  # of the azimuthal mean, over the lowest before
_LEAST_VARIATION = 0.2  # of the intensity around the beam, root mean square
_LEAST_BINS = 8  # in a ring


def is_modulated(prepared: Prepared) -> bool:
    """Whether the azimuthal mean rises anywhere, or the intensity varies around the beam, more than noise lets it.

    Parameters
    ----------
    prepared : Prepared
        Amplitudes with their noise.

    Returns
    -------
    bool
        False for a smooth pattern, and for one of noise alone.
    """
    radius = bin_radius(prepared.amplitude.shape[0])[prepared.valid]
    intensity = prepared.amplitude[prepared.valid].astype(np.float64) ** 2
    variance = prepared.sigma[prepared.valid].astype(np.float64) ** 2
    ring = np.rint(radius).astype(np.intp)
    count = np.bincount(ring)
    filled = count >= _LEAST_BINS
    count = count[filled]
    if count.size < 2:
        return False
    mean = np.bincount(ring, intensity)[filled] / count
    # a bin and its Friedel partner are one measurement
    sigma = np.sqrt(2.0 * np.bincount(ring, variance)[filled]) / count
    lowest = np.minimum.accumulate(mean + _SIGMAS * sigma)
    if np.any(mean - _SIGMAS * sigma > _LEAST_RISE * lowest):
        return True
    expected = np.exp(np.interp(radius, np.bincount(ring, radius)[filled] / count, np.log(mean)))
    return _varies(intensity - expected, expected, variance, ring, filled)


def _varies(
    excess: NDArray[np.float64],
    expected: NDArray[np.float64],
    variance: NDArray[np.float64],
    ring: NDArray[np.intp],
    filled: NDArray[np.bool_],
) -> bool:
    """Whether any ring varies around the beam beyond its noise."""
    total, noise, level, count = (
        np.bincount(ring, values)[filled] for values in (excess**2, variance, expected**2, np.ones_like(excess))
    )
    beyond = total - noise * (1.0 + _SIGMAS * np.sqrt(4.0 / count))
    return bool(np.any(beyond > _LEAST_VARIATION**2 * level))
