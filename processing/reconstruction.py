"""What a reconstruction takes and gives: settings in, an image with its quality out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processing.phase import Start
from processing.schedule import Algorithm

Confidence = Literal["high", "low"]


class CannotReconstructError(ValueError):
    """Amplitudes that allow no reconstruction; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSettings:
    """How an image is reconstructed.

    Attributes
    ----------
    algorithm : {"hio", "ghio", "raar", "dm", "er"}
        Independent seeds of HIO, guided HIO (the paper's method), independent seeds of RAAR or of the difference map,
        or error reduction alone.
    seeds : int
        Random starts, or replicas of a generation.
    iterations : int
        Of every seed, or of every replica in each generation.
    generations : int
        Of guided HIO.
    final_er : int
        How many of the iterations, at the end, are error reduction; all of them when there are fewer.
    best_fraction : float
        Part of the seeds averaged into the image. The paper's 20 % of 100; 30 % leaves a tenth less error in 2.5 s.
    beta : float or None
        Feedback; None is what the algorithm does best with, `processing.schedule.BETA`.
    object_diameter_m : float or None
        Largest diameter of the object in m; None estimates it from the pattern.
    support_margin : float
        Radius of the support disc over the object's, 1.05 to 1.15.
    support : {"disc", "shrinkwrap"}
        The disc as it is, or one that is 0.2 wider and shrinks on to the object.
    support_threshold : float
        Part of the smoothed object's maximum above which shrink-wrap keeps a pixel; must be below the thinnest part of
        the object.
    start : {"phases", "rings"}
        Random phases, or one random sign a ring.
    restarts : int
        How often a doubtful result is given as many new seeds again.
    independent_seeds, independent_iterations : int
        Unguided runs beside a guided one: its second opinion, and its transfer function.
    seed : int
        Seed of all random numbers.
    workers : int
        Threads; the result does not depend on it.
    """

    algorithm: Algorithm | Literal["ghio"] = "hio"
    seeds: int = 100
    iterations: int = 1000
    generations: int = 10
    final_er: int = 30
    best_fraction: float = 0.3
    beta: float | None = None
    object_diameter_m: float | None = None
    support_margin: float = 1.1
    support: Literal["disc", "shrinkwrap"] = "disc"
    support_threshold: float = 0.04
    start: Start = "phases"
    restarts: int = 1
    independent_seeds: int = 40
    independent_iterations: int = 1000
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        counts = ("seeds", "iterations", "generations", "independent_seeds", "independent_iterations", "workers")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}; correct the settings")
        bounds = {
            "best_fraction": (0.0, 1.0),
            "beta": (0.0, 1.0),
            "support_margin": (0.5, 3.0),
            "support_threshold": (0.0, 1.0),
            "final_er": (0, 1_000_000),
            "restarts": (0, 100),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value}; correct the settings")
        if self.object_diameter_m is not None and not self.object_diameter_m > 0:
            raise ValueError(
                f"object diameter must be positive (m), got {self.object_diameter_m}; leave it out to estimate it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """An image and what is known about its quality.

    Attributes
    ----------
    image : ndarray of float32, shape (n, n)
        Projected density in units of the amplitude, object in the middle.
    pixel_size_m : float
        Its pixel in m.
    prtf, q_per_m : ndarray of float64, shape (m,)
        Transfer function from independent runs and its axis in 1/m.
    guided_prtf : ndarray of float64, shape (m,), or None
        The one of the guided replicas, which is optimistic.
    resolution_m : float
        Half-period where `prtf` first falls below 1/e; NaN when there is no such curve.
    r_factor : float
        Mean R of the solutions averaged. Small does not mean right: a looser support lowers it too.
    seeds_used : int
        Solutions averaged.
    seeds_run : int
        Solutions made.
    family_share : float
        Part of the independent seeds that found this image.
    agreement : float
        Coherence of two images made from one half of the independent seeds each (guided: of the guided and the
        independent image); 1 for the same.
    confidence : {"high", "low"}
        "low" whenever a warning says the image may be wrong.
    object_diameter_m : float
        Diameter used for the support.
    object_diameter_estimated : bool
        Whether it came from the pattern.
    central_speckles : float
        Diameter of the removed centre in speckles.
    warnings : tuple of str
        What the user should know, those of preparing included.
    settings : PhaseSettings
        How it was made.
    """

    image: NDArray[np.float32]
    pixel_size_m: float
    prtf: NDArray[np.float64]
    q_per_m: NDArray[np.float64]
    guided_prtf: NDArray[np.float64] | None
    resolution_m: float
    r_factor: float
    seeds_used: int
    seeds_run: int
    family_share: float
    agreement: float
    confidence: Confidence
    object_diameter_m: float
    object_diameter_estimated: bool
    central_speckles: float
    warnings: tuple[str, ...]
    settings: PhaseSettings
