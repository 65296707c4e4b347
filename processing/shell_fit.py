"""How thick the shell of a hollow particle is, from the amplitudes themselves (science.md 4).

The half-maximum width of a projected shell is not its thickness: 2.6 nm of shell read 2.45 to 3.0 nm in the image.
"""

from dataclasses import dataclass

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from processing.models import hollow_shell

_THICKNESS_TRIALS = np.linspace(0.06, 0.4, 18)  # of the outer diameter
_OUTER_TRIALS = np.linspace(0.92, 1.08, 17)  # of the diameter given


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellFit:
    """The spherical shell that fits best.

    Attributes
    ----------
    outer_diameter_m, thickness_m : float
        Of the shell in m.
    error : float
        Equation (2) for it with a free scale, as a fraction.
    """

    outer_diameter_m: float
    thickness_m: float
    error: float


def fit_shell(
    amplitude: NDArray[np.floating],
    valid: NDArray[np.bool_],
    q_per_m: NDArray[np.float64],
    *,
    diameter_m: float,
    per_electron: NDArray[np.float64] | float = 1.0,
) -> ShellFit:
    """Spherical shell with the least equation (2), free scale, over outer diameter and thickness.

    Parameters
    ----------
    amplitude : ndarray, shape (n, n)
        Measured amplitudes.
    valid : ndarray of bool, shape (n, n)
        Where they were measured, beyond the removed centre.
    q_per_m : ndarray of float64, shape (n, n)
        Length of the scattering vector in 1/m.
    diameter_m : float
        Outer diameter in m, known to 8 %.
    per_electron : ndarray of float64, shape (n, n), or float
        Relative amplitude of one electron (solid angle of the pixels); its scale does not matter.

    Returns
    -------
    ShellFit
        The shell.

    Raises
    ------
    ValueError
        If nothing is valid.
    """
    if not valid.any():
        raise ValueError("amplitudes must be valid somewhere, got none; check the mask")
    f, q = amplitude[valid].astype(np.float64), q_per_m[valid]
    weight = np.broadcast_to(per_electron, amplitude.shape)[valid]
    norm = float(np.abs(f).sum())

    def error(sizes: NDArray[np.float64]) -> float:
        outer, thickness = float(sizes[0]) * diameter_m, float(sizes[1]) * diameter_m
        if not 0.0 < thickness < 0.49 * outer:
            return np.inf
        model = hollow_shell(outer_diameter_m=outer, thickness_m=thickness)
        g = weight * np.abs(model.amplitude(q))
        return float(np.abs(f - (f @ g) / (g @ g) * g).sum()) / norm

    coarse = [np.array([outer, outer * part]) for outer in _OUTER_TRIALS for part in _THICKNESS_TRIALS]
    start = min(coarse, key=error)
    simplex = start + np.array([[0.0, 0.0], [0.01, 0.0], [0.0, 0.01]])
    found = scipy.optimize.minimize(
        error, start, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-7}
    )
    return ShellFit(
        outer_diameter_m=float(found.x[0]) * diameter_m,
        thickness_m=float(found.x[1]) * diameter_m,
        error=float(found.fun),
    )
