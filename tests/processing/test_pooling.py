"""The brightest pixel of each block, from integers and from bit planes."""

import numpy as np
import pytest

from processing.bitplane import FrameScorer
from processing.fast_sum import FastSum
from processing.plane_layout import PlaneLayout
from processing.plane_sum import PlaneSum
from processing.pooling import pool_max


def slow_pool(total, valid, step):
    rows, cols = (-(-side // step) for side in total.shape)
    out = np.full((rows, cols), np.nan)
    for r in range(rows):
        for c in range(cols):
            block = np.s_[r * step : (r + 1) * step, c * step : (c + 1) * step]
            good = total[block][valid[block] == 1]
            if good.size:
                out[r, c] = good.max()
    return out


@pytest.mark.parametrize("shape", [(7, 11), (12, 12), (1, 9), (9, 1)])
@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_pooling_equals_the_plain_loop(shape, step, dtype):
    rng = np.random.default_rng(5)
    total = rng.integers(0, 60_000, shape).astype(dtype)
    valid = (rng.random(shape) < 0.5).astype(np.uint8)
    np.testing.assert_array_equal(pool_max(total, valid, step), slow_pool(total, valid, step))


def test_sums_beyond_32_bit_survive():
    total = np.array([[2**40, 1]], np.uint64)
    assert pool_max(total, np.ones((1, 2), np.uint8), 2)[0, 0] == 2.0**40


@pytest.fixture(scope="module", params=["uint8", "uint16", "uint32"])
def summed(request, wire):
    """Give a mask and frames of one type, read: blocks that hold little, a lot and nothing, and a tail."""
    rng = np.random.default_rng(4)
    shape = (83, 61)
    valid = (rng.random(shape) > 0.1).astype(np.uint8)
    valid[12:18, 6:18] = 0
    layout = PlaneLayout(valid, np.dtype(request.param), 1024)
    assert layout.tail_pixels
    scorer = FrameScorer(layout, np.arange(0))
    means = np.where(np.arange(shape[0]) < 40, 0.0, 3.0)[:, None] * np.ones(shape)
    frames = [rng.poisson(means).astype(request.param) for _ in range(9)]
    return valid, layout, [scorer.read(wire.encode(one, block_bytes=1024)[1]) for one in frames]


@pytest.mark.parametrize("step", [1, 2, 5, 6, 83, 100])
def test_a_sum_is_pooled_from_its_planes_as_from_its_integers(summed, step):
    valid, layout, spills = summed
    total = PlaneSum(layout)
    for upto in (0, 1, 9):
        total.add(spills[total.frames : upto])
        np.testing.assert_array_equal(total.brightest(valid, step), pool_max(total.data(), valid, step))


def test_only_a_whole_sum_is_pooled(summed):
    valid, layout, spills = summed
    part = PlaneSum(layout, (0, 40))
    part.add(spills[:1])
    with pytest.raises(ValueError, match=r"a sum of all rows and its mask \(83, 61\) are wanted, got"):
        part.brightest(valid, 2)


def test_a_sum_is_pooled_whatever_way_its_frames_came(summed):
    valid, _, spills = summed
    total = FastSum(valid, lambda _: None)
    for add in (*spills[:3], np.full(valid.shape, 7, np.uint16), spills[3]):
        total.add(add)
        expected = pool_max(total.data, valid, 5)
        total.add(spills[4])  # the integers are no longer known
        total.subtract(spills[4])
        np.testing.assert_array_equal(total.brightest(5), expected)
