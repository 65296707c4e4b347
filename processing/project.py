"""The two constraints of phase retrieval, as projections: the measured modulus, and support with positivity.

Objects are stacks (seed, row, col) of real images with the origin at ``[0, 0]`` (wrapped), so that real transforms of
half the size do; each seed is treated on its own.
"""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.fft
from numpy.typing import NDArray

Objects = NDArray[np.float32]

_MISSING = np.float32(-1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What is known about the object.

    Attributes
    ----------
    modulus : ndarray of float32, shape (n, n // 2 + 1)
        Measured amplitudes of the real transform, wrapped; -1 where missing.
    support : ndarray of bool, shape (n, n)
        Where the object may be, wrapped.
    """

    modulus: NDArray[np.float32]
    support: NDArray[np.bool_]

    @property
    def n(self) -> int:
        """Rows and columns of the object's array."""
        return int(self.support.shape[0])

    def onto_modulus(self, objects: Objects) -> Objects:
        """Nearest objects with the measured amplitudes: phases stay, missing amplitudes float."""
        transform = scipy.fft.rfft2(objects, axes=(1, 2), workers=1)
        _set_modulus(transform, self.modulus)
        out: Objects = scipy.fft.irfft2(transform, s=(self.n, self.n), axes=(1, 2), overwrite_x=True, workers=1)
        return out

    def onto_density(self, objects: Objects) -> Objects:
        """Nearest objects that are positive inside the support and zero outside."""
        return np.where(self.support & (objects > 0), objects, np.float32(0.0))

    def r_factor(self, objects: Objects) -> NDArray[np.float64]:
        """R = sum | |G| - F | / sum F over the measured amplitudes, one a seed."""
        transform = np.abs(scipy.fft.rfft2(objects, axes=(1, 2), workers=1)).astype(np.float64)
        weight = np.full(self.modulus.shape[1], 2.0)  # each column but the first stands for two of the full transform
        weight[0] = 1.0
        weights = weight * (self.modulus >= 0)
        out: NDArray[np.float64] = (np.abs(transform - self.modulus) * weights).sum(axis=(1, 2)) / (
            self.modulus * weights
        ).sum()
        return out


def constraints_of(amplitude: NDArray[np.float32], valid: NDArray[np.bool_], support: NDArray[np.bool_]) -> Constraints:
    """Constraints from centred arrays.

    Parameters
    ----------
    amplitude : ndarray of float32, shape (n, n)
        Measured amplitudes, zero frequency at ``[n // 2, n // 2]``, n odd.
    valid : ndarray of bool, shape (n, n)
        False where the amplitude is missing.
    support : ndarray of bool, shape (n, n)
        Where the object may be, centred.

    Returns
    -------
    Constraints
        The same, wrapped for real transforms.

    Raises
    ------
    ValueError
        If n is even, the shapes differ, or nothing is measured or allowed.
    """
    n = amplitude.shape[0]
    if n % 2 == 0 or not amplitude.shape == valid.shape == support.shape == (n, n):
        raise ValueError(
            f"amplitude, valid and support must be square of one odd width, got {amplitude.shape}, {valid.shape} and "
            f"{support.shape}; prepare the pattern again"
        )
    if not valid.any() or not support.any():
        raise ValueError(
            "amplitudes and support must hold at least one pixel, got none; check mask and object diameter"
        )
    wrapped = scipy.fft.ifftshift(np.where(valid, amplitude, _MISSING))[:, : n // 2 + 1]
    return Constraints(
        modulus=np.ascontiguousarray(wrapped, dtype=np.float32),
        support=np.ascontiguousarray(scipy.fft.ifftshift(support)),
    )


def disc(n: int, radius: float) -> NDArray[np.bool_]:
    """True within `radius` pixels of the middle pixel; shape (n, n)."""
    away = np.arange(n) - n // 2
    return np.hypot(away[:, None], away[None, :]) <= radius


def centred(objects: Objects) -> Objects:
    """Stack of objects with the origin moved to the middle pixel."""
    return scipy.fft.fftshift(objects, axes=(1, 2))


def wrapped(objects: Objects) -> Objects:
    """Stack of objects with the origin moved to ``[0, 0]``."""
    return scipy.fft.ifftshift(objects, axes=(1, 2))


# No branches and no check of the division: only so does the compiler make vectors of it, eight times as fast.
@numba.njit(cache=True, nogil=True, error_model="numpy")
def _set_modulus(transform: NDArray[np.complex64], modulus: NDArray[np.float32]) -> None:  # pragma: no cover
    for s in range(transform.shape[0]):
        for i in range(transform.shape[1]):
            for j in range(transform.shape[2]):
                wanted = modulus[i, j]
                value = transform[s, i, j]
                size = np.sqrt(value.real * value.real + value.imag * value.imag)
                factor = wanted / size
                real = value.real * factor if size > 0 else wanted
                imag = value.imag * factor if size > 0 else np.float32(0)
                transform[s, i, j] = complex(real if wanted >= 0 else value.real, imag if wanted >= 0 else value.imag)
