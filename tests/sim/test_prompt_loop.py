"""A loop whose timers are on time, and that hears what happens meanwhile."""

import asyncio
import os
import statistics
import time

from sim.prompt_loop import prompt_loop

TIMES = 50


def lateness_s(wanted_s: float) -> float:
    """Give how late so short a sleep ends, median of many."""

    async def sleep() -> list[float]:
        late = []
        for _ in range(TIMES):
            begun = time.perf_counter()
            await asyncio.sleep(wanted_s)
            late.append(time.perf_counter() - begun - wanted_s)
        return late

    with asyncio.Runner(loop_factory=prompt_loop) as runner:
        return statistics.median(runner.run(sleep()))


def test_a_sleep_ends_on_time():
    assert 0.0 <= lateness_s(1.1e-3) < 0.7e-3  # the next whole millisecond is 0.9 ms later


def test_what_comes_in_ends_the_wait():
    async def wait() -> float:
        there, begun = asyncio.Event(), time.monotonic()
        mine, other = os.pipe()
        asyncio.get_running_loop().add_reader(mine, there.set)
        asyncio.get_running_loop().call_later(0.05, os.write, other, b"x")
        await asyncio.wait_for(there.wait(), 10.0)
        return time.monotonic() - begun

    with asyncio.Runner(loop_factory=prompt_loop) as runner:
        assert runner.run(wait()) < 5.0
