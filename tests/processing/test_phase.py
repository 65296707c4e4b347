"""Steppers: what one step does, that a run can be resumed, and that a known object is recovered."""

import numpy as np
import pytest

from processing.align import aligned
from processing.phase import ErrorReduction, HybridInputOutput, random_objects
from processing.population import Meter, ReconstructionStoppedError, Run, batch_size, solve_guided, solve_random
from processing.project import centred, constraints_of, disc, wrapped
from processing.reflections import DifferenceMap, RelaxedReflections
from processing.schedule import RELAXED, drive, schedule
from processing.shrinkwrap import ShrinkWrap


def known_object(n=33, radius=5.0):
    """A lopsided positive object on an odd array."""
    rng = np.random.default_rng(3)
    density = np.where(disc(n, radius), rng.random((n, n)) + 0.2, 0.0)
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(density)))).astype(np.float32)
    return density, amplitude


@pytest.fixture(scope="module")
def problem():
    density, amplitude = known_object()
    return density, constraints_of(amplitude, np.ones(amplitude.shape, dtype=bool), disc(33, 5.5))


def quiet():
    return Meter(1, None, lambda: False)


def test_one_step_of_each_is_its_formula(problem):
    _, constraints = problem
    start = random_objects(constraints, [(1,), (2,)])
    projected = constraints.onto_modulus(start)
    keep = constraints.support & (projected > 0)
    er = ErrorReduction(constraints, start, iterations=1)
    er.update()
    np.testing.assert_array_equal(er.objects, np.where(keep, projected, 0))
    hio = HybridInputOutput(constraints, start, iterations=1, beta=0.7)
    hio.update()
    np.testing.assert_allclose(hio.objects, np.where(keep, projected, start - np.float32(0.7) * projected), rtol=1e-6)
    assert er.done
    assert hio.done


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("beta", [0.6, 1.0])
def test_one_reflecting_step_is_the_published_formula(problem, beta):
    """Written with projections and reflections as whole maps, not pixel by pixel."""
    _, constraints = problem
    x = random_objects(constraints, [(1,), (2,)])
    onto_modulus, onto_density = constraints.onto_modulus, constraints.onto_density
    p = onto_modulus(x)
    raar = RelaxedReflections(constraints, x, iterations=1, beta=beta)
    raar.update()
    reflected = 2 * p - x
    close(raar.objects, beta / 2 * (2 * onto_density(reflected) - reflected + x) + (1 - beta) * p)
    dm = DifferenceMap(constraints, x, iterations=1, beta=beta)
    dm.update()
    f_modulus, f_density = p + (p - x) / beta, onto_density(x) - (onto_density(x) - x) / beta
    close(dm.objects, x + beta * (onto_density(f_modulus) - onto_modulus(f_density.astype(np.float32))))
    if beta == 1:
        close(dm.objects, raar.objects)


@pytest.mark.parametrize("method", RELAXED.values())
def test_the_true_object_stays_where_it_is(problem, method):
    density, constraints = problem
    truth = wrapped(density[None].astype(np.float32))
    stepper = method(constraints, truth, iterations=3)
    while not stepper.done:
        stepper.update()
    close(stepper.solution(), truth)


def test_a_stepper_leaves_the_callers_array_alone(problem):
    _, constraints = problem
    start = random_objects(constraints, [(1,)])
    before = start.copy()
    stepper = HybridInputOutput(constraints, start, iterations=5)
    while not stepper.done:
        stepper.update()
    np.testing.assert_array_equal(start, before)


@pytest.mark.parametrize("shrink", [None, ShrinkWrap(threshold=0.1, every=10)])
@pytest.mark.parametrize("method", [*RELAXED.values(), ErrorReduction])
def test_a_run_resumes_where_it_was(problem, method, shrink):
    _, constraints = problem
    start = random_objects(constraints, [(4,), (5,)])
    whole = method(constraints, start, iterations=40)
    ended = drive(iter([whole]), lambda _: None, shrink)
    first = method(constraints, start, iterations=20)
    drive(iter([first]), lambda _: None, shrink)
    second = method(constraints, first.objects, iterations=40, iteration=first.iteration, support=first.support)
    np.testing.assert_array_equal(drive(iter([second]), lambda _: None, shrink), ended)
    assert second.iteration == whole.iteration == 40


def test_error_reduction_never_raises_the_r_factor(problem):
    _, constraints = problem
    stepper = ErrorReduction(constraints, random_objects(constraints, [(5,)]), iterations=60)
    distances = []
    while not stepper.done:
        before = stepper.objects
        distances.append(np.linalg.norm(constraints.onto_modulus(before) - before))
        stepper.update()
    assert np.all(np.diff(distances[1:]) <= 1e-3 * distances[1])


@pytest.mark.parametrize("shrink", [None, ShrinkWrap(threshold=0.1)])
@pytest.mark.parametrize("algorithm", RELAXED)
def test_a_known_object_is_recovered_from_noiseless_data_to_a_thousandth(problem, algorithm, shrink):
    density, constraints = problem
    run = Run(algorithm=algorithm, iterations=1500, final_er=300, beta=0.95, shrink=shrink)
    images, r_factors = solve_random(constraints, [(0, k) for k in range(8)], run, quiet())
    best = aligned(images[r_factors.argmin()], density)
    assert np.abs(best - density).sum() / density.sum() < 1e-3


def test_schedule_ends_with_error_reduction(problem):
    _, constraints = problem
    start = random_objects(constraints, [(7,)])
    made = []
    steppers = schedule(constraints, start, algorithm="hio", iterations=120, final_er=20, beta=0.9)
    ended = drive(steppers, made.append)
    assert sum(made) == 120
    assert ended.min() >= 0
    assert not ended[:, ~constraints.support].any()
    for name, method in RELAXED.items():
        steppers = schedule(constraints, start, algorithm=name, iterations=120, final_er=20, beta=0.5)
        first = next(steppers)
        assert (type(first), first.iterations, first.beta) == (method, 100, 0.5)
    only_er = list(schedule(constraints, start, algorithm="er", iterations=120, final_er=20, beta=0.9))
    assert [type(s) for s in only_er] == [ErrorReduction]
    assert only_er[0].iterations == 120


def test_starts_depend_on_their_key_alone(problem):
    _, constraints = problem
    together = random_objects(constraints, [(1, 0), (1, 1), (1, 2)])
    alone = random_objects(constraints, [(1, 2)])
    np.testing.assert_allclose(together[2], alone[0], rtol=0, atol=1e-5 * np.abs(alone).max())
    assert np.abs(together[0] - together[1]).max() > 0.01 * np.abs(together).max()


def test_ring_starts_are_centrosymmetric(problem):
    _, constraints = problem
    rings = centred(random_objects(constraints, [(1,)], start="rings"))[0]
    np.testing.assert_allclose(rings, rings[::-1, ::-1], atol=1e-4 * np.abs(rings).max())


@pytest.mark.parametrize("shrink", [None, ShrinkWrap(threshold=0.1)])
@pytest.mark.parametrize("algorithm", RELAXED)
def test_two_workers_give_the_same_bits(problem, algorithm, shrink):
    _, constraints = problem
    run = Run(algorithm=algorithm, iterations=60, final_er=10, beta=0.9, shrink=shrink)
    keys = [(2, k) for k in range(20)]
    one, two = (solve_random(constraints, keys, run, quiet(), workers=w) for w in (1, 2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    bred = [solve_guided(constraints, *one, run, quiet(), generations=2, workers=w) for w in (1, 2)]
    np.testing.assert_array_equal(bred[0][0], bred[1][0])


def test_guiding_lowers_the_r_factor(problem):
    _, constraints = problem
    run = Run(algorithm="hio", iterations=80, final_er=10, beta=0.9)
    first = solve_random(constraints, [(3, k) for k in range(16)], run, quiet())
    images, r_factors = solve_guided(constraints, *first, run, quiet(), generations=4)
    assert images.shape == first[0].shape
    assert np.median(r_factors) < np.median(first[1])


def test_stop_is_obeyed_within_fifty_iterations_and_progress_counts(problem):
    _, constraints = problem
    seen = []
    meter = Meter(8 * 1000, seen.append, lambda: len(seen) >= 3)
    run = Run(algorithm="hio", iterations=1000, final_er=10, beta=0.9)
    with pytest.raises(ReconstructionStoppedError, match="stopped before its end"):
        solve_random(constraints, [(0, k) for k in range(8)], run, meter)
    assert seen == pytest.approx([0.05, 0.1, 0.15])


@pytest.mark.parametrize(("n", "size"), [(33, 8), (65, 8), (111, 2), (325, 1), (999, 1)])
def test_batches_stay_in_the_cache(n, size):
    assert batch_size(n) == size
