"""The fast shutter."""

from typing import Literal

from sim.clock import SimClock
from sim.trace import Trace

TRAVEL_S = 0.010

ShutterState = Literal["Fault", "Open", "Opening", "Closed", "Closing"]


class Shutter:
    """Blades that take a moment to open and to close; closed at the start.

    Light passes only when fully open: opening counts as closed, and closing cuts the beam at once.
    """

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self.open: Trace[bool] = Trace(False)
        self._wanted = False
        self._there = float("-inf")

    def command(self, *, to_open: bool) -> float:
        """Start to open or close; returns the simulated time at which the blades rest."""
        now = self._clock.time()
        if to_open != self._wanted:
            self._wanted = to_open
            self._there = now + TRAVEL_S
            self.open.set(self._there if to_open else now, to_open)
        return self._there

    def state(self, when: float) -> ShutterState:
        """What the status shows at `when`."""
        if when < self._there:
            return "Opening" if self._wanted else "Closing"
        return "Open" if self._wanted else "Closed"
