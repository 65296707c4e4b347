import itertools

from hypothesis import given
from hypothesis import strategies as st

from sim.trace import KEEP, Trace


def test_value_holds_from_its_time_on():
    trace = Trace(0)
    trace.set(2.0, 1)
    assert [trace.at(t) for t in (-1.0, 1.999, 2.0, 3.0)] == [0, 0, 1, 1]


def test_an_earlier_change_voids_later_plans():
    trace = Trace(False)
    trace.set(5.0, True)
    trace.set(4.0, False)
    assert not trace.at(6.0)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 3)), max_size=20),
    st.floats(0, 100),
    st.floats(0.001, 100),
)
def test_pieces_cover_the_interval_without_holes(changes, start, length):
    trace = Trace(0)
    for when, value in sorted(changes):
        trace.set(when, value)
    pieces = trace.pieces(start, start + length)
    assert pieces[0][0] == start
    assert pieces[-1][1] == start + length
    assert all(a[1] == b[0] and a[2] != b[2] for a, b in itertools.pairwise(pieces))
    assert all(trace.at(begin) == value for begin, end, value in pieces if end > begin)


def test_memory_is_bounded_and_keeps_the_recent_past():
    trace = Trace(0)
    for i in range(10 * KEEP):
        trace.set(float(i), i % 2)
    assert len(trace._times) <= 2 * KEEP + 1
    assert [trace.at(10 * KEEP - 1 - k) for k in range(100)] == [(10 * KEEP - 1 - k) % 2 for k in range(100)]
