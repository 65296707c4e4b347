"""The attenuator: foils that go into the beam."""

import math

from sim.clock import SimClock
from sim.trace import Trace

FOIL_STEPS = 15
"""Four foils of 1, 2, 4 and 8 units make 0 to 15 units."""
DECADES_PER_STEP = 0.5
TRAVEL_S = 0.5


def achievable(transmission: float) -> float:
    """Transmission of the foils that come nearest to `transmission`, on a logarithmic scale.

    Raises
    ------
    ValueError
        If `transmission` is not above 0 and at most 1.
    """
    if not 0.0 < transmission <= 1.0:
        raise ValueError(f"transmission must be above 0 and at most 1, got {transmission}")
    steps = round(-math.log10(transmission) / DECADES_PER_STEP)
    return float(10.0 ** (-DECADES_PER_STEP * min(FOIL_STEPS, steps)))


class Attenuator:
    """Foils with a travel time; out of the beam at the start."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self.transmission: Trace[float] = Trace(1.0)
        self._target = 1.0
        self._there = float("-inf")

    def request(self, transmission: float) -> float:
        """Start towards the nearest achievable transmission; returns the simulated time of arrival."""
        target = achievable(transmission)
        if target != self._target:
            self._target = target
            self._there = self._clock.time() + TRAVEL_S
            self.transmission.set(self._there, target)
        return self._there

    def moving(self, when: float) -> bool:
        """Whether foils travel at `when`."""
        return when < self._there
