"""The attenuator: ask for a transmission, get the nearest the foils can do."""

import threading
import time
from typing import Any

from ophyd import Device, EpicsSignal, EpicsSignalRO, FormattedComponent
from ophyd.status import DeviceStatus

from devices.errors import AttenuatorError, DeviceError
from devices.waiting import Watch, put_completed

ATTENUATOR_TIMEOUT_S = 30.0


class Attenuator(Device):
    """Foils in the beam; `set(transmission)` is done when they rest, and `achieved` says what came of it.

    Parameters
    ----------
    transmission : str
        PV of the wanted transmission (0 to 1); the achieved one is read from the same name with `_RBV`.
    moving : str
        PV that is 1 while foils travel.
    timeout_s : float
        Wall seconds for a move.
    """

    wanted = FormattedComponent(EpicsSignal, "{_transmission}", kind="omitted")
    achieved = FormattedComponent(EpicsSignalRO, "{_transmission}_RBV", auto_monitor=True, kind="hinted")
    moving = FormattedComponent(EpicsSignalRO, "{_moving}", auto_monitor=True, kind="omitted")

    def __init__(
        self, *, transmission: str, moving: str, name: str, timeout_s: float = ATTENUATOR_TIMEOUT_S, **kwargs: Any
    ) -> None:
        self._transmission, self._moving = transmission, moving
        self.timeout_s = timeout_s
        super().__init__("", name=name, **kwargs)
        self.achieved.name = self.name

    def check_value(self, value: float) -> None:
        """Refuse a transmission that does not exist.

        Raises
        ------
        ValueError
            Outside 0 (excluded) to 1.
        """
        if not 0.0 < value <= 1.0:
            raise ValueError(f"transmission of {self.name} must be above 0 and at most 1, got {value}")

    def set(self, value: float) -> DeviceStatus:
        """Ask for a transmission; the status is done when the foils rest, or fails with `AttenuatorError`."""
        self.check_value(value)
        status = DeviceStatus(self)
        threading.Thread(target=self._move, args=(float(value), status), daemon=True, name=f"{self.name} move").start()
        return status

    def _move(self, value: float, status: DeviceStatus) -> None:
        deadline = time.monotonic() + self.timeout_s
        try:
            # Completion of the write comes first: before it `moving` may still show the time before the move.
            complete = put_completed(self.wanted, value, self.timeout_s)
            with Watch(moving=self.moving) as watch:
                moving = self.moving.get(use_monitor=False)
                rests = moving == 0 or watch.until(lambda now: now["moving"] == 0, deadline - time.monotonic())
        except (DeviceError, TimeoutError, OSError) as error:
            status.set_exception(AttenuatorError(f"{self.name} must take a transmission of {value:g}, got {error}"))
            return
        if complete and rests:
            status.set_finished()
        else:
            status.set_exception(
                AttenuatorError(
                    f"{self.name} must come to rest at a transmission near {value:g} within {self.timeout_s:g} s, got "
                    f"{'foils that still move' if complete else 'no completion from its IOC'}; look at its own screen"
                )
            )
