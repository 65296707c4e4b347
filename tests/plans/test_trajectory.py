"""Rasters: every point once, stops included, whatever the rounding."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plans.trajectory import positions, snake_raster

finite = st.floats(-1e4, 1e4, allow_nan=False)


@given(start=finite, count=st.integers(0, 500), step=st.floats(1e-3, 100.0), sign=st.sampled_from([-1, 1]))
def test_a_stop_that_is_a_whole_number_of_steps_away_is_the_last_position(start, count, step, sign):
    stop = start + sign * count * step
    places = positions(start, stop, step)
    assert len(places) == count + 1
    assert places[0] == pytest.approx(start, abs=1e-9)
    assert places[-1] == pytest.approx(stop, abs=1e-9)


@given(start=finite, stop=finite, step=st.floats(10.0, 100.0))
def test_positions_keep_their_distance_and_stay_inside(start, stop, step):
    places = positions(start, stop, step)
    slack = 1e-6 * step + 1e-9
    assert min(start, stop) - slack <= min(places)
    assert max(places) <= max(start, stop) + slack
    for early, late in itertools.pairwise(places):
        assert abs(late - early) == pytest.approx(step, rel=1e-6)
    assert abs(stop - places[-1]) < step


@given(columns=st.integers(1, 12), rows=st.integers(1, 12))
def test_a_snake_visits_every_point_once_and_never_jumps(columns, rows):
    raster = snake_raster((0.0, columns - 1.0, 1.0), (0.0, rows - 1.0, 1.0))
    points = list(raster)
    assert raster.shape == (rows, columns)
    assert [point.index for point in points] == list(range(columns * rows))
    assert {(point.row, point.column) for point in points} == {(r, c) for r in range(rows) for c in range(columns)}
    for early, late in itertools.pairwise(points):
        assert abs(late.x_um - early.x_um) + abs(late.y_um - early.y_um) == 1.0


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan, math.inf])
def test_a_step_must_be_above_zero(step):
    with pytest.raises(ValueError, match="step of x must be above 0 um, got"):
        snake_raster((0.0, 1.0, step), (0.0, 1.0, 1.0))


def test_ends_must_be_numbers():
    with pytest.raises(ValueError, match="start and stop of y must be finite"):
        snake_raster((0.0, 1.0, 1.0), (0.0, math.nan, 1.0))
