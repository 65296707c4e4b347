"""How a scan fits between injections: counted, predicted, and run by the plan itself on a simulated clock."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plans.ensemble_scan import ensemble_scan
from plans.estimate import time_estimate
from plans.top_up import exposures_a_period, time_needed_s
from sim.sample import experiment
from sim.scene import Scene

PERIOD, INJECTION, MARGIN = 240.0, 5.0, 3.0


def run_the_clock(points, exposure, overhead):
    """Gate each exposure as the beamline does; return the time of the last one's end, from the first one's start."""
    now = start = INJECTION
    for _ in range(points):
        left = PERIOD - now % PERIOD
        if now % PERIOD < INJECTION or left < exposure + MARGIN:
            now = (now // PERIOD + (now % PERIOD >= INJECTION)) * PERIOD + INJECTION
        end = now + exposure
        now = end + overhead
    return end - start


def best_possible_s(points, exposure, overhead, first_injection, injection):
    """Earliest end of the last exposure, over every way to spread the exposures on the gaps between injections.

    No margin at all: an exposure may end as the injection begins, and the next one begin as it ends.
    """

    @cache
    def earliest(left, gap):
        open_at = first_injection + (gap - 1) * PERIOD + injection if gap else 0.0
        if gap > points + 1:  # a gap more than there are exposures
            return float("inf")
        best = earliest(left, gap + 1)
        for here in range(1, left + 1):
            end = open_at + here * exposure + (here - 1) * overhead
            if end > first_injection + gap * PERIOD:
                break
            best = min(best, end if here == left else earliest(left - here, gap + 1))
        return best

    assert overhead <= injection  # the last exposure's falls into the injection
    return earliest(points, 0)


@given(
    points=st.integers(1, 60),
    exposure=st.integers(1, 230).map(float),
    overhead=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_the_time_needed_is_that_of_a_gated_run(points, exposure, overhead):
    told = time_needed_s(points, exposure, overhead, PERIOD, INJECTION, MARGIN)
    assert told == pytest.approx(run_the_clock(points, exposure, overhead))


def test_a_slightly_shorter_exposure_fits_once_more():
    assert exposures_a_period(60.0, 1.0, PERIOD, INJECTION, MARGIN) == 3
    assert exposures_a_period(57.0, 1.0, PERIOD, INJECTION, MARGIN) == 4


def test_an_exposure_that_never_fits_is_refused():
    with pytest.raises(ValueError, match="exposure must be below 232 s to fit between two injections, got 233 s"):
        time_needed_s(1, 233.0, 0.0, PERIOD, INJECTION, MARGIN)


@settings(max_examples=200)
@given(exposure=st.integers(5, 200), overhead=st.sampled_from([0.2, 0.5, 1.0]))
def test_the_shorter_exposure_that_is_told_fits_once_more_and_gains(exposure, overhead):
    told = time_estimate(100, exposure, overhead=overhead)
    if told.shorter_s is None:
        return
    assert 0.9 * exposure <= told.shorter_s < exposure
    assert exposures_a_period(told.shorter_s, overhead, PERIOD, INJECTION, MARGIN) == told.each_period + 1
    assert told.shorter_s / told.shorter_total_s > 1.02 * exposure / told.total_s


def test_the_estimate_says_it_in_words():
    assert str(time_estimate(400, 60.0)) == (
        "400 points of 60 s take about 8.9 h: 3 fit between two injections (240 s), 2.2 h of it is waiting.\n"
        "With 57.2 s, 4 fit: about 6.7 h, and 27 % more exposure an hour."
    )
    assert time_estimate(400, 57.0).shorter_s is None
    with pytest.raises(ValueError, match="points must be at least 1, got 0"):
        time_estimate(0, 60.0)


@pytest.fixture(scope="module")
def scene():
    return Scene(experiment("au-sio2"), 0)


@pytest.mark.parametrize(("exposure", "each"), [(60.0, 3), (57.0, 4), (20.0, 11)])
@pytest.mark.parametrize("first_injection", [240.0, 100.0, 30.0])
def test_the_plan_keeps_within_2_percent_of_the_best_schedule_and_loses_no_exposure(
    simulated, engine, scene, exposure, each, first_injection
):
    """With 57 s four exposures fit between two injections, with 60 s three; the plan makes use of it."""
    machine = simulated.Machine(first_s=first_injection)
    beamline = simulated.beamline(scene, machine)
    points, told = 40, []
    engine(ensemble_scan(beamline.detectors, beamline.stage, 0, 90, 0, 30, 10, exposure, tell=told.append))
    assert len(machine.exposures) == points  # none was made twice
    assert not any(spoilt for _, _, spoilt in machine.exposures)
    overhead = machine.move_s + machine.overhead_s
    end = machine.exposures[-1][1]
    best = best_possible_s(points, exposure, overhead, first_injection, machine.injection_s) + machine.move_s
    assert best <= end <= 1.02 * best
    periods = [int((start - first_injection) // PERIOD) for start, _, _ in machine.exposures]
    assert max(periods.count(period) for period in set(periods)) == each
    estimate = time_estimate(points, exposure, overhead=overhead)
    begun = machine.exposures[0][0]
    assert abs(end - begun - estimate.total_s) <= PERIOD
    if first_injection == 240.0:
        assert end - begun == pytest.approx(estimate.total_s, rel=0.02)
    assert ("With 57.2 s, 4 fit" in told[0]) == (exposure == 60.0)
