"""Draw the figures of docs/explanation/phasing.md: `python docs/phasing_figures.py [FOLDER]`, in `make docs`.

The sums are simulated here. The figures show three things that words tell badly: the pattern and its hole, the particle
beside a wrong minimum, and the curves by which an image is trusted.
"""

import sys
from pathlib import Path

import numpy as np
import scipy.fft
from matplotlib.axes import Axes
from numpy.typing import NDArray

from processing.align import aligned, centred_on_mass
from processing.families import find_families
from processing.geometry import Geometry
from processing.mask import gap_mask
from processing.models import hard_sphere_structure, hollow_shell, sample
from processing.population import Meter, Run, solve_random
from processing.prepare import Prepared, PrepareSettings, SummedPattern, prepare
from processing.project import Constraints, constraints_of, disc
from processing.reconstruct import PhaseSettings, reconstruct
from processing.schedule import BETA
from processing.transfer import CUTOFF
from service.figures.style import MEASURED, MODEL, THIRD, letter, linear_map, new_figure, save
from service.reproduce.paper import BEAM_STOP_PX, RUNS

FOLDER = Path(__file__).resolve().parent / "explanation"
RUN = RUNS["au-sio2"]
SHAPE = (1065, 1030)
GEOMETRY = Geometry(wavelength_m=0.140556e-9, distance_m=2.08, pixel_m=75e-6, center=(488.3, 514.6))
SEEDS, ITERATIONS = 100, 1000


def simulated(frames: int, seed: int = 0) -> Prepared:
    """Amplitudes of a sum of so many frames of eig1m: equation (1) and photon noise, nothing else."""
    radius = GEOMETRY.radius_px(SHAPE)
    squared = RUN.model.amplitude(GEOMETRY.q_at_radius_per_m(radius)) ** 2
    counts = np.random.default_rng(seed).poisson(RUN.photons(squared, radius, GEOMETRY, frames)).astype(np.uint64)
    settings = PrepareSettings(background="none", object_diameter_m=RUN.model.outer_diameter_m)
    valid = gap_mask(SHAPE) & (radius > BEAM_STOP_PX)
    return prepare(SummedPattern(counts=counts, frames=frames), valid, GEOMETRY, settings)


def draw_pattern(path: Path) -> None:
    """Draw amplitude against q, for identical, unlike and crowded particles, with the hole."""
    model = sample("au-sio2")
    q = np.linspace(0.0, 0.8e9, 2000)
    figure = new_figure(7.2, 3.2)
    axes = figure.add_subplot()
    curves = (
        ("identical particles", np.abs(model.amplitude(q)), MEASURED, "-"),
        ("diameters spread by 1.25 nm", np.sqrt(model.mean_square(q, 1.25e-9)), MODEL, "-"),
        (
            "identical, filling 0.3 of space",
            np.abs(model.amplitude(q)) * np.sqrt(hard_sphere_structure(q, 55e-9, 0.3)),
            THIRD,
            "--",
        ),
    )
    for name, curve, colour, style in curves:
        axes.semilogy(1e-9 * q, curve, style, color=colour, linewidth=1.1, label=name)
    for px, text in ((57.0, "beam stop"), (151.0, "151 px, 2.1 speckles"), (453.0, "453 px, 6.4 speckles")):
        end = 1e-9 * float(GEOMETRY.q_at_radius_per_m(np.array(0.5 * px)))
        axes.axvspan(0.0, end, color="0.5", alpha=0.18, linewidth=0)
        axes.annotate(f"{text} ", (end, 4e2), ha="right", va="bottom", rotation=90)
    axes.set_xlim(0.0, 0.8)
    axes.set_ylim(3e2, 1.1 * model.electrons)
    axes.set_xlabel("q (1/nm)")
    axes.set_ylabel("amplitude of one particle (electrons)")
    axes.legend(frameon=False, loc="upper right")
    save(figure, path)


def draw_minima(path: Path) -> None:
    """Draw image and phases of the particle and of a wrong minimum, and the R of all seeds with their vortices."""
    prepared = simulated(300)
    n = prepared.amplitude.shape[0]
    support = disc(n, 0.55 * RUN.model.outer_diameter_m / prepared.pixel_size_m)
    constraints = constraints_of(prepared.amplitude, prepared.valid, support)
    how = Run(algorithm="hio", iterations=ITERATIONS, final_er=30, beta=BETA["hio"])
    keys = [(0, 0, k) for k in range(SEEDS)]
    images, r_factors = solve_random(constraints, keys, how, Meter(1, None, lambda: False), workers=2)
    families = find_families(images, r_factors, prepared.valid & (prepared.amplitude**2 > 3.0 * prepared.sigma))
    for family in families:
        print(f"family of {len(family.members)} of {SEEDS} seeds, R {family.r_factor:.3f}")
    found = [_count(image) for image in images]
    right = np.isin(np.arange(SEEDS), families[0].members)
    for name, mine in (("trusted family", right), ("all others", ~right)):
        counts = dict(zip(*np.unique(np.array(found)[mine], return_counts=True), strict=True))
        print(f"vortices inside the first zero, {name}:", {int(k): int(v) for k, v in counts.items()})
    where = np.concatenate([_places(vortices(phases_of(image)), prepared)[2] for image in images[~right]])
    print(f"all of them between {where.min():.2f} and {where.max():.2f} /nm")

    tell_patience(constraints)
    figure = new_figure(10.0, 5.2)
    grid = figure.add_gridspec(2, 3, width_ratios=(1.0, 1.0, 1.3))
    wrong = max(families[1:], key=lambda family: len(family.members))
    truth = RUN.model.projection(prepared.pixel_size_m, n)
    for row, (family, title) in enumerate(((families[0], "the particle"), (wrong, "a wrong minimum"))):
        best = aligned(images[family.members[0]], truth)
        shown = 1e-21 * best * float(np.sum(best * truth) / np.sum(best**2))
        _draw_solution(figure.add_subplot(grid[row, 0]), shown, prepared)
        letter(figure.axes[-2], "ac"[row], f"{title}, R {r_factors[family.members[0]]:.3f}")
        _draw_phases(figure.add_subplot(grid[row, 1]), phases_of(best), prepared)
        letter(figure.axes[-2], "bd"[row], "its phases; white: vortices")
    _draw_r_factors(figure.add_subplot(grid[:, 2]), r_factors, np.array(found))
    save(figure, path)


def tell_patience(constraints: Constraints, seeds: int = 32) -> None:
    """Print how many solutions have no vortex, and a small R, after more and more iterations of ER and of HIO."""
    for algorithm in ("er", "hio"):
        told = []
        for iterations in (100, 300, 1000):
            how = Run(algorithm=algorithm, iterations=iterations, final_er=30, beta=BETA[algorithm])
            keys = [(0, 0, k) for k in range(seeds)]
            images, r_factors = solve_random(constraints, keys, how, Meter(1, None, lambda: False), workers=2)
            free = np.array([_count(image) == 0 for image in images])
            told.append(f"{free.sum()} ({np.sum(free & (r_factors < 0.03))}) after {iterations}")
        print(f"{algorithm}, of {seeds} seeds without vortex (and R below 0.03):", ", ".join(told))


def _count(image: NDArray[np.floating]) -> int:
    return int(np.sum(vortices(phases_of(image))))


def phases_of(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Phases of the transform about the middle pixel."""
    centre = scipy.fft.ifftshift(centred_on_mass(image))
    return np.asarray(np.angle(scipy.fft.fftshift(scipy.fft.fft2(centre))))


def vortices(phases: NDArray[np.float64], within: float = 15.0) -> NDArray[np.bool_]:
    """Squares of four bins around which the phase winds, this near to the middle; shape (n - 1, n - 1)."""
    corners = (phases[:-1, :-1], phases[:-1, 1:], phases[1:, 1:], phases[1:, :-1])
    winding = np.zeros(corners[0].shape)
    for one, following in zip(corners, (*corners[1:], corners[0]), strict=True):
        step = following - one
        winding += step - 2.0 * np.pi * np.rint(step / (2.0 * np.pi))
    away = np.arange(len(winding)) + 0.5 - len(phases) // 2
    return (np.abs(winding) > np.pi) & (np.hypot(away[:, None], away[None, :]) < within)


def _places(found: NDArray[np.bool_], prepared: Prepared) -> tuple[NDArray[np.float64], ...]:
    """Vectors x and y of the vortices and their length, 1/nm."""
    n = len(found) + 1
    row, col = np.nonzero(found)
    y, x = ((at + 1.0 - 0.5 * n) * 2e-9 * np.pi / (n * prepared.pixel_size_m) for at in (row, col))
    return x, y, np.hypot(x, y)


def _draw_solution(axes: Axes, image: NDArray[np.float64], prepared: Prepared) -> None:
    n = len(image)
    crop = image[n // 2 - 11 : n // 2 + 12, n // 2 - 11 : n // 2 + 12]
    limits = (0.0, float(crop.max()))
    pixel_nm = 1e9 * prepared.pixel_size_m
    linear_map(axes, crop, label="10³ electrons / nm²", limits=limits, pixel_nm=pixel_nm, bar_nm=20.0)


def _draw_phases(axes: Axes, phases: NDArray[np.float64], prepared: Prepared) -> None:
    """Phases within the first rings, the hole, and the vortices."""
    step = 2e-9 * np.pi / (len(phases) * prepared.pixel_size_m)
    half = 0.5 * len(phases) * step
    shown = axes.imshow(phases, cmap="twilight", vmin=-np.pi, vmax=np.pi, extent=(-half, half, half, -half))
    axes.figure.colorbar(shown, ax=axes, label="phase (rad)", shrink=0.82, pad=0.03)
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    hole = 0.5 * prepared.central_px / prepared.bin_px * step
    axes.plot(hole * np.cos(angle), hole * np.sin(angle), color="0.7", linewidth=0.8, linestyle=":")
    x, y, _ = _places(vortices(phases), prepared)
    axes.plot(x, y, "o", color="white", markersize=6, markerfacecolor="none", markeredgewidth=1.5)
    axes.set_xlim(-0.5, 0.5)
    axes.set_ylim(0.5, -0.5)
    axes.set_xlabel("q (1/nm)")
    axes.set_ylabel("q (1/nm)")


def _draw_r_factors(axes: Axes, r_factors: NDArray[np.float64], found: NDArray[np.intp]) -> None:
    """R of every seed, smallest first, coloured by whether it has vortices."""
    order = np.argsort(r_factors)
    for mine, colour, name in ((found == 0, MEASURED, "no vortex"), (found > 0, MODEL, "vortices")):
        rank = np.flatnonzero(mine[order]) + 1
        axes.plot(rank, r_factors[order][rank - 1], "o", color=colour, markersize=3, label=f"{name}: {rank.size} seeds")
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("seed, sorted by R")
    axes.set_ylabel("R")
    axes.legend(frameon=False, loc="lower right")
    letter(axes, "e", f"R after {ITERATIONS} iterations of HIO")


def draw_trust(path: Path) -> None:
    """Draw transfer functions of independent and guided runs, and the profile of a shell."""
    figure = new_figure(9.6, 3.6)
    _draw_transfer(figure.add_subplot(1, 2, 1))
    _draw_shell(figure.add_subplot(1, 2, 2))
    save(figure, path)


def _draw_transfer(axes: Axes) -> None:
    """Draw the curves that the same single frame gives to more and fewer runs, and to guided replicas."""
    prepared = simulated(1)
    known = {"object_diameter_m": RUN.model.outer_diameter_m, "workers": 2}
    for seeds, style in ((100, "-"), (40, "-."), (20, ":")):
        alone = reconstruct(prepared, PhaseSettings(seeds=seeds, best_fraction=0.2 if seeds < 100 else 0.3, **known))
        name = f"{alone.seeds_used} independent runs"
        axes.plot(1e-9 * alone.q_per_m, alone.prtf, style, color=MEASURED, linewidth=1.2, label=name)
        print(
            f"one frame, {name}: resolution {1e9 * alone.resolution_m:.2f} nm, least PRTF {np.nanmin(alone.prtf):.2f}"
        )
    guided = reconstruct(prepared, PhaseSettings(algorithm="ghio", iterations=100, best_fraction=0.2, **known))
    assert guided.guided_prtf is not None
    name = f"{guided.seeds_used} guided replicas"
    axes.plot(1e-9 * guided.q_per_m, guided.guided_prtf, "--", color=THIRD, label=name)
    print(f"one frame, {name}: least PRTF {np.nanmin(guided.guided_prtf):.2f}")
    axes.axhline(CUTOFF, color=MODEL, linewidth=0.9)
    axes.annotate("1/e", (0.01, CUTOFF + 0.01), xycoords=("axes fraction", "data"), color=MODEL, va="bottom")
    axes.axvline(1e-9 * np.pi / prepared.pixel_size_m, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_ylim(0.0, 1.15)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("q (1/nm); half-period is π / q; dotted: edge of the array")
    axes.set_ylabel("phase-retrieval transfer function")
    axes.legend(frameon=False, loc="lower left")
    letter(axes, "a", "one frame, au-sio2")


def _draw_shell(axes: Axes, pixel_nm: float = 1.3) -> None:
    shell = hollow_shell(outer_diameter_m=19e-9, thickness_m=2.6e-9)
    fine, coarse = (shell.projection(1e-9 * a, 2 * int(12 / a) + 1) for a in (0.05, pixel_nm))
    for image, a, colour, style in ((fine, 0.05, MEASURED, "-"), (coarse, pixel_nm, MODEL, "s--")):
        half = len(image) // 2
        name = "projection" if a < pixel_nm else f"mean over pixels of {a} nm"
        place = (np.arange(len(image)) - half) * a
        axes.plot(place, 1e-18 * image[half], style, color=colour, markersize=3, linewidth=1.1, label=name)
    for edge in (6.9, 9.5):
        axes.axvline(edge, color="0.6", linewidth=0.8, linestyle=":")
    axes.annotate("2.6 nm", (8.2, 20.0), ha="center", va="bottom", color="0.4")
    axes.set_xlim(0.0, 12.0)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("distance from the centre (nm)")
    axes.set_ylabel("electrons / nm²")
    axes.legend(frameon=False, loc="lower left")
    letter(axes, "b", "a shell seen in projection, from its centre outwards")


def main(folder: Path = FOLDER) -> int:
    """Draw all into a folder, by default that of the page."""
    draw_pattern(folder / "phasing_pattern.png")
    draw_minima(folder / "phasing_minima.png")
    draw_trust(folder / "phasing_trust.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
