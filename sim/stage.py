"""The XYZ piezo stage and its three motor records."""

from caproto.server import PVGroup

from sim.axis import Axis
from sim.clock import SimClock
from sim.motor_record import MotorRecord


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

    def fail(self) -> None:
        """Lose the servo of all three axes."""
        for axis in self.axes:
            axis.fail()

    def recover(self) -> None:
        """Have the servo back."""
        for axis in self.axes:
            axis.recover()


class StageIOC(PVGroup):
    """Motor records of the stage.

    PVs
    ---
    PIEZO:X, PIEZO:Y, PIEZO:Z (motor, um)
    """

    def __init__(self, prefix: str, *, stage: Stage, clock: SimClock, noise_um: float, seed: int) -> None:
        super().__init__(prefix)
        self.records = {
            name: MotorRecord(
                f"{prefix}PIEZO:{name}",
                axis=axis,
                clock=clock,
                description=f"Sample stage {name}",
                noise_um=noise_um,
                key=(seed, number),
            )
            for number, (name, axis) in enumerate(zip("XYZ", stage.axes, strict=True))
        }
        for record in self.records.values():
            self.pvdb.update(record.pvdb)

    async def refresh(self) -> None:
        """Show a servo fault, or its end, on every axis."""
        for record in self.records.values():
            await record.refresh()
