"""Many seeds at once: batches that stay in the cache, on threads, the same result for any number of them.

A batch is a fixed set of seeds, whatever the workers, because a transform of several objects at once may round its last
digit differently from one alone.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.align import aligned
from processing.phase import Start, random_objects
from processing.project import Constraints, Objects, centred, wrapped
from processing.schedule import Algorithm, drive, schedule
from processing.shrinkwrap import ShrinkWrap

_CACHE_PIXELS = 40_000  # of float32 objects in a batch; with their transforms they fill a core's second cache


class ReconstructionStoppedError(Exception):
    """The caller asked the reconstruction to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How each seed is driven.

    Attributes
    ----------
    algorithm : {"hio", "raar", "dm", "er"}
        Method.
    iterations, final_er : int
        Iterations, and how many of them, at the end, are error reduction.
    beta : float
        Feedback.
    shrink : ShrinkWrap or None
        How the support is drawn anew between steps; None keeps it.
    """

    algorithm: Algorithm
    iterations: int
    final_er: int
    beta: float
    shrink: ShrinkWrap | None = None


class Meter:
    """Counts seed iterations over all threads and passes on a wish to stop.

    Parameters
    ----------
    total : int
        Seed iterations expected.
    progress : callable or None
        Called with the fraction done, 0 to 1, from the threads that work.
    should_stop : callable
        Asked every few iterations.
    """

    def __init__(self, total: int, progress: Callable[[float], None] | None, should_stop: Callable[[], bool]) -> None:
        self._total = max(1, total)
        self._progress = progress
        self._should_stop = should_stop
        self._made = 0
        self._lock = threading.Lock()

    def expect(self, more: int) -> None:
        """Add to the seed iterations expected."""
        with self._lock:
            self._total += more

    def add(self, made: int) -> None:
        """Count seed iterations.

        Raises
        ------
        ReconstructionStoppedError
            If the caller wishes to stop.
        """
        if self._should_stop():
            raise ReconstructionStoppedError("reconstruction stopped before its end; its result is not used")
        with self._lock:
            self._made += made
            if self._progress is not None:
                self._progress(min(1.0, self._made / self._total))


def batch_size(n: int) -> int:
    """Seeds in a batch for arrays of n x n: a power of two up to 8."""
    size = 8
    while size > 1 and size * n * n > _CACHE_PIXELS:
        size //= 2
    return size


def solve_random(
    constraints: Constraints,
    keys: list[tuple[int, ...]],
    run: Run,
    meter: Meter,
    *,
    start: Start = "phases",
    workers: int = 1,
) -> tuple[Objects, NDArray[np.float64]]:
    """Solutions from random starts.

    Parameters
    ----------
    constraints : Constraints
        What is known.
    keys : list of tuple of int
        One a seed.
    run : Run
        How.
    meter : Meter
        Counts and stops.
    start : {"phases", "rings"}
        Kind of random start.
    workers : int
        Threads.

    Returns
    -------
    images : ndarray of float32, shape (seeds, n, n)
        Solutions, centred, positive inside the support.
    r_factors : ndarray of float64, shape (seeds,)
        Their R factors.
    """
    size = batch_size(constraints.n)

    def solve(first: int) -> tuple[Objects, NDArray[np.float64]]:
        return _drive(constraints, random_objects(constraints, keys[first : first + size], start), run, meter)

    return _over_batches(solve, len(keys), size, workers)


def solve_guided(
    constraints: Constraints,
    images: Objects,
    r_factors: NDArray[np.float64],
    run: Run,
    meter: Meter,
    *,
    generations: int,
    workers: int = 1,
) -> tuple[Objects, NDArray[np.float64]]:
    """Guided HIO (Chen et al., 2007, doi:10.1103/PhysRevB.76.064113).

    The best image of a generation is the template. Every replica is laid on it by shift and inversion, and starts the
    next generation from their geometric mean sqrt(template x replica): what both show stays, what one shows alone
    fades.

    Parameters
    ----------
    constraints, run, meter, workers
        As for `solve_random`.
    images : ndarray of float32, shape (seeds, n, n)
        The first generation, centred.
    r_factors : ndarray of float64, shape (seeds,)
        Its R factors.
    generations : int
        Generations beyond the first.

    Returns
    -------
    images, r_factors
        The last generation, as from `solve_random`.
    """
    size = batch_size(constraints.n)
    for _ in range(generations):
        template = np.maximum(images[int(np.argmin(r_factors))], np.float32(0.0))
        parents = images

        def breed(
            first: int, parents: Objects = parents, template: Objects = template
        ) -> tuple[Objects, NDArray[np.float64]]:
            laid = np.stack([np.maximum(aligned(image, template), 0.0) for image in parents[first : first + size]])
            children = np.sqrt(laid * template).astype(np.float32)
            return _drive(constraints, wrapped(children), run, meter)

        images, r_factors = _over_batches(breed, len(images), size, workers)
    return images, r_factors


def _drive(constraints: Constraints, objects: Objects, run: Run, meter: Meter) -> tuple[Objects, NDArray[np.float64]]:
    """One batch from start to end."""
    steppers = schedule(
        constraints,
        objects,
        algorithm=run.algorithm,
        iterations=run.iterations,
        final_er=run.final_er,
        beta=run.beta,
    )
    ended = drive(steppers, lambda made: meter.add(made * len(objects)), run.shrink)
    return centred(ended), constraints.r_factor(ended)


def _over_batches(
    solve: Callable[[int], tuple[Objects, NDArray[np.float64]]], seeds: int, size: int, workers: int
) -> tuple[Objects, NDArray[np.float64]]:
    """Results of all batches in the order of the seeds."""
    firsts = range(0, seeds, size)
    if workers <= 1:
        results = [solve(first) for first in firsts]
    else:
        with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="phase") as pool:
            results = list(pool.map(solve, firsts))
    return np.concatenate([images for images, _ in results]), np.concatenate([r for _, r in results])
