"""Which core in which shell: equation (2) over models of many sizes (paper Fig. 3, science.md 5 and 6)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from processing.metrics import amplitude_error
from processing.models import core_shell


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMatrix:
    """Equation (2) for every pair of diameters, as fractions.

    Attributes
    ----------
    core_m, outer_m : ndarray of float64, shape (n,) and (m,)
        Diameters of core and whole particle in m.
    free : ndarray of float64, shape (n, m)
        With the least-squares scale of each model.
    absolute : ndarray of float64, shape (n, m)
        With the scale that equation (1) gives.
    """

    core_m: NDArray[np.float64]
    outer_m: NDArray[np.float64]
    free: NDArray[np.float64]
    absolute: NDArray[np.float64]

    @property
    def minimum(self) -> tuple[float, float, float]:
        """Least error with a free scale, and the diameters (m) of core and particle where it is."""
        return self._least(self.free)

    @property
    def absolute_minimum(self) -> tuple[float, float, float]:
        """The same with the absolute scale."""
        return self._least(self.absolute)

    def _least(self, error: NDArray[np.float64]) -> tuple[float, float, float]:
        i, j = np.unravel_index(int(np.argmin(error)), error.shape)
        return float(error[i, j]), float(self.core_m[i]), float(self.outer_m[j])


def error_matrix(
    measured: NDArray[np.floating],
    valid: NDArray[np.bool_],
    q_per_m: NDArray[np.float64],
    per_electron: NDArray[np.float64] | float,
    *,
    core_m: ArrayLike,
    outer_m: ArrayLike,
) -> ErrorMatrix:
    """Equation (2), sum |F - G| / sum |F|, for gold cores in silica shells of many sizes.

    Parameters
    ----------
    measured : ndarray, shape (rows, cols)
        Amplitudes F of the experiment.
    valid : ndarray of bool, shape (rows, cols)
        The region D: measured, beyond the removed centre.
    q_per_m : ndarray of float64, shape (rows, cols)
        Length of the scattering vector in 1/m.
    per_electron : ndarray of float64, shape (rows, cols), or float
        Amplitude that one electron of the model should give (square root of equation 1).
    core_m, outer_m : array_like
        Diameters to try in m.

    Returns
    -------
    ErrorMatrix
        With free and with absolute scale.
    """
    cores, outers = (np.asarray(sizes, dtype=np.float64) for sizes in (core_m, outer_m))
    f, q = measured[valid].astype(np.float64), q_per_m[valid]
    weight = np.broadcast_to(per_electron, measured.shape)[valid]
    everywhere = np.ones(f.shape, dtype=bool)
    free, absolute = np.empty((2, cores.size, outers.size))
    for i, core in enumerate(cores):
        for j, outer in enumerate(outers):
            model = core_shell(core_diameter_m=float(core), outer_diameter_m=float(outer))
            error = amplitude_error(f, weight * np.abs(model.amplitude(q)), everywhere)
            free[i, j], absolute[i, j] = error.free, error.absolute
    return ErrorMatrix(core_m=cores, outer_m=outers, free=free, absolute=absolute)
