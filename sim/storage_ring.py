"""The storage ring: current, top-up injections and the countdown to the next one, under the TPS names."""

# caproto wants a putter to bear the name of its PV:
# mypy: disable-error-code="no-redef"

import math

from caproto.server import PVGroup, pvproperty

from sim.clock import SimClock
from sim.settings import SimSettings
from sim.trace import Trace

CURRENT_MA = 500.0
LIFETIME_S = 10.0 * 3600.0
MONITOR_WALL_S = 0.0025
"""Shortest time between two monitors, wall s."""
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


class StorageRingIOC(PVGroup):
    """The machine's PVs. A read computes them for the moment of the read; monitors come in between.

    PVs
    ---
    SR-DI-DCCT:BeamCurrent (ai, mA), TPS:TimeToNextInjSec (ai, s)
    """

    current = pvproperty(
        name="SR-DI-DCCT:BeamCurrent", value=CURRENT_MA, record="ai", precision=3, units="mA", read_only=True
    )
    countdown = pvproperty(name="TPS:TimeToNextInjSec", value=0.0, record="ai", precision=1, units="s", read_only=True)

    def __init__(self, *, ring: StorageRing, clock: SimClock) -> None:
        super().__init__("")
        self._ring = ring
        self._clock = clock

    @current.getter
    async def current(self, instance):
        """Current now."""
        return round(self._ring.current_ma(self._clock.time()), 6)

    @countdown.getter
    async def countdown(self, instance):
        """Countdown now."""
        return round(self._ring.countdown_s(self._clock.time()), 6)

    @countdown.startup
    async def countdown(self, instance, async_lib):
        """Post at 10 Hz of wall time and at least every simulated second, as far as clients can follow."""
        period = max(MONITOR_WALL_S, min(0.1, self._clock.wall(1.0)))
        while True:
            await self.refresh()
            await async_lib.sleep(period)

    async def refresh(self) -> None:
        """Post both values."""
        now = self._clock.time()
        await self.countdown.write(round(self._ring.countdown_s(now), 6))
        await self.current.write(round(self._ring.current_ma(now), 6))
