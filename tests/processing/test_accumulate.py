import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.accumulate import ExactSum
from processing.frame import SeriesHeader
from processing.mask import gap_mask, static_mask
from processing.snapshot import freeze, window_about


def frames(seed, count=6, dtype=np.uint32, shape=(8, 9)):
    rng = np.random.default_rng(seed)
    stack = rng.poisson(3, (count, *shape)).astype(dtype)
    top = np.iinfo(dtype).max
    stack[rng.random(stack.shape) < 0.05] = top
    stack[rng.random(stack.shape) < 0.05] = top - 1
    return stack


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([np.uint8, np.uint16, np.uint32]), order=st.randoms())
def test_the_sum_ignores_order_and_grouping_and_equals_numpy(seed, dtype, order):
    stack = frames(seed, dtype=dtype)
    valid = (np.random.default_rng(seed).random((8, 9)) > 0.2).astype(np.uint8)
    whole, first, second = ExactSum(valid), ExactSum(valid), ExactSum(valid)
    for pixels in stack:
        whole.add(pixels)
    shuffled = list(stack)
    order.shuffle(shuffled)
    for index, pixels in enumerate(shuffled):
        (first if index % 2 else second).add(pixels)
    first.merge(second)
    flags = stack >= np.iinfo(dtype).max - 1
    np.testing.assert_array_equal(whole.data, np.where(flags, 0, stack).sum(0, dtype=np.uint64) * valid)
    np.testing.assert_array_equal(whole.excluded, flags.sum(0) * valid)
    np.testing.assert_array_equal(first.data, whole.data)
    np.testing.assert_array_equal(first.excluded, whole.excluded)
    assert first.frames == whole.frames == 6


def test_taking_a_frame_out_restores_the_sum_exactly():
    stack = frames(1)
    running = ExactSum(np.ones((8, 9), np.uint8))
    running.add(stack[0])
    before, excluded = running.data.copy(), running.excluded.copy()
    running.add(stack[1])
    running.subtract(stack[1])
    np.testing.assert_array_equal(running.data, before)
    np.testing.assert_array_equal(running.excluded, excluded)
    assert running.frames == 1


def test_the_sum_goes_beyond_32_bits():
    running = ExactSum(np.ones((2, 2), np.uint8))
    for _ in range(3):
        running.add(np.full((2, 2), 2**32 - 3, np.uint32))
    assert running.data[0, 0] == 3 * (2**32 - 3)


def test_errors_say_what_is_wrong():
    running = ExactSum(np.ones((2, 2), np.uint8))
    with pytest.raises(ValueError, match="must hold a frame"):
        running.subtract(np.ones((2, 2), np.uint32))
    with pytest.raises(ValueError, match=r"must have shape \(2, 2\).*got \(3, 2\)"):
        running.add(np.ones((3, 2), np.uint32))


def test_a_snapshot_never_changes_later():
    running = ExactSum(np.ones((4, 4), np.uint8))
    running.add(np.ones((4, 4), np.uint32))
    snapshot = freeze(running)
    running.add(np.ones((4, 4), np.uint32))
    assert snapshot.data.sum() == 16
    assert snapshot.frames == 1
    with pytest.raises(ValueError, match="read-only"):
        snapshot.data[0, 0] = 9


def test_a_window_stays_inside_the_array():
    rows, cols = window_about((3.2, 95.0), 21, (100, 100))
    assert (rows.start, rows.stop, cols.start, cols.stop) == (0, 14, 85, 100)


@pytest.mark.parametrize(
    ("shape", "gap_pixels"), [((1065, 1030), 37 * 1030), ((4371, 4150), 1_198_210), ((4362, 4148), None), ((37, 41), 0)]
)
def test_gaps_of_the_eiger_family(shape, gap_pixels):
    gaps = int((~gap_mask(shape)).sum())
    if gap_pixels is None:
        gap_pixels = 4362 * 4148 - 32 * 1028 * 512
    assert gaps == gap_pixels


def test_the_mask_joins_header_gaps_and_user():
    shape = (1065, 1030)
    header_valid, user = np.ones(shape, bool), np.ones(shape, bool)
    header_valid[0, 0] = user[1, 1] = False
    valid = static_mask(SeriesHeader(series=1, shape=shape, valid=header_valid), shape, user)
    assert valid[0, 0] == valid[1, 1] == valid[520, 7] == 0
    assert valid.sum() == 2 * 514 * 1030 - 2
    with pytest.raises(ValueError, match="mask file must have 1065 x 1030"):
        static_mask(SeriesHeader(series=1), shape, np.ones((3, 3), bool))
