"""The simulated clock: every part of the beamline lives by it."""

import asyncio
import time
from collections.abc import Callable


class SimClock:
    """Simulated seconds since the start, ``speed`` times faster than the wall clock.

    Parameters
    ----------
    speed
        Simulated seconds per wall second, > 0.
    now
        Monotonic wall clock in seconds; replaced in tests.

    Raises
    ------
    ValueError
        If `speed` is not above 0.
    """

    def __init__(self, speed: float = 1.0, now: Callable[[], float] = time.monotonic) -> None:
        if not speed > 0.0:
            raise ValueError(f"speed must be above 0, got {speed}; 1 is real time")
        self.speed = float(speed)
        self._now = now
        self._start = now()

    def time(self) -> float:
        """Simulated seconds since the start."""
        return (self._now() - self._start) * self.speed

    def wall(self, seconds: float) -> float:
        """Wall seconds that `seconds` of simulated time take."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of simulated time; not above 0 only yields to other tasks."""
        await asyncio.sleep(max(0.0, self.wall(seconds)))

    async def until(self, when: float) -> None:
        """Wait until the simulated time is at least `when`, in seconds."""
        while (left := when - self.time()) > 0.0:
            await self.sleep(left)
