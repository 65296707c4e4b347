"""The beam stop in front of the detector."""

from typing import Literal

from sim.clock import SimClock
from sim.trace import Trace

TRAVEL_S = 2.0

BeamStopState = Literal["Unknown", "In", "Out", "Moving", "Fault"]


class BeamStop:
    """A beam stop that drives in and out; in at the start. It protects only once it is fully in."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self.protects: Trace[bool] = Trace(True)
        self._wanted = True
        self._there = float("-inf")

    def command(self, *, to_in: bool) -> float:
        """Start to drive in or out; returns the simulated time of arrival."""
        now = self._clock.time()
        if to_in != self._wanted:
            self._wanted = to_in
            self._there = now + TRAVEL_S
            self.protects.set(self._there if to_in else now, to_in)
        return self._there

    def state(self, when: float) -> BeamStopState:
        """What the status shows at `when`."""
        if when < self._there:
            return "Moving"
        return "In" if self._wanted else "Out"
