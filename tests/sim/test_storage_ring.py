import pytest

from sim.clock import SimClock
from sim.settings import SimSettings
from sim.storage_ring import CURRENT_MA, NO_TOP_UP, StorageRing


@pytest.fixture
def now():
    return [0.0]


def ring_of(now, **settings):
    return StorageRing(SimClock(1.0, lambda: now[0]), SimSettings(**settings))


def test_an_injection_every_240_s_of_4_s(now):
    ring = ring_of(now)
    assert ring.injections(0.0, 1000.0) == [(240.0, 244.0), (480.0, 484.0), (720.0, 724.0), (960.0, 964.0)]
    assert ring.injections(243.9, 244.1) == [(240.0, 244.0)]
    assert ring.injections(244.0, 480.0) == []
    assert ring.injections(0.0, 240.0) == []


def test_countdown_jumps_when_the_injection_begins(now):
    ring = ring_of(now)
    assert [ring.countdown_s(t) for t in (0.0, 239.5, 240.0, 242.0, 479.0)] == [240.0, 0.5, 240.0, 238.0, 1.0]


def test_countdown_may_be_held_at_zero_instead(now):
    ring = ring_of(now, countdown="hold")
    assert [ring.countdown_s(t) for t in (239.5, 240.0, 243.9, 244.0)] == [0.5, 0.0, 0.0, 236.0]


def test_current_decays_and_is_topped_up(now):
    ring = ring_of(now)
    before, after = ring.current_ma(239.999), ring.current_ma(244.0)
    assert CURRENT_MA * 0.99 < before < CURRENT_MA
    assert after == pytest.approx(CURRENT_MA)
    assert before < ring.current_ma(242.0) < after
    currents = [ring.current_ma(244.0 + t) for t in range(0, 236, 10)]
    assert currents == sorted(currents, reverse=True)


def test_a_dump_ends_current_and_top_up_until_the_refill(now):
    ring = ring_of(now)
    now[0] = 100.0
    ring.dump()
    assert ring.current_ma(99.9) > 0.0
    assert (ring.current_ma(100.0), ring.countdown_s(100.0)) == (0.0, NO_TOP_UP)
    assert not ring.injecting(241.0)
    now[0] = 300.0
    ring.refill()
    assert ring.current_ma(300.0) > 0.99 * CURRENT_MA
    assert ring.countdown_s(300.0) == 180.0
