"""The steppers of one run, one after the other, and what is done between their steps."""

from collections.abc import Callable, Iterator
from typing import Literal

from processing.phase import ErrorReduction, HybridInputOutput, Relaxed, Stepper
from processing.project import Constraints, Objects
from processing.reflections import DifferenceMap, RelaxedReflections
from processing.shrinkwrap import ShrinkWrap

Algorithm = Literal["hio", "raar", "dm", "er"]

RELAXED: dict[Algorithm, type[Relaxed]] = {
    "hio": HybridInputOutput,
    "raar": RelaxedReflections,
    "dm": DifferenceMap,
}
"""The steppers with feedback, by the names in the settings."""

BETA: dict[Algorithm, float] = {"hio": 0.9, "raar": 0.99, "dm": 0.99, "er": 1.0}
"""Feedback by default. On sums of 300 frames of core-shell particles two thirds of the seeds of HIO end in the right
image for any from 0.8 to 0.95; of RAAR half at 0.99 but 3 % at 0.95; of DM two thirds at 0.99, 28 % at 0.9."""

_EVERY = 50


def schedule(
    constraints: Constraints,
    objects: Objects,
    *,
    algorithm: Algorithm,
    iterations: int,
    final_er: int,
    beta: float,
) -> Iterator[Stepper]:
    """The steppers of one run, each starting where the one before ended: that of the algorithm, then error reduction.

    Parameters
    ----------
    constraints : Constraints
        What is known.
    objects : ndarray of float32, shape (seeds, n, n)
        Where to start, wrapped.
    algorithm : {"hio", "raar", "dm", "er"}
        With "er" all iterations are error reduction.
    iterations : int
        All of them.
    final_er : int
        How many of these, at the end, are error reduction.
    beta : float
        Feedback.

    Yields
    ------
    Stepper
        To be driven until done before the next is asked for.
    """
    last = iterations if algorithm == "er" else min(final_er, iterations)
    support = None
    if iterations > last:
        first = RELAXED[algorithm](constraints, objects, iterations=iterations - last, beta=beta)
        yield first
        objects, support = first.solution(), first.support
    yield ErrorReduction(constraints, objects, iterations=last, support=support)


def drive(steppers: Iterator[Stepper], between: Callable[[int], None], shrink: ShrinkWrap | None = None) -> Objects:
    """Run steppers to their end.

    Parameters
    ----------
    steppers : iterator of Stepper
        From `schedule`.
    between : callable
        Called every 50 iterations or less with the number made since the last call; may raise to stop.
    shrink : ShrinkWrap, optional
        Draws the support anew between steps, but not during the error reduction at the end.

    Returns
    -------
    ndarray of float32, shape (seeds, n, n)
        Where the last stepper ended, wrapped.
    """
    objects: Objects | None = None
    every = _EVERY if shrink is None else shrink.every
    for stepper in steppers:
        while not stepper.done:
            count = min(every - stepper.iteration % every, stepper.iterations - stepper.iteration)
            for _ in range(count):
                stepper.update()
            if shrink is not None and isinstance(stepper, Relaxed):
                widest = stepper.constraints.support
                stepper.support = shrink.support(stepper.solution(), widest, stepper.iteration)
            between(count)
        objects = stepper.objects
    if objects is None:
        raise ValueError("schedule must hold at least one stepper, got none; ask for at least one iteration")
    return objects
