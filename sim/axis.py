"""One axis of the piezo stage: where it truly is at any time."""

from collections import deque
from dataclasses import dataclass

from sim.clock import SimClock

CONTROLLER_SPEED_UM_S = 250.0
"""What the controller does when the record's VELO is 0."""
TRAVEL_UM = 2050.0
"""Hard stops at plus and minus this."""
SOFT_LIMIT_UM = 2000.0
SETTLE_S = 0.010
"""Step response of the servo after the ramp, simulated s: 10 um take 50 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """One ramp from `origin_um` at `start` to `target_um` at `arrival`, at rest from `stop` on (simulated s)."""

    start: float
    arrival: float
    stop: float
    origin_um: float
    target_um: float

    def at(self, when: float) -> float:
        """Position at `when`, um; exactly the target once arrived."""
        if when >= self.arrival:
            return self.target_um
        if when <= self.start:
            return self.origin_um
        return self.origin_um + (self.target_um - self.origin_um) * (when - self.start) / (self.arrival - self.start)


class Axis:
    """A servo axis with a memory of its last motions.

    Parameters
    ----------
    clock
        The simulated clock.
    position_um
        Where it stands at the start, um.
    """

    def __init__(self, clock: SimClock, position_um: float = 0.0) -> None:
        self._clock = clock
        self.soft_limit_um = SOFT_LIMIT_UM
        self.fault = False
        never = float("-inf")
        rest = Motion(start=never, arrival=never, stop=never, origin_um=position_um, target_um=position_um)
        self._motions: deque[Motion] = deque([rest], maxlen=1024)

    @property
    def target_um(self) -> float:
        """Where the axis stands or will stand, um."""
        return self._motions[-1].target_um

    @property
    def rest_from(self) -> float:
        """Simulated time from which the axis is at rest."""
        return self._motions[-1].stop

    def move(self, target_um: float, speed_um_s: float = 0.0) -> float:
        """Set off for `target_um` now, as far as the hard stops allow; a `speed_um_s` of 0 is the controller's own.

        With a servo fault the axis stays where it is.

        Returns
        -------
        Simulated time at which the axis will be at rest.
        """
        now = self._clock.time()
        origin = self.at(now)
        target_um = origin if self.fault else max(-TRAVEL_UM, min(TRAVEL_UM, target_um))
        speed = min(speed_um_s, CONTROLLER_SPEED_UM_S) if speed_um_s > 0.0 else CONTROLLER_SPEED_UM_S
        arrival = now + abs(target_um - origin) / speed
        self._add(Motion(start=now, arrival=arrival, stop=arrival + SETTLE_S, origin_um=origin, target_um=target_um))
        return self.rest_from

    def halt(self) -> float:
        """Stop where the axis is; returns that position, um."""
        now = self._clock.time()
        here = self.at(now)
        if now < self.rest_from:
            self._add(Motion(start=now, arrival=now, stop=now, origin_um=here, target_um=here))
        return here

    def fail(self) -> None:
        """Lose the servo: halt, and refuse to move until `recover`."""
        self.halt()
        self.fault = True

    def recover(self) -> None:
        """Have the servo back."""
        self.fault = False

    def at_limits(self, when: float) -> tuple[bool, bool]:
        """Whether the plus and the minus limit switch are active at `when`."""
        position = self.at(when)
        return position >= TRAVEL_UM, position <= -TRAVEL_UM

    def at(self, when: float) -> float:
        """True position at the simulated time `when`, um."""
        return self._during(when).at(when)

    def moved(self, start: float, stop: float) -> bool:
        """Whether the axis moved at any moment of ``start .. stop``."""
        return any(m.start < stop and self._end(i) > start for i, m in enumerate(self._motions))

    def _add(self, motion: Motion) -> None:
        self._motions.append(motion)

    def _during(self, when: float) -> Motion:
        for motion in reversed(self._motions):
            if motion.start <= when:
                return motion
        return self._motions[0]

    def _end(self, i: int) -> float:
        """End of motion `i`: at rest, or overtaken by the next one."""
        following = self._motions[i + 1].start if i + 1 < len(self._motions) else float("inf")
        return min(self._motions[i].stop, following)
