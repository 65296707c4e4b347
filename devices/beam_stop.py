"""The beam stop: in front of the detector, and never out without attenuation."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from ophyd.status import DeviceStatus

from devices.attenuator import Attenuator
from devices.errors import BeamStopError, InterlockError
from devices.two_states import TwoStates

Wanted = Literal["in", "out"]
BEAM_STOP_TIMEOUT_S = 30.0
SAFE_TRANSMISSION = 1e-4


class BeamStop(TwoStates):
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

    REACHED: ClassVar[Mapping[str, str]] = {"in": "In", "out": "Out"}
    FAILURE = BeamStopError
    ADVICE = "look at the beam stop on its own screen before any beam is let in"

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
        self.attenuator = attenuator
        self.safe_transmission = safe_transmission
        values = {"in": in_value, "out": out_value}
        super().__init__(command=command, status=status, name=name, values=values, timeout_s=timeout_s, **kwargs)

    @property
    def is_in(self) -> bool:
        """Whether the status says that the stop is fully in."""
        return self.has_reached("in")

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
        return super().set(value)

    def _require_attenuation(self) -> None:
        achieved = float(self.attenuator.achieved.get(use_monitor=False))
        moving = self.attenuator.moving.get(use_monitor=False) != 0
        # Written so that a transmission of NaN is refused too.
        if moving or not achieved <= self.safe_transmission:
            raise InterlockError(
                f"transmission must be at most {self.safe_transmission:g} and at rest before {self.name} leaves, got "
                f"{achieved:g}{' with foils that move' if moving else ''}; set the attenuator first"
            )
