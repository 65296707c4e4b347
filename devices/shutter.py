"""The fast shutter: a command, and a status that alone says where the blades are."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from ophyd.status import DeviceStatus

from devices.errors import ShutterError
from devices.two_states import TwoStates
from devices.waiting import Watch

Wanted = Literal["open", "close"]
SHUTTER_TIMEOUT_S = 5.0


class FastShutter(TwoStates):
    """Shutter in front of the sample; `set("open")` and `set("close")`.

    A move is done when the status PV says so. `Opening`, `Closing`, `Fault` and anything unknown are neither open nor
    closed; a fault fails the move at once.

    Parameters
    ----------
    open_value, close_value : int
        Indices to write.
    timeout_s : float
        Wall seconds for a move.
    **kwargs
        `command`, `status`, `name`, and the IOC's words where they are not Open, Closed and Fault (`states`, `faults`):
        see `TwoStates`.
    """

    REACHED: ClassVar[Mapping[str, str]] = {"open": "Open", "close": "Closed"}
    FAILURE = ShutterError
    ADVICE = "reset the shutter on its own screen, and see whether the interlock holds it"

    def __init__(
        self,
        *,
        open_value: int = 1,
        close_value: int = 0,
        timeout_s: float = SHUTTER_TIMEOUT_S,
        **kwargs: Any,
    ) -> None:
        super().__init__(values={"open": open_value, "close": close_value}, timeout_s=timeout_s, **kwargs)

    @property
    def is_open(self) -> bool:
        """Whether the status says that the blades are fully open."""
        return self.has_reached("open")

    @property
    def is_closed(self) -> bool:
        """Whether the status says that the blades are fully closed."""
        return self.has_reached("close")

    def shows_open(self, timeout_s: float) -> bool:
        """Whether the status says in time that the blades are fully open, by its own monitor."""
        if self.is_open:
            return True
        with Watch(status=self.status) as watch:
            return watch.until(lambda _: self.is_open, timeout_s)

    def set(self, value: Wanted) -> DeviceStatus:
        """Open or close; the status is done when the status PV says so, or fails with `ShutterError`."""
        return super().set(value)

    def close_now(self) -> None:
        """Command it to close without waiting, whatever else goes on."""
        self.command_now("close")

    def stop(self, *, success: bool = False) -> None:
        """Close: the safe state (the RunEngine calls this at a pause and at the end)."""
        del success
        self.close_now()
