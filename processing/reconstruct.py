"""From amplitudes to an image that says how far it can be trusted.

Many independent seeds, sorted into families, the best of the best family averaged; a second opinion from each half of
the seeds; the transfer function from independent runs. A result that may be a wrong minimum is started again and, if
that does not help, marked (science.md 4).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.align import aligned, centred_on_mass, coherence
from processing.families import Family, best_mean, find_families, group_agreement
from processing.modulation import is_modulated
from processing.object_size import estimate_diameter_m
from processing.phase import Start
from processing.population import Meter, ReconstructionStoppedError, Run, solve_guided, solve_random
from processing.prepared import Prepared
from processing.project import Constraints, Objects, constraints_of, disc
from processing.reconstruction import CannotReconstructError, PhaseSettings, Reconstruction
from processing.schedule import BETA, Algorithm
from processing.shrinkwrap import ShrinkWrap
from processing.transfer import Transfer, transfer_function

__all__ = [
    "CannotReconstructError",
    "PhaseSettings",
    "Reconstruction",
    "ReconstructionStoppedError",
    "reconstruct",
]

_AGREE = 0.90  # coherence of two images of one family; of two families 0.85 and less
_LEAST_SHARE = 0.1  # of the seeds in the trusted family
_RIVAL_R, _RIVAL_SIZE = 1.15, 0.15  # another family of such an R and size (over the best) makes the choice doubtful
_LEAST_SEED_ITERATIONS = 20_000  # 85 % of seeds are wrong after 300 iterations, 40 % after 1000: fewer could all be
_CLEAR_SIGMA = 3.0  # images are compared where the pattern stands out of the noise
_MOST_CENTRAL_SPECKLES = 4.0  # 3.9 still gives SSIM 0.995, 4.5 gives 0.937, 6.4 nothing (science.md 4)
_DIAMETER_TOLERANCE = 0.09  # of a given diameter against the one the pattern shows
_SUPPORT_SHORT = 0.02  # of the object the pattern shows: how much narrower a support may look that holds it
_ESTIMATE_MARGIN = 0.02  # added to the support when the diameter was estimated: few frames make it up to 6 % low
_FAINT = 0.01  # of the image's maximum: is part of the object
_SHRINKWRAP_MARGIN = 0.2  # added to the support that shrink-wrap begins with and never leaves
_WIDEST_SUPPORT = 0.45  # of the array: the object's autocorrelation must fit
_LEAST_ELEMENTS = 3.0  # resolved over the diameter
_TRANSFER_IMAGES = 30  # the transfer function rests on so many where there are so many
_LEAST_TRANSFER_IMAGES = 8  # random phases leave sqrt(pi / 4 M) of M images: 0.31, not far below 1/e


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """All that stays the same during one reconstruction."""

    settings: PhaseSettings
    constraints: Constraints
    clear: NDArray[np.bool_]  # measured and above the noise
    meter: Meter

    def run(self, iterations: int) -> Run:
        """How a seed is driven for so many iterations."""
        s = self.settings
        algorithm: Algorithm = "hio" if s.algorithm == "ghio" else s.algorithm
        shrink = ShrinkWrap(threshold=s.support_threshold) if s.support == "shrinkwrap" else None
        last = min(s.final_er, iterations)
        beta = BETA[algorithm] if s.beta is None else s.beta
        return Run(algorithm=algorithm, iterations=iterations, final_er=last, beta=beta, shrink=shrink)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solutions:
    """Images of many seeds and what they say together."""

    images: Objects
    r_factors: NDArray[np.float64]
    families: list[Family]
    agreement: float
    iterations: int

    @property
    def share(self) -> float:
        """Part of the seeds in the trusted family."""
        return len(self.families[0].members) / len(self.images)

    def doubts(self) -> list[str]:
        """Why the trusted family may be a wrong minimum; empty when nothing speaks for that."""
        best, *others = self.families
        found = []
        made = len(self.images) * self.iterations
        if made < _LEAST_SEED_ITERATIONS:
            found.append(
                f"independent seeds x iterations must be at least {_LEAST_SEED_ITERATIONS} to rule a wrong minimum "
                f"out, got {made}; use more seeds"
            )
        if self.share < _LEAST_SHARE or len(best.members) < 2:
            found.append(
                f"only {len(best.members)} of {len(self.images)} seeds found this image; it may be a wrong minimum"
            )
        if self.agreement < _AGREE:
            found.append(
                f"images from either half of the seeds must agree to {_AGREE:.2f}, got {self.agreement:.2f}; "
                "it may be a wrong minimum"
            )
        least = max(2.0, _RIVAL_SIZE * len(best.members))
        rivals = [f for f in others if len(f.members) >= least and f.r_factor < _RIVAL_R * best.r_factor]
        if rivals:
            found.append(
                f"{len(rivals[0].members)} seeds found another image with R {rivals[0].r_factor:.3f} beside "
                f"{best.r_factor:.3f}; either may be right"
            )
        return found


def reconstruct(
    prepared: Prepared,
    settings: PhaseSettings | None = None,
    *,
    progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Reconstruction:
    """Image of one particle from prepared amplitudes.

    Parameters
    ----------
    prepared : Prepared
        Amplitudes.
    settings : PhaseSettings, optional
        How; quick and unguided by default.
    progress : callable, optional
        Called with the fraction done, 0 to 1, from working threads.
    should_stop : callable, optional
        Asked every 50 iterations, from working threads.

    Returns
    -------
    Reconstruction
        The image, with its confidence.

    Raises
    ------
    CannotReconstructError
        If nothing was measured, or the object's diameter is neither given nor to be seen in the pattern, or does not
        fit the array.
    ReconstructionStoppedError
        If `should_stop` said so.
    """
    settings = settings or PhaseSettings()
    diameter, estimated, doubts = _diameter(prepared, settings)
    task = _task(prepared, settings, diameter, Meter(_expected(settings), progress, should_stop), estimated)
    independent = _independent(task)
    doubts += independent.doubts()
    delivered, agreement = independent, independent.agreement
    if settings.algorithm == "ghio":
        delivered, agreement = _guided(task, independent)
        if agreement < _AGREE:
            doubts.append(
                f"guided and independent images must agree to {_AGREE:.2f}, got {agreement:.2f}; "
                "it may be a wrong minimum"
            )
    used = _count(settings, delivered)
    mean = best_mean(delivered.images, delivered.families[0], used)
    curve = _transfer(prepared, independent, settings, diameter)
    guided = None if delivered is independent else _transfer(prepared, delivered, settings, diameter).prtf
    doubts += _limits(prepared, diameter, curve)
    if settings.support == "shrinkwrap":
        doubts += _shrunk_too_far(mean, diameter / prepared.pixel_size_m)
    return Reconstruction(
        image=centred_on_mass(mean).astype(np.float32),
        pixel_size_m=prepared.pixel_size_m,
        prtf=curve.prtf,
        q_per_m=curve.q_per_m,
        guided_prtf=guided,
        resolution_m=curve.resolution_m,
        r_factor=float(delivered.r_factors[list(delivered.families[0].members[:used])].mean()),
        seeds_used=used,
        seeds_run=len(independent.images) + (0 if delivered is independent else len(delivered.images)),
        family_share=independent.share,
        agreement=agreement,
        confidence="low" if doubts else "high",
        object_diameter_m=diameter,
        object_diameter_estimated=estimated,
        central_speckles=prepared.central_speckles(diameter),
        warnings=(*prepared.warnings, *doubts),
        settings=settings,
    )


def _diameter(prepared: Prepared, settings: PhaseSettings) -> tuple[float, bool, list[str]]:
    """Diameter of the object in m, whether it was estimated, and what speaks against a given one."""
    if not np.any(prepared.amplitude[prepared.valid] > 0):
        raise CannotReconstructError(
            "amplitudes must hold at least one measured bin above zero, got none; sum more frames, or check the mask"
        )
    seen = estimate_diameter_m(prepared)
    given = settings.object_diameter_m
    if given is None and seen is None:
        raise CannotReconstructError(
            "object diameter must be given: the pattern does not show it, having too few photons or a background of "
            "its own; set object_diameter_m"
        )
    diameter = given if given is not None else float(seen or 0.0)
    widest = _WIDEST_SUPPORT * prepared.amplitude.shape[0] * prepared.pixel_size_m
    if not prepared.pixel_size_m * 2 < diameter < widest:
        raise CannotReconstructError(
            f"object diameter must be between two pixels and 0.45 of the array, {2e9 * prepared.pixel_size_m:.2g} to "
            f"{1e9 * widest:.3g} nm, got {1e9 * diameter:.3g} nm; correct it or reduce the array less"
        )
    doubts = []
    if given is not None and seen is not None and abs(given / seen - 1.0) > _DIAMETER_TOLERANCE:
        doubts.append(
            f"object diameter must agree with the pattern, which shows {1e9 * seen:.3g} nm, "
            f"got {1e9 * given:.3g} nm; the support may be wrong"
        )
    margin = _margin(settings, estimated=given is None)
    if seen is not None and margin * diameter < (1.0 - _SUPPORT_SHORT) * seen:
        doubts.append(
            f"support must hold the object, which the pattern shows to be {1e9 * seen:.3g} nm wide, got a disc of "
            f"{1e9 * margin * diameter:.3g} nm; raise support_margin to 1.1"
        )
    return diameter, given is None, doubts


def _margin(settings: PhaseSettings, *, estimated: bool) -> float:
    """Width of the support over the object's diameter."""
    return (
        settings.support_margin
        + (_ESTIMATE_MARGIN if estimated else 0.0)
        + (_SHRINKWRAP_MARGIN if settings.support == "shrinkwrap" else 0.0)
    )


def _task(prepared: Prepared, settings: PhaseSettings, diameter: float, meter: Meter, estimated: bool) -> _Task:
    """Constraints and the part of the transform in which images are compared."""
    radius = _margin(settings, estimated=estimated) * diameter / 2.0 / prepared.pixel_size_m
    constraints = constraints_of(prepared.amplitude, prepared.valid, disc(prepared.amplitude.shape[0], radius))
    clear = prepared.valid & (prepared.amplitude**2 > _CLEAR_SIGMA * prepared.sigma)
    return _Task(
        settings=settings, constraints=constraints, clear=clear if clear.any() else prepared.valid, meter=meter
    )


def _expected(settings: PhaseSettings) -> int:
    """Seed iterations without restarts."""
    own = settings.seeds * settings.iterations
    if settings.algorithm != "ghio":
        return own
    return own * settings.generations + settings.independent_seeds * settings.independent_iterations


def _count(settings: PhaseSettings, solutions: _Solutions) -> int:
    """How many solutions are averaged: the best fraction of the seeds, all of one family."""
    wanted = max(1, round(settings.best_fraction * len(solutions.images)))
    return min(wanted, len(solutions.families[0].members))


def _judged(task: _Task, images: Objects, r_factors: NDArray[np.float64], iterations: int) -> _Solutions:
    """Solutions with their families and the agreement of their halves."""
    families = find_families(images, r_factors, task.clear)
    agreement = group_agreement(images, r_factors, task.clear, fraction=task.settings.best_fraction)
    return _Solutions(images=images, r_factors=r_factors, families=families, agreement=agreement, iterations=iterations)


def _independent(task: _Task) -> _Solutions:
    """Unguided seeds; doubtful ones get as many others, which start from one sign a ring."""
    settings = task.settings
    guided = settings.algorithm == "ghio"
    seeds = settings.independent_seeds if guided else settings.seeds
    iterations = settings.independent_iterations if guided else settings.iterations
    run = task.run(iterations)
    start: Start = settings.start
    images, r_factors = solve_random(
        task.constraints, _keys(settings, 0, seeds), run, task.meter, start=start, workers=settings.workers
    )
    found = _judged(task, images, r_factors, iterations)
    for again in range(settings.restarts):
        if not found.doubts():
            break
        task.meter.expect(seeds * iterations)
        keys = _keys(settings, 1 + again, seeds)
        more = solve_random(task.constraints, keys, run, task.meter, start="rings", workers=settings.workers)
        found = _judged(
            task, np.concatenate([found.images, more[0]]), np.concatenate([found.r_factors, more[1]]), iterations
        )
    return found


def _keys(settings: PhaseSettings, attempt: int, seeds: int) -> list[tuple[int, ...]]:
    """Keys of the random numbers of each seed."""
    return [(settings.seed, attempt, k) for k in range(seeds)]


def _guided(task: _Task, independent: _Solutions) -> tuple[_Solutions, float]:
    """Guided replicas and their agreement with the independent image.

    A population that locked on to another image starts again from the independent family.
    """
    settings = task.settings
    run = task.run(settings.iterations)
    first = solve_random(
        task.constraints,
        _keys(settings, 1000, settings.seeds),
        run,
        task.meter,
        start=settings.start,
        workers=settings.workers,
    )
    found, agreement = _bred(task, first, run, independent)
    if agreement < _AGREE and not independent.doubts():
        task.meter.expect(settings.seeds * settings.iterations * (settings.generations - 1))
        members = independent.families[0].members
        chosen = [members[k % len(members)] for k in range(settings.seeds)]
        found, agreement = _bred(task, (independent.images[chosen], independent.r_factors[chosen]), run, independent)
    return found, agreement


def _bred(
    task: _Task, first: tuple[Objects, NDArray[np.float64]], run: Run, independent: _Solutions
) -> tuple[_Solutions, float]:
    """Guided solutions from a first generation, and their agreement with the independent image."""
    settings = task.settings
    images, r_factors = solve_guided(
        task.constraints,
        *first,
        run,
        task.meter,
        generations=settings.generations - 1,
        workers=settings.workers,
    )
    found = _judged(task, images, r_factors, settings.iterations)
    own = best_mean(images, found.families[0], _count(settings, found))
    other = best_mean(independent.images, independent.families[0], _count(settings, independent))
    return found, coherence(aligned(other, own), own, task.clear)


def _transfer(prepared: Prepared, solutions: _Solutions, settings: PhaseSettings, diameter: float) -> Transfer:
    """Transfer function of the solutions averaged, or of more of their family where these are few."""
    members = solutions.families[0].members[: max(_TRANSFER_IMAGES, _count(settings, solutions))]
    return transfer_function(
        [solutions.images[k] for k in members],
        prepared.amplitude,
        prepared.valid,
        pixel_size_m=prepared.pixel_size_m,
        speckle_bins=prepared.speckle_bins(diameter),
    )


def _shrunk_too_far(image: NDArray[np.float64], diameter_px: float) -> list[str]:
    """Whether shrink-wrap took a part of the object away, which neither R nor agreement tells."""
    away = np.arange(len(image)) - len(image) // 2
    positive = centred_on_mass(image) > _FAINT * image.max()
    width = 2.0 * float(np.hypot(away[:, None], away[None, :])[positive].max(initial=0.0)) + 1.0
    if width >= (1.0 - _DIAMETER_TOLERANCE) * diameter_px:
        return []
    words = f"object must be as wide as its pattern says, {diameter_px:.1f} image pixels, got {width:.1f} left by"
    return [f"{words} shrink-wrap; lower support_threshold"]


def _limits(prepared: Prepared, diameter: float, curve: Transfer) -> list[str]:
    """What the data themselves cannot carry."""
    found = []
    if not is_modulated(prepared):
        found.append(
            "pattern must go up and down as that of a particle does, got a smooth one; it may be of air and membrane "
            "alone: check the screening and that background is subtracted, or sum more frames"
        )
    speckles = prepared.central_speckles(diameter)
    if speckles > _MOST_CENTRAL_SPECKLES:
        found.append(
            f"removed centre must be at most {_MOST_CENTRAL_SPECKLES:g} speckles wide, got {speckles:.1f} "
            f"({prepared.central_px:g} px); remove less of it, or the image cannot be trusted"
        )
    if not curve.resolution_m < diameter / _LEAST_ELEMENTS:
        found.append(
            f"resolution must be at most a third of the object's {1e9 * diameter:.3g} nm, got "
            f"{1e9 * curve.resolution_m:.3g} nm; sum more frames"
        )
    if curve.images < _LEAST_TRANSFER_IMAGES:
        found.append(
            f"resolution must rest on at least {_LEAST_TRANSFER_IMAGES} images, got {curve.images}, of which random "
            f"phases alone leave {np.sqrt(np.pi / 4 / curve.images):.2f}; use more seeds"
        )
    return found
