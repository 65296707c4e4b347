"""HIO iterations a second on both cores: ours beside what one would write with numpy.fft, scipy.fft and pyfftw.

And whole reconstructions of the same data beside cohere-core, where it is installed.

    python tests/benchmarks/bench_phase.py [--sizes 65 325 512 1000] [--rounds 7] [--threads 2]

Every route makes the same iteration: transform, set the measured modulus, transform back, feed back. One seed a thread
(ours several where they fit the cache), two threads, all routes in turn within a round; medians. A seed's iteration
counts as one. The last line is JSON.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import contextlib
import io
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.fft

from processing.align import aligned
from processing.phase import HybridInputOutput, random_objects
from processing.population import batch_size
from processing.project import Constraints
from processing.schedule import schedule

try:  # not among our dependencies: measured where it is installed
    import pyfftw
except ImportError:
    pyfftw = None
try:
    from cohere_core.controller.phasing import Rec
except ImportError:
    Rec = None

SIZES = (65, 325, 512, 1000)
THREADS = 2
BETA = 0.9
SECONDS = 0.4  # of a route in a round


class Problem:
    """A lopsided object of a fourteenth of the array, its amplitudes with a hole in the middle, wrapped."""

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n = n
        away = scipy.fft.fftfreq(n, 1 / n)
        radius = np.hypot(away[:, None], away[None, :])
        self.support = radius <= 1.1 * n / 14
        rough = np.random.default_rng(seed).random((n, n))
        self.truth = np.where(radius <= n / 14, 0.2 + rough, 0.0)
        self.amplitude = np.abs(scipy.fft.fft2(self.truth))
        self.measured = radius > 2
        half = np.where(self.measured, self.amplitude, -1)[:, : n // 2 + 1]
        self.constraints = Constraints(modulus=np.ascontiguousarray(half, np.float32), support=self.support)
        self.start = np.random.default_rng(1 + seed).random((n, n))


def ours(problem: Problem, seeds: int) -> Callable[[], np.ndarray]:
    start = np.repeat(problem.start[None], seeds, axis=0).astype(np.float32)
    stepper = HybridInputOutput(problem.constraints, start, iterations=1 << 30, beta=BETA)

    def step() -> np.ndarray:
        stepper.update()
        return stepper.objects[0]

    return step


def with_numpy(problem: Problem) -> Callable[[], np.ndarray]:
    """As a textbook writes it: complex transforms, double precision."""
    x = problem.start.copy()

    def step() -> np.ndarray:
        nonlocal x
        transform = np.fft.fft2(x)
        fixed = problem.amplitude * np.exp(1j * np.angle(transform))
        projected = np.fft.ifft2(np.where(problem.measured, fixed, transform)).real
        x = np.where(problem.support & (projected > 0), projected, x - BETA * projected)
        return x

    return step


def _real(
    problem: Problem, forward: Callable[[np.ndarray], np.ndarray], back: Callable[[np.ndarray], np.ndarray]
) -> Callable[[], np.ndarray]:
    """Real transforms, single precision, array operations of numpy."""
    x = problem.start.astype(np.float32)
    amplitude = problem.amplitude[:, : problem.n // 2 + 1].astype(np.float32)
    measured = problem.measured[:, : problem.n // 2 + 1]
    beta, least = np.float32(BETA), np.float32(1e-20)

    def step() -> np.ndarray:
        nonlocal x
        transform = forward(x)
        transform *= np.where(measured, amplitude / np.maximum(np.abs(transform), least), np.float32(1))
        projected = back(transform)
        x = np.where(problem.support & (projected > 0), projected, x - beta * projected)
        return x

    return step


def with_scipy(problem: Problem) -> Callable[[], np.ndarray]:
    shape = (problem.n, problem.n)
    return _real(
        problem,
        lambda x: scipy.fft.rfft2(x, workers=1),
        lambda transform: scipy.fft.irfft2(transform, s=shape, overwrite_x=True, workers=1),
    )


def with_pyfftw(problem: Problem) -> Callable[[], np.ndarray]:
    """Measured plans and arrays aligned for them, made once."""
    n = problem.n
    real = pyfftw.empty_aligned((n, n), "float32")
    half = pyfftw.empty_aligned((n, n // 2 + 1), "complex64")
    forward = pyfftw.FFTW(real, half, axes=(0, 1), threads=1, flags=("FFTW_MEASURE",))
    back = pyfftw.FFTW(half, real, axes=(0, 1), direction="FFTW_BACKWARD", threads=1, flags=("FFTW_MEASURE",))
    return _real(problem, forward, lambda _: back())


def rate(steps: list[Callable[[], np.ndarray]], count: int, seeds: int) -> float:
    """Return seed iterations a second of one thread a step function."""

    def work(step: Callable[[], np.ndarray]) -> None:
        gate.wait()
        for _ in range(count):
            step()

    gate = threading.Barrier(len(steps) + 1)
    running = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in running:
        thread.start()
    gate.wait()
    start = time.perf_counter()
    for thread in running:
        thread.join()
    return len(steps) * count * seeds / (time.perf_counter() - start)


def measure(n: int, rounds: int, threads: int = THREADS) -> dict[str, object]:
    """Return median iterations a second of every route for arrays of n x n."""
    problem, together = Problem(n), batch_size(n)
    makers = {"ours": lambda p: ours(p, together), "scipy": with_scipy, "numpy": with_numpy}
    if pyfftw is not None:
        makers["pyfftw"] = with_pyfftw
    routes = {name: [make(problem) for _ in range(threads)] for name, make in makers.items()}
    seeds = {name: together if name == "ours" else 1 for name in makers}
    first = {name: np.array(steps[0]()) for name, steps in routes.items()}
    for name, found in first.items():
        np.testing.assert_allclose(found, first["numpy"], rtol=0, atol=1e-4, err_msg=name)
    counts = {name: max(3, round(SECONDS / threads * rate(routes[name], 3, 1))) for name in makers}
    seen: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, steps in routes.items():
            seen[name].append(rate(steps, counts[name], seeds[name]))
    medians = {name: round(float(np.median(values)), 1) for name, values in seen.items()}
    best = max(value for name, value in medians.items() if name != "ours")
    return {
        "n": n,
        **medians,
        "times_numpy": round(medians["ours"] / medians["numpy"], 1),
        "times_best": round(medians["ours"] / best, 2),
    }


def error(image: np.ndarray, problem: Problem) -> float:
    """Return sum |a - t| / sum |t| of an image laid on the truth."""
    a = aligned(np.maximum(image, 0), problem.truth)
    a *= (a * problem.truth).sum() / (a * a).sum()
    return float(np.abs(a - problem.truth).sum() / problem.truth.sum())


def solve_ours(problem: Problem, seed: int, iterations: int, last: int, wanted: float = 0) -> tuple[np.ndarray, float]:
    """Return image and R of one seed; ends before, once an image is as good as wanted."""
    complete = Constraints(
        modulus=np.ascontiguousarray(problem.amplitude[:, : problem.n // 2 + 1], np.float32), support=problem.support
    )
    start = random_objects(complete, [(seed,)])
    for stepper in schedule(complete, start, algorithm="hio", iterations=iterations, final_er=last, beta=BETA):
        while not stepper.done:
            stepper.update()
            if wanted and stepper.iteration % 50 == 0 and error(stepper.objects[0], problem) <= wanted:
                return stepper.objects[0], 0.0
    return stepper.objects[0], float(complete.r_factor(stepper.objects)[0])


def solve_cohere(problem: Problem, seed: int, iterations: int, last: int) -> tuple[np.ndarray, float]:
    """Return image and R of one run of cohere-core on numpy, which is given the support."""
    np.random.seed(seed)  # noqa: NPY002 - it draws from there
    sequence = f"{iterations - last}*HIO+{last}*ER"
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        data = Path(folder) / "data.npy"
        np.save(data, np.fft.fftshift(problem.amplitude).astype(np.float32))
        np.save(Path(folder) / "support.npy", problem.support.astype(np.float32))
        found = Rec({"algorithm_sequence": sequence, "hio_beta": BETA}, str(data), "np", debug=True)
        found.init_dev(-1)
        found.init_iter_loop(folder)
        found.iterate()
    return np.abs(found.ds_image), float(found.errs[-1])


def beside_cohere(n: int, seeds: int, iterations: int) -> dict[str, object]:
    """Return time and error of the best of some seeds, on one thread, of complete noiseless data.

    It has neither positivity nor missing amplitudes, so that the data have no hole here.
    """
    problem, last = Problem(n), iterations // 10
    row: dict[str, object] = {"n": n, "seeds": seeds, "iterations": iterations}
    solve_ours(problem, 0, 2, 1)  # compiles
    for name, solve in (("cohere", solve_cohere), ("ours", solve_ours)):
        begun = time.perf_counter()
        found = [solve(problem, seed, iterations, last) for seed in range(seeds)]
        row[f"{name}_s"] = round(time.perf_counter() - begun, 2)
        row[f"{name}_error"] = float(f"{error(min(found, key=lambda one: one[1])[0], problem):.2g}")
    begun = time.perf_counter()
    for seed in range(seeds):
        image, _ = solve_ours(problem, seed, iterations, last, wanted=float(row["cohere_error"]))
        if error(image, problem) <= float(row["cohere_error"]):
            row["ours_to_same_s"] = round(time.perf_counter() - begun, 3)
            break
    return row


def run_cohere(sizes: tuple[tuple[int, int, int], ...] = ((65, 4, 1000), (325, 2, 300))) -> list[dict[str, object]]:
    """Compare whole reconstructions of some (n, seeds, iterations); print a line each; nothing without cohere-core."""
    rows = [] if Rec is None else [beside_cohere(*size) for size in sizes]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return rows


def run(sizes: tuple[int, ...] = SIZES, rounds: int = 7, threads: int = THREADS) -> list[dict[str, object]]:
    """Measure every size; print a line each."""
    rows = []
    for n in sizes:
        row = measure(n, rounds, threads)
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=THREADS)
    options = parser.parse_args()
    rows = run(tuple(options.sizes), options.rounds, options.threads)
    print(json.dumps({"rows": rows, "cohere": run_cohere()}))


if __name__ == "__main__":
    main()
