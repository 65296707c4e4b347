import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.accumulate import ExactSum
from processing.bitplane import FrameScorer
from processing.plane_layout import PlaneLayout
from processing.plane_sum import PlaneSum, warm_up

SHAPE = (41, 67)


@pytest.fixture(scope="module")
def frames(wire):
    """Frames of each type with flags and large counts, as arrays and read."""
    made = {}
    rng = np.random.default_rng(11)
    for dtype in ("uint8", "uint16", "uint32"):
        valid = (rng.random(SHAPE) > 0.1).astype(np.uint8)
        top = np.iinfo(dtype).max
        layout = PlaneLayout(valid, np.dtype(dtype), 1024)
        scorer = FrameScorer(layout, np.arange(0))
        arrays = []
        for mean in (0.0, 0.02, 1.0, 30.0, 0.3, 2.0):
            pixels = rng.poisson(mean, SHAPE).astype(dtype)
            pixels[rng.random(SHAPE) < 0.01] = top - rng.integers(0, 4)
            arrays.append(pixels)
        spills = [scorer.read(wire.encode(pixels, block_bytes=1024)[1]) for pixels in arrays]
        made[dtype] = (valid, layout, arrays, spills)
    return made


def same(planes, plain):
    np.testing.assert_array_equal(planes.data(), plain.data)
    np.testing.assert_array_equal(planes.excluded, plain.excluded)
    assert planes.frames == plain.frames


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "uint32"]),
    picks=st.lists(st.integers(0, 5), max_size=40),
    groups=st.lists(st.integers(1, 9), min_size=40, max_size=40),
    workers=st.lists(st.integers(0, 2), min_size=40, max_size=40),
)
def test_order_grouping_and_workers_do_not_matter(frames, dtype, picks, groups, workers):
    valid, layout, arrays, spills = frames[dtype]
    plain = ExactSum(valid)
    for pick in picks:
        plain.add(arrays[pick])
    sums = [PlaneSum(layout) for _ in range(3)]
    position = 0
    for group, worker in zip(groups, workers, strict=True):
        sums[worker].add([spills[pick] for pick in picks[position : position + group]])
        position += group
    sums[0].merge(sums[1])
    sums[0].merge(sums[2])
    same(sums[0], plain)


@settings(max_examples=40, deadline=None)
@given(dtype=st.sampled_from(["uint8", "uint16", "uint32"]), picks=st.lists(st.integers(0, 5), max_size=20))
def test_taking_out_undoes_adding(frames, dtype, picks):
    valid, layout, arrays, spills = frames[dtype]
    planes, plain = PlaneSum(layout), ExactSum(valid)
    planes.add([spills[pick] for pick in picks])
    for pick in picks:
        plain.add(arrays[pick])
    for pick in picks[::2]:
        planes.subtract(spills[pick])
        plain.subtract(arrays[pick])
    same(planes, plain)


def test_no_carry_vanishes_beyond_32_bits(wire):
    pixels = np.full(SHAPE, 2**32 - 3, np.uint32)
    layout = PlaneLayout(np.ones(SHAPE, np.uint8), pixels.dtype, 1024)
    spill = FrameScorer(layout, np.arange(0)).read(wire.encode(pixels, block_bytes=1024)[1])
    planes = PlaneSum(layout)
    for _ in range(100):
        planes.add([spill] * 7)
    assert np.all(planes.data() == 700 * (2**32 - 3))


def test_doubling_reaches_the_last_bit_and_goes_no_further(wire):
    pixels = np.full((16, 24), 2**16 - 3, np.uint16)
    layout = PlaneLayout(np.ones(pixels.shape, np.uint8), pixels.dtype, 256)
    planes = PlaneSum(layout)
    planes.add([FrameScorer(layout, np.arange(0)).read(wire.encode(pixels, block_bytes=256)[1])])
    for doublings in range(1, 49):
        planes.merge(planes)
        assert int(planes.data().min()) == int(planes.data().max()) == (2**16 - 3) << doublings
    with pytest.raises(OverflowError, match="must fit 64 bits"):
        planes.merge(planes)
    assert int(planes.data()[0, 0]) == (2**16 - 3) << 48


def test_nothing_is_taken_out_of_an_empty_sum(frames):
    _, layout, _, spills = frames["uint16"]
    with pytest.raises(ValueError, match="got 0 frames"):
        PlaneSum(layout).subtract(spills[0])


def test_another_layout_is_refused(frames):
    with pytest.raises(ValueError, match="layout of the sum"):
        PlaneSum(frames["uint16"][1]).add([frames["uint32"][3][0]])


def test_the_sum_reads_out_into_memory_used_before(frames):
    valid, layout, arrays, spills = frames["uint16"]
    planes, plain = PlaneSum(layout), ExactSum(valid)
    planes.add(spills)
    for pixels in arrays:
        plain.add(pixels)
    out = np.full(SHAPE, 77, np.uint64)
    assert planes.data(out) is out
    np.testing.assert_array_equal(out, plain.data)


@pytest.mark.parametrize("rows", [(0, 1), (3, 9), (17, 18), (5, SHAPE[0]), (0, SHAPE[0])])
@pytest.mark.parametrize("name", ["uint8", "uint16", "uint32"])
def test_a_sum_of_some_rows_is_that_part_of_the_whole(frames, name, rows):
    _, layout, arrays, spills = frames[name]
    whole, part = PlaneSum(layout), PlaneSum(layout, rows)
    for running in (whole, part):
        running.add(spills)
        running.add(spills[:1])
        running.subtract(spills[-1])
    np.testing.assert_array_equal(part.data(), whole.data()[slice(*rows)])
    assert part.nbytes <= whole.nbytes
    assert part.frames == len(arrays)


def test_warming_up_sums_a_photon():
    warm_up()


@pytest.mark.parametrize("rows", [None, (2, 31)])
def test_a_sum_that_began_with_another_takes_frames_out_of_it(wire, rows):
    from processing.fast_sum import FastSum
    from processing.frame import EncodedFrame
    from processing.read_frame import FrameReader

    rng, shape = np.random.default_rng(8), (40, 50)
    valid = np.ones(shape, np.uint8)
    reader = FrameReader(valid, np.arange(5))

    def contribution(pixels):
        name, blob = wire.encode(pixels)
        frame = EncodedFrame(series=1, frame=0, shape=shape, pixel_type="uint32", encoding=name, blob=blob)
        return reader.read(frame)[0]

    frames = [rng.integers(0, 2**31, shape, dtype=np.uint32) for _ in range(6)]
    for frame in frames:
        frame[3, rng.integers(0, 50)] = 2**32 - 1
    before = FastSum(valid, reader.release, rows)
    for frame in frames[:4]:
        before.add(contribution(frame))
    after = FastSum(valid, reader.release, rows)
    after.load(before.data, before.excluded, before.frames)
    after.subtract(contribution(frames[1]))
    after.add(contribution(frames[4]))
    after.subtract(contribution(frames[4]))
    after.subtract(contribution(frames[2]))
    after.add(contribution(frames[5]))
    chosen = [frame[slice(*(rows or (None,)))] for frame in (frames[0], frames[3], frames[5])]
    hot = [frame >= 2**32 - 2 for frame in chosen]
    np.testing.assert_array_equal(after.excluded, sum(flags.astype(np.uint32) for flags in hot))
    wanted = sum(np.where(flags, 0, frame).astype(np.uint64) for frame, flags in zip(chosen, hot, strict=True))
    np.testing.assert_array_equal(after.data, wanted)
    assert after.frames == 3
    for k in (0, 3, 5):
        after.subtract(contribution(frames[k]))
    assert after.frames == 0
    assert not after.data.any()
    assert not after.excluded.any()
    with pytest.raises(ValueError, match="0 frames"):
        after.subtract(contribution(frames[0]))
