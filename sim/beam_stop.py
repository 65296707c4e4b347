"""The beam stop in front of the detector."""

# caproto wants a putter to bear the name of its PV:
# mypy: disable-error-code="no-redef"

from typing import Literal

from caproto.server import PVGroup, pvproperty

from sim.clock import SimClock
from sim.trace import Trace

TRAVEL_S = 2.0

BeamStopState = Literal["Unknown", "In", "Out", "Moving", "Fault"]


STATES: tuple[BeamStopState, ...] = ("Unknown", "In", "Out", "Moving", "Fault")


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


class BeamStopIOC(PVGroup):
    """The beam stop's PVs; a put on the command completes when it has arrived.

    PVs
    ---
    BS:Cmd (bo: Out, In), BS:Sts (mbbi: Unknown, In, Out, Moving, Fault)
    """

    command = pvproperty(name="BS:Cmd", value="In", dtype=bool, record="bo", enum_strings=["Out", "In"])
    status = pvproperty(name="BS:Sts", value="In", record="mbbi", read_only=True, dtype=bool, enum_strings=STATES)

    def __init__(self, prefix: str, *, beam_stop: BeamStop, clock: SimClock) -> None:
        super().__init__(prefix)
        self._beam_stop = beam_stop
        self._clock = clock

    @command.putter
    async def command(self, instance, value):
        """Drive in or out."""
        there = self._beam_stop.command(to_in=value in ("In", 1))
        await self.refresh()
        await self._clock.until(there)
        await self.refresh()
        return value

    async def refresh(self) -> None:
        """Post where it is if it is news."""
        state = self._beam_stop.state(self._clock.time())
        if state != self.status.value:
            await self.status.write(state)
