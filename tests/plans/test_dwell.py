"""Exposures by point: every point once, alike ones together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plans.dwell import batches
from plans.trajectory import snake_raster

RASTER = list(snake_raster((0, 50, 10), (0, 30, 10)))


@given(st.lists(st.sampled_from([1.0, 20.0, 57.0, 60.0]), min_size=len(RASTER), max_size=len(RASTER)))
def test_every_point_is_exposed_once_as_long_as_was_said(exposures):
    made = batches(RASTER, exposures)
    assert [batch.exposure_s for batch in made] == sorted(set(exposures))
    told = {point.index: batch.exposure_s for batch in made for point in batch.points}
    assert [told[index] for index in range(len(RASTER))] == exposures
    for batch in made:
        indices = [point.index for point in batch.points]
        assert indices == sorted(indices)


def test_one_number_is_one_batch_in_the_order_of_the_scan():
    (batch,) = batches(RASTER, 60)
    assert list(batch.points) == RASTER


@pytest.mark.parametrize(
    ("exposure", "words"),
    [
        (0.0, "exposure must be above 0 s, got 0.0 s for point 0"),
        (float("nan"), "exposure must be above 0 s, got nan s for point 0"),
        ([60.0], "exposures must be one for each of the 24 points, got 1"),
        (lambda x, y: 1 + x + 10 * y, "exposures of a scan must be at most 20 different ones, got 24"),
    ],
)
def test_what_cannot_be_is_refused(exposure, words):
    with pytest.raises(ValueError, match=words):
        batches(RASTER, exposure)
