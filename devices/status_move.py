"""A move that is over when a status PV says the right word."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ophyd.status import DeviceStatus
from ophyd.utils import InvalidState

from devices.errors import DeviceError


class StatusMove(DeviceStatus):
    """Write a command, then wait for a status PV to show the target.

    Parameters
    ----------
    device : ophyd.Device
    write : callable
        Writes the command.
    readback : ophyd.EpicsSignalRO
        The status, read as text.
    target : str
        The word that ends the move in success.
    bad : tuple of str
        Words that end it in failure at once.
    timeout_s : float
        Wall seconds.
    error : type
        Class of the exception of a failure.
    advice : str
        What to do about a failure.
    """

    def __init__(
        self,
        device: Any,
        *,
        write: Callable[[], object],
        readback: Any,
        target: str,
        bad: tuple[str, ...],
        timeout_s: float,
        error: type[DeviceError],
        advice: str,
    ) -> None:
        super().__init__(device)
        self._readback, self._target, self._bad = readback, target, bad
        self._error, self._advice, self._seconds = error, advice, timeout_s
        self._timer = threading.Timer(timeout_s, self._overdue)
        self._timer.daemon = True
        write()
        self._timer.start()
        # Subscribed after the write: a status that shows the target already is the end of the move. Its IOC is asked
        # only then; any other last value will be followed by a monitor.
        readback.subscribe(self._changed, event_type=readback.SUB_VALUE, run=False)
        if readback.get() == target or readback.get() in bad:
            self._changed(value=readback.get(use_monitor=False))

    def quit(self) -> None:
        """End quietly: somebody else has taken over (a pause)."""
        self._end(None)

    def _changed(self, *, value: str, **_: object) -> None:
        if value == self._target:
            self._end(None)
        elif value in self._bad:
            self._end(f"got {value}")

    def _overdue(self) -> None:
        self._end(f"within {self._seconds:g} s, got {self._readback.get()}")

    def _end(self, problem: str | None) -> None:
        self._timer.cancel()
        with suppress(InvalidState):
            if problem is None:
                self.set_finished()
            else:
                self.set_exception(
                    self._error(f"{self.device.name} must become {self._target} {problem}; {self._advice}".strip())
                )

    def _settled(self) -> None:
        self._readback.clear_sub(self._changed, event_type=self._readback.SUB_VALUE)
