"""The beam stop: in front of the detector, and never out without attenuation."""

from typing import Any, Literal

from ophyd import Device, EpicsSignal, EpicsSignalRO, FormattedComponent
from ophyd.status import DeviceStatus

from devices.attenuator import Attenuator
from devices.errors import BeamStopError, InterlockError
from devices.status_move import StatusMove

Wanted = Literal["in", "out"]
REACHED: dict[str, str] = {"in": "In", "out": "Out"}
BEAM_STOP_TIMEOUT_S = 30.0
SAFE_TRANSMISSION = 1e-4


class BeamStop(Device):
    """Beam stop with `set("in")` and `set("out")`; done when the status PV says so.

    `out` is refused unless the attenuator has *achieved* a transmission that the detector survives.

    Parameters
    ----------
    command, status : str
        PVs of the command (enum, written by index) and the status (enum, read by its words).
    attenuator : Attenuator
        The one that must be in the beam before the stop leaves.
    safe_transmission : float
        Largest transmission at which the direct beam may hit the detector.
    in_value, out_value : int
        Indices to write.
    timeout_s : float
        Wall seconds for a move.
    """

    command = FormattedComponent(EpicsSignal, "{_command}", kind="omitted")
    status = FormattedComponent(EpicsSignalRO, "{_status}", string=True, auto_monitor=True, kind="normal")

    def __init__(
        self,
        *,
        command: str,
        status: str,
        attenuator: Attenuator,
        name: str,
        safe_transmission: float = SAFE_TRANSMISSION,
        in_value: int = 1,
        out_value: int = 0,
        timeout_s: float = BEAM_STOP_TIMEOUT_S,
        **kwargs: Any,
    ) -> None:
        self._command, self._status = command, status
        self._values: dict[str, int] = {"in": in_value, "out": out_value}
        self.attenuator = attenuator
        self.safe_transmission = safe_transmission
        self.timeout_s = timeout_s
        super().__init__("", name=name, **kwargs)

    @property
    def is_in(self) -> bool:
        """Whether the status says that the stop is fully in."""
        return bool(self.status.get() == REACHED["in"])

    def check_value(self, value: str) -> None:
        """Refuse anything but in and out.

        Raises
        ------
        ValueError
            With the words that are known.
        """
        if value not in REACHED:
            raise ValueError(f"{self.name} must be set to 'in' or 'out', got {value!r}")

    def set(self, value: Wanted) -> DeviceStatus:
        """Drive in or out; the status fails with `BeamStopError`.

        Raises
        ------
        InterlockError
            When asked out while the attenuator lets too much through.
        """
        self.check_value(value)
        if value == "out":
            self._require_attenuation()
        return StatusMove(
            self,
            write=lambda: self.command.put(self._values[value]),
            readback=self.status,
            target=REACHED[value],
            bad=("Fault",),
            timeout_s=self.timeout_s,
            error=BeamStopError,
            advice="look at the beam stop on its own screen before any beam is let in",
        )

    def _require_attenuation(self) -> None:
        achieved = float(self.attenuator.achieved.get(use_monitor=False))
        moving = self.attenuator.moving.get(use_monitor=False) != 0
        # Written so that a transmission of NaN is refused too.
        if moving or not achieved <= self.safe_transmission:
            raise InterlockError(
                f"transmission must be at most {self.safe_transmission:g} and at rest before {self.name} leaves, got "
                f"{achieved:g}{' with foils that move' if moving else ''}; set the attenuator first"
            )
