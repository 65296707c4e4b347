"""How many exposures fit between injections, against a clock that is simply run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plans.top_up import exposures_a_period, time_needed_s

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
