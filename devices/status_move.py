"""A move that is over when a status PV says the right word."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ophyd.status import DeviceStatus
from ophyd.utils import InvalidState

from devices.asked import ask
from devices.errors import DeviceError
from devices.severity import INVALID, NO_ANSWER

FAULT_STAYS_S = 0.5
"""A fault that was there before the command, and still is so long after it, wall s, is its answer."""


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
        self._later: threading.Timer | None = None
        write()
        self._timer.start()
        # Subscribed after the write: a status that shows the target already is the end of the move. Its IOC is asked
        # only then; any other last value will be followed by a monitor.
        readback.subscribe(self._changed, event_type=readback.SUB_VALUE, run=False)
        heard = self._last_heard()
        if heard == target:
            self._look()
        elif heard in bad:  # from before the command, which it may take a moment to forget
            self._later = threading.Timer(FAULT_STAYS_S, self._look)
            self._later.daemon = True
            self._later.start()

    def quit(self) -> None:
        """End quietly: somebody else has taken over (a pause)."""
        self._end(None)

    def _last_heard(self) -> Any:
        """Give the value of the last monitor, None when the status does not answer."""
        try:
            return self._readback.get()
        except NO_ANSWER:
            return None

    def _look(self) -> None:
        """Ask once; a status that does not answer may still come back in time."""
        with suppress(*NO_ANSWER):
            self._changed(**ask(self._readback)._asdict())

    def _changed(self, *, value: str, severity: int | None = 0, **_: object) -> None:
        if (severity or 0) >= INVALID:
            return
        if value == self._target:
            self._end(None)
        elif value in self._bad:
            self._end(f"got {value}")

    def _overdue(self) -> None:
        word = self._last_word()
        self._end(None if word == self._target else f"within {self._seconds:g} s, got {word}")

    def _last_word(self) -> str:
        """What the status says, whatever it takes: a status that is not ended here would hang the scan."""
        try:
            word, severity = ask(self._readback)
        except NO_ANSWER:
            return f"no answer from {self._readback.pvname}"
        return f"{word} with the record INVALID" if severity >= INVALID else str(word)

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
        if self._later is not None:
            self._later.cancel()
        self._readback.clear_sub(self._changed, event_type=self._readback.SUB_VALUE)
