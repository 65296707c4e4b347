"""Steppers that decide by a reflection: RAAR and the difference map.

P is the projection onto the measured modulus, Q the one onto support and positivity, R = 2 P - 1 the reflection, x the
object:

    RAAR   x <- P x where R x satisfies support and positivity, beta x + (1 - 2 beta) P x elsewhere
                                                        (Luke, 2005, doi:10.1088/0266-5611/21/1/004)
    DM     x <- x + beta (Q f - P g),  f = P x + (P x - x) / beta,  g = Q x - (Q x - x) / beta
                                                        (Elser, 2003, doi:10.1364/JOSAA.20.000040)

With beta = 1 both are the same map.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from processing.phase import Relaxed
from processing.project import Objects


class RelaxedReflections(Relaxed):
    """RAAR: averaged alternating reflections, drawn towards the measured modulus."""

    def _merge(self, projected: Objects) -> None:
        _relax(self.objects, projected, self.support, self.beta)


class DifferenceMap(Relaxed):
    """DM: moves by the difference of the two projections, each of an estimate that the other has improved.

    An iteration projects twice onto the modulus, once with beta = 1. Where it comes to rest the objects need not be a
    solution; the projection of f is.
    """

    def _merge(self, projected: Objects) -> None:
        other = projected
        if self.beta != 1:
            leaning = np.empty_like(self.objects)
            _lean(self.objects, leaning, self.support, self.beta)
            other = self.constraints.onto_modulus(leaning)
        _move(self.objects, projected, other, self.support, self.beta)

    def solution(self) -> Objects:
        """Return Q f."""
        projected = self.constraints.onto_modulus(self.objects)
        ahead = projected + (projected - self.objects) / self.beta
        return np.where(self.support & (ahead > 0), ahead, np.float32(0.0))


@numba.njit(cache=True, nogil=True)
def _relax(
    objects: Objects, projected: Objects, support: NDArray[np.bool_], beta: np.float32
) -> None:  # pragma: no cover
    rest = np.float32(1) - np.float32(2) * beta
    for s in range(objects.shape[0]):
        inside = support[s % support.shape[0]]
        for i in range(objects.shape[1]):
            for j in range(objects.shape[2]):
                value, old = projected[s, i, j], objects[s, i, j]
                if inside[i, j] and value + value > old:
                    objects[s, i, j] = value
                else:
                    objects[s, i, j] = beta * old + rest * value


@numba.njit(cache=True, nogil=True)
def _lean(objects: Objects, leaning: Objects, support: NDArray[np.bool_], beta: np.float32) -> None:  # pragma: no cover
    """Write g: x inside, x / beta where Q x is zero."""
    for s in range(objects.shape[0]):
        inside = support[s % support.shape[0]]
        for i in range(objects.shape[1]):
            for j in range(objects.shape[2]):
                old = objects[s, i, j]
                leaning[s, i, j] = old if inside[i, j] and old > 0 else old / beta


@numba.njit(cache=True, nogil=True)
def _move(
    objects: Objects, projected: Objects, other: Objects, support: NDArray[np.bool_], beta: np.float32
) -> None:  # pragma: no cover
    for s in range(objects.shape[0]):
        inside = support[s % support.shape[0]]
        for i in range(objects.shape[1]):
            for j in range(objects.shape[2]):
                value = projected[s, i, j]
                ahead = value + (value - objects[s, i, j]) / beta
                if inside[i, j] and ahead > 0:
                    objects[s, i, j] += beta * (ahead - other[s, i, j])
                else:
                    objects[s, i, j] -= beta * other[s, i, j]
