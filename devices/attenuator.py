"""The attenuator: ask for a transmission, get the nearest the foils can do."""

import math
import threading
import time
from typing import Any, Protocol

from ophyd import Device, EpicsSignalRO, FormattedComponent
from ophyd.status import DeviceStatus

from devices.asked import Asked
from devices.errors import AttenuatorError, InterlockError
from devices.guarded import GuardedSignal
from devices.severity import NO_ANSWER
from devices.waiting import Watch, put_completed

ATTENUATOR_TIMEOUT_S = 30.0


class Protection(Protocol):
    """What protects the detector when there is no attenuation: the beam stop."""

    name: str

    def is_now(self, word: str) -> bool:
        """Whether its IOC, asked now, says that it has reached the state of `word`."""


class Attenuator(Device):
    """Foils in the beam; `set(transmission)` is done when they rest, and `achieved` says what came of it.

    Parameters
    ----------
    transmission : str
        PV of the wanted transmission (0 to 1).
    moving : str
        PV that is 1 while foils travel.
    achieved : str, optional
        PV of the transmission reached; the name of the wanted one with `_RBV` by default.
    timeout_s : float
        Wall seconds for a move.
    """

    wanted = FormattedComponent(GuardedSignal, "{_transmission}", kind="omitted")
    achieved = FormattedComponent(EpicsSignalRO, "{_achieved}", auto_monitor=True, kind="hinted")
    moving = FormattedComponent(EpicsSignalRO, "{_moving}", auto_monitor=True, kind="omitted")

    def __init__(
        self,
        *,
        transmission: str,
        moving: str,
        name: str,
        achieved: str | None = None,
        timeout_s: float = ATTENUATOR_TIMEOUT_S,
        **kwargs: Any,
    ) -> None:
        self._transmission, self._moving = transmission, moving
        self._achieved = achieved or f"{transmission}_RBV"
        self.timeout_s = timeout_s
        self._protections: list[Protection] = []
        super().__init__("", name=name, **kwargs)
        self.achieved.name = self.name

    def protect(self, protection: Protection) -> None:
        """Go to more transmission from now on only while `protection` says that it is in."""
        self._protections.append(protection)

    def ask(self) -> tuple[float, bool]:
        """Ask the IOC for the transmission reached and whether foils travel, now.

        Returns
        -------
        tuple of float and bool
            NaN and True where it does not answer, or its record is INVALID.
        """
        try:
            asked = Asked(self.achieved, self.moving)
            achieved, moving = asked.take(self.achieved), asked.take(self.moving)
            transmission = math.nan if achieved.is_invalid else float(achieved.value)
        except (*NO_ANSWER, TypeError, ValueError):
            return math.nan, True
        return transmission, moving.is_invalid or moving.value != 0

    def check_value(self, value: float) -> None:
        """Refuse a transmission that does not exist.

        Raises
        ------
        ValueError
            Outside 0 (excluded) to 1.
        """
        if not 0.0 < value <= 1.0:
            raise ValueError(f"transmission of {self.name} must be above 0 and at most 1, got {value}")

    def check_command(self, value: float) -> None:
        """Refuse to let more through while nothing protects the detector.

        Raises
        ------
        InterlockError
            When the beam stop is not in, or does not say.
        """
        for protection in self._protections:
            if protection.is_now("in"):
                continue
            achieved, _ = self.ask()
            # Written so that a transmission of NaN now lets nothing but the smallest step pass.
            if not value <= achieved:
                raise InterlockError(
                    f"{protection.name} must be in before {self.name} lets more through than now "
                    f"({'unknown' if math.isnan(achieved) else f'{achieved:g}'}), got a request for {value:g}; drive "
                    f"{protection.name} in first"
                )

    def set(self, value: float) -> DeviceStatus:
        """Ask for a transmission; the status is done when the foils rest, or fails with `AttenuatorError`.

        Raises
        ------
        ValueError
            For a transmission that does not exist.
        InterlockError
            When it would let more through while the beam stop is not in.
        """
        self.check_value(value)
        self.check_command(value)
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
        except InterlockError as error:  # the stop has left since `set` looked
            status.set_exception(error)
            return
        except Exception as error:  # noqa: BLE001 - this is a thread: a move that is not ended here hangs the scan
            status.set_exception(AttenuatorError(f"{self.name} must take a transmission of {value:g}, got {error}"))
            return
        if not (complete and rests):
            status.set_exception(
                AttenuatorError(
                    f"{self.name} must come to rest at a transmission near {value:g} within {self.timeout_s:g} s, got "
                    f"{'foils that still move' if complete else 'no completion from its IOC'}; look at its own screen"
                )
            )
        elif math.isnan(self.ask()[0]):
            status.set_exception(
                AttenuatorError(
                    f"{self.name} must say what transmission it has reached near {value:g}, got nothing that means "
                    f"anything from {self.achieved.pvname}; look at its own screen"
                )
            )
        else:
            status.set_finished()
