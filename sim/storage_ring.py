"""The storage ring: current, top-up injections and the countdown to the next one, under the TPS names."""

import math

from sim.clock import SimClock
from sim.settings import SimSettings
from sim.trace import Trace

CURRENT_MA = 500.0
LIFETIME_S = 10.0 * 3600.0
NO_TOP_UP = -1.0
"""Countdown while nothing will be injected (no stored beam)."""


class StorageRing:
    """Stored beam that decays and is topped up at fixed times.

    Injections start at ``first_injection_s + k ring_period_s`` and last ``injection_s``, all in simulated seconds. The
    current only shows the state of the machine: the beamline normalises by it, so the slow decay does not change the
    dose of a frame; an injection disturbs the beam, a dump ends it.
    """

    def __init__(self, clock: SimClock, settings: SimSettings) -> None:
        self._clock = clock
        self._settings = settings
        self.stored: Trace[bool] = Trace(True)

    def dump(self) -> None:
        """Lose the beam now."""
        self.stored.set(self._clock.time(), False)

    def refill(self) -> None:
        """Have full current again now."""
        self.stored.set(self._clock.time(), True)

    def injections(self, start: float, stop: float) -> list[tuple[float, float]]:
        """Injections ``(begin, end)`` that overlap ``start .. stop``, simulated s."""
        period, length, first = (
            self._settings.ring_period_s,
            self._settings.injection_s,
            self._settings.first_injection_s,
        )
        k = max(0, math.floor((start - first - length) / period))
        found = []
        while (begin := first + k * period) < stop:
            if begin + length > start:
                found.append((begin, begin + length))
            k += 1
        return found

    def injecting(self, when: float) -> bool:
        """Whether an injection is under way at `when`."""
        return self.stored.at(when) and any(a <= when < b for a, b in self.injections(when - 1e-9, when + 1e-9))

    def countdown_s(self, when: float) -> float:
        """Simulated seconds from `when` to the start of the next injection; -1 without stored beam."""
        if not self.stored.at(when):
            return NO_TOP_UP
        if self._settings.countdown == "hold" and self.injecting(when):
            return 0.0
        first, period = self._settings.first_injection_s, self._settings.ring_period_s
        return first - when if when < first else period - (when - first) % period

    def current_ma(self, when: float) -> float:
        """Stored current at `when`, mA: exponential decay, refilled linearly during an injection."""
        if not self.stored.at(when):
            return 0.0
        since = (when - self._settings.first_injection_s) % self._settings.ring_period_s
        length = self._settings.injection_s
        low = CURRENT_MA * math.exp(-(self._settings.ring_period_s - length) / LIFETIME_S)
        if since < length and when >= self._settings.first_injection_s:
            return low + (CURRENT_MA - low) * since / length
        return CURRENT_MA * math.exp(-max(0.0, since - length) / LIFETIME_S)
