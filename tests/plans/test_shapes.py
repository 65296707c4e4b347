"""Polygons and lists of points: what lies inside, in which order, and what is refused."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plans.shapes import listed_points, near_any, polygon_points, within
from plans.trajectory import snake_raster

whole = st.integers(-20, 20)
corners = st.lists(st.tuples(whole, whole), min_size=3, max_size=8)


def twice_area(polygon):
    return sum(a * d - c * b for (a, b), (c, d) in itertools.pairwise([*polygon, polygon[0]]))


def is_inside(x, y, polygon):
    """Even-odd rule in exact fractions; the border belongs to the polygon."""
    odd = False
    for (a, b), (c, d) in itertools.pairwise([*polygon, polygon[0]]):
        cross = (c - a) * (y - b) - (d - b) * (x - a)
        if cross == 0 and min(a, c) <= x <= max(a, c) and min(b, d) <= y <= max(b, d):
            return True
        if (b > y) != (d > y) and x < a + Fraction((y - b) * (c - a), d - b):
            odd = not odd
    return odd


def is_simple(polygon):
    """No two edges cross or touch but where they follow each other."""
    edges = list(itertools.pairwise([*polygon, polygon[0]]))

    def side(p, q, r):
        value = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
        return (value > 0) - (value < 0)

    for (i, (p, q)), (j, (r, s)) in itertools.combinations(enumerate(edges), 2):
        if abs(i - j) in (1, len(edges) - 1):
            continue
        if side(p, q, r) * side(p, q, s) <= 0 and side(r, s, p) * side(r, s, q) <= 0:
            return False
    return len(set(polygon)) == len(polygon)


@settings(max_examples=200, deadline=None)
@given(polygon=corners)
def test_the_points_are_those_of_the_even_odd_rule_with_the_border(polygon):
    if twice_area(polygon) == 0 or not is_simple(polygon):
        return
    found = {(point.x_um, point.y_um) for point in polygon_points(polygon, (1.0, 1.0))}
    xs, ys = zip(*polygon, strict=True)
    everywhere = itertools.product(range(min(xs), max(xs) + 1), range(min(ys), max(ys) + 1))
    assert found == {(x, y) for x, y in everywhere if is_inside(x, y, polygon)}


def test_a_polygon_that_is_a_rectangle_has_the_points_of_the_rectangle():
    polygon = list(polygon_points([(-10, 5), (30, 5), (30, 25), (-10, 25)], (10, 10)))
    assert polygon == list(snake_raster((-10, 30, 10), (5, 25, 10)))


def test_the_snake_turns_at_each_row_that_has_points():
    hourglass = [(0, 0), (40, 0), (21, 10), (21, 30), (40, 40), (0, 40), (19, 30), (19, 10)]
    points = list(polygon_points(hourglass, (10, 5)))
    assert [point.index for point in points] == list(range(len(points)))
    by_row = [[point.x_um for point in row] for _, row in itertools.groupby(points, key=lambda point: point.y_um)]
    for turn, row in enumerate(by_row):
        assert row == sorted(row, reverse=turn % 2 == 1)


@pytest.mark.parametrize("polygon", [[(0, 0), (1, 0)], [(0, 0), (10, 10), (20, 20)]])
def test_a_polygon_must_enclose_something(polygon):
    with pytest.raises(ValueError, match="that enclose an area, got"):
        polygon_points(polygon, (1, 1))


def test_what_is_no_place_is_refused():
    with pytest.raises(ValueError, match=r"points must hold pairs \(x, y\) in um, got 3 in it"):
        listed_points([(0, 0), 3])
    with pytest.raises(ValueError, match="points must hold finite positions in um, got"):
        listed_points([(0, math.inf)])
    with pytest.raises(ValueError, match="points must be at least one"):
        listed_points([])


def test_a_list_is_taken_in_its_order():
    points = listed_points([(5, 5), (0, 0), (5, 5)])
    assert [(point.index, point.x_um, point.y_um) for point in points] == [(0, 5, 5), (1, 0, 0), (2, 5, 5)]
    assert points.x_um == (5, 0, 5)


@settings(deadline=None)
@given(st.lists(st.tuples(whole, whole), max_size=20), st.lists(st.tuples(whole, whole), min_size=1, max_size=20))
def test_near_any_is_the_distance_to_the_nearest(others, places):
    found = near_any(places, others, 2.5)
    assert found == [any(math.dist(place, other) <= 2.5 for other in others) for place in places]


def test_slack_takes_the_rounding_of_a_border():
    square = np.array([(0.0, 0.0), (0.3, 0.0), (0.3, 0.3), (0.0, 0.3)])
    places = np.array([(0.1 * 3, 0.1), (0.3 + 1e-9, 0.1), (0.301, 0.1)])
    assert within(places, square, 1e-6).tolist() == [True, True, False]
