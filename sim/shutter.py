"""The fast shutter."""

# caproto wants a putter to bear the name of its PV:
# mypy: disable-error-code="no-redef"

from typing import Literal

from caproto.server import PVGroup, pvproperty

from sim.clock import SimClock
from sim.trace import Trace

TRAVEL_S = 0.010

ShutterState = Literal["Fault", "Open", "Opening", "Closed", "Closing"]


STATES: tuple[ShutterState, ...] = ("Fault", "Open", "Opening", "Closed", "Closing")


class Shutter:
    """Blades that take a moment to open and to close; closed at the start.

    Light passes only when fully open: opening counts as closed, and closing cuts the beam at once.
    """

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self.open: Trace[bool] = Trace(False)
        self._wanted = False
        self._there = float("-inf")

    def command(self, *, to_open: bool, at: float | None = None) -> float:
        """Start to open or close, now or at `at`, and not before they rest; returns when they will (simulated s)."""
        moment = self._clock.time() if at is None else max(at, self._there)
        if to_open != self._wanted:
            self._wanted = to_open
            self._there = moment + TRAVEL_S
            self.open.set(self._there if to_open else moment, to_open)
        return self._there

    def reopen(self, closed_at: float, at: float) -> None:
        """Open at `at` after a closing at `closed_at`, unless somebody has commanded the blades in between."""
        if not self._wanted and self._there == closed_at + TRAVEL_S:
            self.command(to_open=True, at=at)

    @property
    def rest_from(self) -> float:
        """Simulated time from which the blades rest."""
        return self._there

    def state(self, when: float) -> ShutterState:
        """What the status shows at `when`."""
        if when < self._there:
            return "Opening" if self._wanted else "Closing"
        return "Open" if self._wanted else "Closed"


class ShutterIOC(PVGroup):
    """The fast shutter's PVs; a put on the command completes when the blades rest.

    PVs
    ---
    FS:Cmd (bo: Close, Open), FS:Sts (mbbi: Fault, Open, Opening, Closed, Closing)
    """

    command = pvproperty(name="FS:Cmd", value="Close", dtype=bool, record="bo", enum_strings=["Close", "Open"])
    status = pvproperty(name="FS:Sts", value="Closed", record="mbbi", read_only=True, dtype=bool, enum_strings=STATES)

    def __init__(self, prefix: str, *, shutter: Shutter, clock: SimClock) -> None:
        super().__init__(prefix)
        self._shutter = shutter
        self._clock = clock

    @command.putter
    async def command(self, instance, value):
        """Open or close."""
        there = self._shutter.command(to_open=value in ("Open", 1))
        await self.refresh()
        await self._clock.until(there)
        await self.refresh()
        return value

    async def refresh(self, at: float | None = None) -> None:
        """Post the state of the blades, of this moment or of the simulated time `at`, if it is news."""
        state = self._shutter.state(self._clock.time() if at is None else at)
        if state != self.status.value:
            await self.status.write(state)
