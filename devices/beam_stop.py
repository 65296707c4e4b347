"""The beam stop: in front of the detector, and never out without attenuation."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from ophyd import FormattedComponent
from ophyd.status import DeviceStatus

from devices.attenuator import Attenuator
from devices.errors import BeamStopError, InterlockError
from devices.guarded import GuardedSignal
from devices.two_states import TwoStates

Wanted = Literal["in", "out"]
BEAM_STOP_TIMEOUT_S = 30.0
SAFE_TRANSMISSION = 1e-4


class BeamStop(TwoStates):
    """Beam stop with `set("in")` and `set("out")`; done when the status PV says so.

    Stop and attenuator are interlocked both ways. The stop leaves only when the attenuator, asked at that moment, is at
    rest at a transmission that the detector survives; and while the stop is not in, the attenuator only goes to less
    transmission. Both hold for the devices of this session, however their commands are written; what other programs
    write is the business of the beamline's own protection.

    Parameters
    ----------
    attenuator : Attenuator
        The one that must be in the beam before the stop leaves.
    safe_transmission : float
        Largest transmission at which the direct beam may hit the detector.
    in_value, out_value : int
        Indices to write.
    timeout_s : float
        Wall seconds for a move.
    **kwargs
        `command`, `status`, `name`, and the IOC's words (`states`, `faults`): see `TwoStates`.
    """

    REACHED: ClassVar[Mapping[str, str]] = {"in": "In", "out": "Out"}
    FAILURE = BeamStopError
    ADVICE = "look at the beam stop on its own screen before any beam is let in"

    command = FormattedComponent(GuardedSignal, "{_command}", kind="omitted")

    def __init__(
        self,
        *,
        attenuator: Attenuator,
        safe_transmission: float = SAFE_TRANSMISSION,
        in_value: int = 1,
        out_value: int = 0,
        timeout_s: float = BEAM_STOP_TIMEOUT_S,
        **kwargs: Any,
    ) -> None:
        self.attenuator = attenuator
        self.safe_transmission = safe_transmission
        super().__init__(values={"in": in_value, "out": out_value}, timeout_s=timeout_s, **kwargs)
        attenuator.protect(self)

    @property
    def is_in(self) -> bool:
        """Whether the status says that the stop is fully in."""
        return self.has_reached("in")

    def set(self, value: Wanted) -> DeviceStatus:
        """Drive in or out; the status fails with `BeamStopError`.

        Raises
        ------
        InterlockError
            When asked out while the attenuator lets too much through, moves, or does not say.
        """
        return super().set(value)

    def command_now(self, word: str) -> None:
        """Write a command without waiting, if the attenuator lets it."""
        # The signal asks again as it writes; this covers a device whose signals are stand-ins.
        self.check_command(self._values[word])
        super().command_now(word)

    def check_command(self, value: Any) -> None:
        """Refuse a command that would let the stop leave without attenuation.

        Raises
        ------
        InterlockError
            With what the attenuator said at this moment.
        """
        if value == self._values["in"]:
            return
        achieved, moving = self.attenuator.ask()
        # Written so that a transmission of NaN is refused too.
        if moving or not achieved <= self.safe_transmission:
            said = "no transmission that means anything" if math.isnan(achieved) else f"{achieved:g}"
            raise InterlockError(
                f"transmission must be at most {self.safe_transmission:g} and at rest before {self.name} leaves, got "
                f"{said}{' with foils that move' if moving else ''}; set the attenuator first"
            )
