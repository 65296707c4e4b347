"""The storage ring: current, top-up injections and the countdown to the next one, under the TPS names."""

# caproto wants a putter to bear the name of its PV:
# mypy: disable-error-code="no-redef"

import math
from collections.abc import Callable
from typing import Any

from caproto import AlarmSeverity, AlarmStatus
from caproto.server import PVGroup, pvproperty

from sim.clock import SimClock
from sim.settings import SimSettings
from sim.trace import Trace

CURRENT_MA = 500.0
LIFETIME_S = 10.0 * 3600.0
MONITOR_WALL_S = 0.0025
"""Shortest time between two monitors, wall s."""
WELL, NAN, INVALID = range(3)
NO_TOP_UP = -1.0
"""Countdown while nothing will be injected (no stored beam)."""


class StorageRing:
    """Stored beam that decays and is topped up at fixed times.

    Injections start at ``first_injection_s + k ring_period_s`` and last ``injection_s``, all in simulated seconds. The
    current only shows the state of the machine: the beamline normalises by it, so the slow decay does not change the
    dose of a frame; an injection disturbs the beam, a dump ends it. An injection out of turn begins the schedule anew.
    """

    def __init__(self, clock: SimClock, settings: SimSettings) -> None:
        self._clock = clock
        self._settings = settings
        self.stored: Trace[bool] = Trace(True)
        self.readings: Trace[int] = Trace(WELL)
        self._first: Trace[float] = Trace(settings.first_injection_s)

    def dump(self, at: float | None = None) -> None:
        """Lose the beam now, or from the simulated time `at` on."""
        self.stored.set(self._moment(at), False)

    def refill(self, at: float | None = None) -> None:
        """Have full current again now, or from `at` on."""
        self.stored.set(self._moment(at), True)

    def inject(self, at: float | None = None) -> None:
        """Begin an injection out of turn now, or at `at`."""
        moment = self._moment(at)
        self._first.set(moment, moment)

    def show(self, readings: int, at: float | None = None) -> None:
        """Have both PVs read `WELL`, `NAN` or `INVALID` from now or `at` on; the beam is what it is."""
        self.readings.set(self._moment(at), readings)

    def _moment(self, at: float | None) -> float:
        return self._clock.time() if at is None else at

    def injections(self, start: float, stop: float) -> list[tuple[float, float]]:
        """Injections ``(begin, end)`` that overlap ``start .. stop``, simulated s."""
        period, length = self._settings.ring_period_s, self._settings.injection_s
        found = []
        for since, until, first in self._first.pieces(start - length, stop):
            k = max(0, math.floor((since - first) / period))
            while (begin := first + k * period) < until:
                if begin >= since and begin + length > start:
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
        first, period = self._first.at(when), self._settings.ring_period_s
        return first - when if when < first else period - (when - first) % period

    def current_ma(self, when: float) -> float:
        """Stored current at `when`, mA: exponential decay, refilled linearly during an injection."""
        if not self.stored.at(when):
            return 0.0
        first = self._first.at(when)
        since = (when - first) % self._settings.ring_period_s
        length = self._settings.injection_s
        low = CURRENT_MA * math.exp(-(self._settings.ring_period_s - length) / LIFETIME_S)
        if since < length and when >= first:
            return low + (CURRENT_MA - low) * since / length
        return CURRENT_MA * math.exp(-max(0.0, since - length) / LIFETIME_S)


_NO_ALARM: dict[str, Any] = {"status": AlarmStatus.NO_ALARM, "severity": AlarmSeverity.NO_ALARM}
_ALARM: dict[str, Any] = {"status": AlarmStatus.READ, "severity": AlarmSeverity.INVALID_ALARM}


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
        return self._shown(self._ring.current_ma, self._clock.time())

    @countdown.getter
    async def countdown(self, instance):
        """Countdown now."""
        return self._shown(self._ring.countdown_s, self._clock.time())

    @countdown.startup
    async def countdown(self, instance, async_lib):
        """Post at 10 Hz of wall time and at least every simulated second, as far as clients can follow."""
        period = max(MONITOR_WALL_S, min(0.1, self._clock.wall(1.0)))
        while True:
            await self.refresh()
            await async_lib.sleep(period)

    async def refresh(self, at: float | None = None) -> None:
        """Post both values, of this moment or of the simulated time `at`."""
        when = self._clock.time() if at is None else at
        alarm = _ALARM if self._ring.readings.at(when) == INVALID else _NO_ALARM
        await self.countdown.write(self._shown(self._ring.countdown_s, when), **alarm)
        await self.current.write(self._shown(self._ring.current_ma, when), **alarm)

    def _shown(self, value_at: Callable[[float], float], when: float) -> float:
        return math.nan if self._ring.readings.at(when) == NAN else round(value_at(when), 6)
