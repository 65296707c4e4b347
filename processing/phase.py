"""Phase retrieval as steppers: the caller owns the loop and may look, publish or stop between two steps.

    while not stepper.done:
        stepper.update()

P is the projection onto the measured modulus, x the object, S where the support and positivity hold for P x:

    ER     x <- P x in S, 0 elsewhere                       (Fienup, 1982, doi:10.1364/AO.21.002758)
    HIO    x <- P x in S, x - beta P x elsewhere            (the same)

RAAR and the difference map, which decide by a reflection, are in `processing.reflections`.
"""

from typing import Literal

import numba
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from processing.project import Constraints, Objects

Start = Literal["phases", "rings"]


class Stepper:
    """A stack of objects on their way to the constraints.

    Parameters
    ----------
    constraints : Constraints
        What is known.
    objects : ndarray of float32, shape (seeds, n, n)
        Where to start, wrapped; copied.
    iterations : int
        Updates until `done`.
    iteration : int
        Updates made before, for a run that is resumed.
    support : ndarray of bool, shape (1 or seeds, n, n), optional
        Where the objects may be, one for all or one a seed; by default what the constraints say.

    Attributes
    ----------
    objects : ndarray of float32, shape (seeds, n, n)
        The objects now; with `iteration` (and `support`, if the caller changes it between updates) the whole state, so
        that a run can be resumed.
    iteration : int
        Updates so far.
    support : ndarray of bool, shape (1 or seeds, n, n)
        May be replaced between two updates.
    """

    def __init__(
        self,
        constraints: Constraints,
        objects: Objects,
        *,
        iterations: int,
        iteration: int = 0,
        support: NDArray[np.bool_] | None = None,
    ) -> None:
        self.constraints = constraints
        self.objects: Objects = np.array(objects, dtype=np.float32, order="C")
        self.iterations = iterations
        self.iteration = iteration
        self.support = constraints.support[None] if support is None else support

    @property
    def done(self) -> bool:
        """Whether all updates were made."""
        return self.iteration >= self.iterations

    def update(self) -> None:
        """Make one iteration."""
        self._merge(self.constraints.onto_modulus(self.objects))
        self.iteration += 1

    def solution(self) -> Objects:
        """Return what the objects stand for; where the next stepper starts."""
        return self.objects

    def _merge(self, projected: Objects) -> None:
        raise NotImplementedError


class ErrorReduction(Stepper):
    """ER: keeps what satisfies support and positivity, sets the rest to zero."""

    def _merge(self, projected: Objects) -> None:
        _keep(projected, self.support)
        self.objects = projected


class Relaxed(Stepper):
    """A stepper with a feedback.

    Parameters
    ----------
    constraints, objects, iterations, iteration, support
        As for `Stepper`.
    beta : float
        Feedback; `processing.schedule.BETA` has what each does best with.
    """

    def __init__(
        self,
        constraints: Constraints,
        objects: Objects,
        *,
        iterations: int,
        iteration: int = 0,
        support: NDArray[np.bool_] | None = None,
        beta: float = 0.9,
    ) -> None:
        super().__init__(constraints, objects, iterations=iterations, iteration=iteration, support=support)
        self.beta = np.float32(beta)


class HybridInputOutput(Relaxed):
    """HIO: drives what violates support or positivity towards zero by feedback."""

    def _merge(self, projected: Objects) -> None:
        _feed_back(self.objects, projected, self.support, self.beta)


def random_objects(constraints: Constraints, keys: list[tuple[int, ...]], start: Start = "phases") -> Objects:
    """Objects with the measured amplitudes and random phases.

    Parameters
    ----------
    constraints : Constraints
        The measured amplitudes; missing ones start as zero.
    keys : list of tuple of int
        One a seed, from which its random numbers are drawn: the same key gives the same object in any company.
    start : {"phases", "rings"}
        Uniform phases, or one random sign a ring of the transform (science.md 4: for round objects).

    Returns
    -------
    ndarray of float32, shape (len(keys), n, n)
        Wrapped.
    """
    n, half = constraints.n, constraints.n // 2 + 1
    amplitude = np.maximum(constraints.modulus, 0.0)
    ring = np.rint(np.hypot(scipy.fft.fftfreq(n, 1 / n)[:, None], np.arange(half)[None, :])).astype(np.intp)
    transforms = np.empty((len(keys), n, half), dtype=np.complex64)
    for k, key in enumerate(keys):
        rng = np.random.default_rng(key)
        if start == "rings":
            signs = rng.choice(np.array([-1.0, 1.0]), size=int(ring.max()) + 1)
            transforms[k] = amplitude * signs[ring]
        else:
            transforms[k] = amplitude * np.exp(2j * np.pi * rng.random((n, half)))
    out: Objects = scipy.fft.irfft2(transforms, s=(n, n), axes=(1, 2), workers=1)
    return out


@numba.njit(cache=True, nogil=True)
def _keep(projected: Objects, support: NDArray[np.bool_]) -> None:  # pragma: no cover
    for s in range(projected.shape[0]):
        inside = support[s % support.shape[0]]
        for i in range(projected.shape[1]):
            for j in range(projected.shape[2]):
                if not (inside[i, j] and projected[s, i, j] > 0):
                    projected[s, i, j] = 0


@numba.njit(cache=True, nogil=True)
def _feed_back(
    objects: Objects, projected: Objects, support: NDArray[np.bool_], beta: np.float32
) -> None:  # pragma: no cover
    for s in range(objects.shape[0]):
        inside = support[s % support.shape[0]]
        for i in range(objects.shape[1]):
            for j in range(objects.shape[2]):
                value = projected[s, i, j]
                if inside[i, j] and value > 0:
                    objects[s, i, j] = value
                else:
                    objects[s, i, j] -= beta * value
