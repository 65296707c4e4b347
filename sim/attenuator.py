"""The attenuator: foils that go into the beam."""

# caproto wants a putter to bear the name of its PV:
# mypy: disable-error-code="no-redef"

import math

from caproto.server import PVGroup, pvproperty

from sim.clock import SimClock
from sim.trace import Trace

FOIL_STEPS = 15
"""Four foils of 1, 2, 4 and 8 units make 0 to 15 units."""
DECADES_PER_STEP = 0.5
LOWEST = 10.0 ** (-DECADES_PER_STEP * FOIL_STEPS)
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


class AttenuatorIOC(PVGroup):
    """The attenuator's PVs; a put of a transmission completes when the foils are in place.

    Like an ao record with drive limits it clamps what is asked for to what the foils can do.

    PVs
    ---
    ATT:Transmission (ao, wanted), ATT:Transmission_RBV (ai, achieved), ATT:Moving (bi)
    """

    wanted = pvproperty(name="ATT:Transmission", value=1.0, record="ao", precision=9)
    achieved = pvproperty(name="ATT:Transmission_RBV", value=1.0, record="ai", precision=9, read_only=True)
    moving = pvproperty(
        name="ATT:Moving",
        value="In place",
        dtype=bool,
        record="bi",
        read_only=True,
        enum_strings=["In place", "Moving"],
    )

    def __init__(self, prefix: str, *, attenuator: Attenuator, clock: SimClock) -> None:
        super().__init__(prefix)
        self._attenuator = attenuator
        self._clock = clock

    @wanted.putter
    async def wanted(self, instance, value):
        """Drive the foils."""
        if math.isnan(value):
            raise ValueError(f"transmission must be a number, got {value}")
        wanted = min(1.0, max(LOWEST, float(value)))
        there = self._attenuator.request(wanted)
        await self.refresh()
        await self._clock.until(there)
        await self.refresh()
        return wanted

    async def refresh(self) -> None:
        """Post the achieved transmission and whether foils travel, if news; in place is said last."""
        now = self._clock.time()
        moving = "Moving" if self._attenuator.moving(now) else "In place"
        achieved = self._attenuator.transmission.at(now)
        if achieved != self.achieved.value:
            await self.achieved.write(achieved)
        if moving != self.moving.value:
            await self.moving.write(moving)
