"""The fast shutter: a command, and a status that alone says where the blades are."""

from typing import Any, Literal

from ophyd import Device, EpicsSignal, EpicsSignalRO, FormattedComponent
from ophyd.status import DeviceStatus

from devices.errors import ShutterError
from devices.status_move import StatusMove

Wanted = Literal["open", "close"]
REACHED: dict[str, str] = {"open": "Open", "close": "Closed"}
SHUTTER_TIMEOUT_S = 5.0


class FastShutter(Device):
    """Shutter in front of the sample; `set("open")` and `set("close")`.

    A move is done when the status PV says so. `Opening`, `Closing`, `Fault` and anything unknown are neither open nor
    closed; a fault fails the move at once.

    Parameters
    ----------
    command, status : str
        PVs of the command (an enum, written by index) and of the status (an enum, read by its words Open, Closed,
        Opening, Closing, Fault).
    open_value, close_value : int
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
        name: str,
        open_value: int = 1,
        close_value: int = 0,
        timeout_s: float = SHUTTER_TIMEOUT_S,
        **kwargs: Any,
    ) -> None:
        self._command, self._status = command, status
        self._values: dict[str, int] = {"open": open_value, "close": close_value}
        self.timeout_s = timeout_s
        super().__init__("", name=name, **kwargs)

    @property
    def is_open(self) -> bool:
        """Whether the status says that the blades are fully open."""
        return bool(self.status.get() == REACHED["open"])

    @property
    def is_closed(self) -> bool:
        """Whether the status says that the blades are fully closed."""
        return bool(self.status.get() == REACHED["close"])

    def check_value(self, value: str) -> None:
        """Refuse anything but open and close.

        Raises
        ------
        ValueError
            With the words that are known.
        """
        if value not in REACHED:
            raise ValueError(f"{self.name} must be set to 'open' or 'close', got {value!r}")

    def set(self, value: Wanted) -> DeviceStatus:
        """Open or close; the status is done when the status PV says so, or fails with `ShutterError`."""
        self.check_value(value)
        return StatusMove(
            self,
            write=lambda: self.command.put(self._values[value]),
            readback=self.status,
            target=REACHED[value],
            bad=("Fault",),
            timeout_s=self.timeout_s,
            error=ShutterError,
            advice="reset the shutter on its own screen, and see whether the interlock holds it",
        )

    def close_now(self) -> None:
        """Command it to close without waiting, whatever else goes on."""
        self.command.put(self._values["close"])

    def stop(self, *, success: bool = False) -> None:
        """Close: the safe state (the RunEngine calls this at a pause and at the end)."""
        del success
        self.close_now()
