import asyncio
import time

import pytest

from sim.clock import SimClock


def test_runs_speed_times_faster_than_the_wall():
    now = [1000.0]
    clock = SimClock(400.0, lambda: now[0])
    assert clock.time() == 0.0
    now[0] += 0.15
    assert clock.time() == pytest.approx(60.0)
    assert clock.wall(60.0) == pytest.approx(0.15)


def test_sleep_takes_simulated_seconds():
    clock = SimClock(100.0)
    start = time.monotonic()
    asyncio.run(clock.sleep(5.0))
    assert 0.05 <= time.monotonic() - start < 0.5


def test_until_never_returns_early():
    clock = SimClock(1000.0)
    asyncio.run(clock.until(20.0))
    assert clock.time() >= 20.0


def test_sleep_into_the_past_returns_at_once():
    start = time.monotonic()
    asyncio.run(SimClock(1.0).sleep(-3.0))
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_refuses_a_clock_that_stands(speed):
    with pytest.raises(ValueError, match="speed must be above 0"):
        SimClock(speed)
