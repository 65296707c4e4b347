"""The XYZ piezo stage."""

from sim.axis import Axis
from sim.clock import SimClock


class Stage:
    """Three independent servo axes in um."""

    def __init__(self, clock: SimClock) -> None:
        self.x = Axis(clock)
        self.y = Axis(clock)
        self.z = Axis(clock)

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """x, y, z."""
        return self.x, self.y, self.z
