"""The one physical state of the simulated beamline; EPICS only looks at it."""

from dataclasses import dataclass

from sim.attenuator import Attenuator
from sim.beam_stop import BeamStop
from sim.clock import SimClock
from sim.settings import SimSettings
from sim.shutter import Shutter
from sim.stage import Stage
from sim.storage_ring import StorageRing

NANO_DIGITS = 9
"""Times are rounded to 1 ns so that an exposure that saw no change lasts exactly what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the beam and the stage did during one exposure.

    Attributes
    ----------
    x_um, y_um, z_um
        True position at mid exposure; exactly the commanded target when at rest, um.
    moving
        The stage moved during the exposure.
    open_s
        Seconds of the exposure with the fast shutter open and stored beam; exactly the exposure (rounded to 1 ns) when
        that was so throughout.
    injection_s
        Seconds of those that overlapped an injection.
    transmission
        Of the attenuator; the mean over the exposure when it changed.
    beam_stop_in
        The beam stop was fully in throughout.
    """

    x_um: float
    y_um: float
    z_um: float
    moving: bool
    open_s: float
    injection_s: float
    transmission: float
    beam_stop_in: bool


class Beamline:
    """Stage, ring, shutter, attenuator and beam stop on one clock.

    Everything here runs in one asyncio thread and is quick; nothing waits. The slow decay of the ring current does not
    change the dose: the beamline normalises by it.

    Parameters
    ----------
    settings
        What this simulation was told at its start.
    clock
        The simulated clock; by default one of ``settings.speed`` that starts now.
    """

    def __init__(self, settings: SimSettings | None = None, clock: SimClock | None = None) -> None:
        self.settings = settings if settings is not None else SimSettings()
        self.clock = clock if clock is not None else SimClock(self.settings.speed)
        self.stage = Stage(self.clock)
        self.ring = StorageRing(self.clock, self.settings)
        self.shutter = Shutter(self.clock)
        self.attenuator = Attenuator(self.clock)
        self.beam_stop = BeamStop(self.clock)

    def conditions(self, start: float, stop: float) -> Conditions:
        """What happened between the simulated times `start` and `stop`, in s.

        Raises
        ------
        ValueError
            If `stop` is not after `start`.
        """
        if not stop > start:
            raise ValueError(f"the end of an exposure must be after its start at {start} s, got {stop} s")
        middle = 0.5 * (start + stop)
        x, y, z = (axis.at(middle) for axis in self.stage.axes)
        lit = self._lit(start, stop)
        return Conditions(
            x_um=x,
            y_um=y,
            z_um=z,
            moving=any(axis.moved(start, stop) for axis in self.stage.axes),
            open_s=round(sum(end - begin for begin, end in lit), NANO_DIGITS),
            injection_s=self._disturbed(lit),
            transmission=self._transmission(start, stop),
            beam_stop_in=all(inside for _, _, inside in self.beam_stop.protects.pieces(start, stop)),
        )

    def _lit(self, start: float, stop: float) -> list[tuple[float, float]]:
        """Intervals with beam on the sample."""
        return [
            (begin, end)
            for a, b, is_open in self.shutter.open.pieces(start, stop)
            if is_open
            for begin, end, stored in self.ring.stored.pieces(a, b)
            if stored and end > begin
        ]

    def _disturbed(self, lit: list[tuple[float, float]]) -> float:
        seconds = sum(min(end, b) - max(begin, a) for begin, end in lit for a, b in self.ring.injections(begin, end))
        return round(seconds, NANO_DIGITS)

    def _transmission(self, start: float, stop: float) -> float:
        pieces = self.attenuator.transmission.pieces(start, stop)
        if len(pieces) == 1:
            return pieces[0][2]
        return sum((end - begin) * value for begin, end, value in pieces) / (stop - start)
