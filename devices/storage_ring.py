"""The storage ring: stored current, countdown to the next top-up injection, and the gate between injections."""

import math
import threading
from contextlib import suppress
from typing import Any

from ophyd import Component, Device, EpicsSignalRO, FormattedComponent
from ophyd.status import DeviceStatus
from ophyd.utils import InvalidState

from devices.errors import BeamError
from devices.severity import INVALID, NO_ANSWER, is_invalid

PERIOD_S = 240.0
"""Top-up interval of the TPS."""
INJECTION_S = 5.0
"""Longest injection. Where the countdown jumps to the next interval as the injection *begins*, the beam is disturbed
for this long after the jump; where it is held at 0 meanwhile, this costs little and harms nothing."""
CURRENT_MIN_MA = 10.0
MARGIN_S = 3.0
"""Between the end of an exposure and the next injection; the value in use at TPS 07A."""
GATE_TIMEOUT_S = 3600.0


def beam_is_stored(current_ma: float, severity: int, current_min_ma: float = CURRENT_MIN_MA) -> bool:
    """Whether the current says that there is beam; NaN and an INVALID record say that there is none.

    Examples
    --------
    >>> beam_is_stored(500.0, 0), beam_is_stored(math.nan, 0), beam_is_stored(500.0, INVALID)
    (True, False, False)
    """
    return severity < INVALID and math.isfinite(current_ma) and current_ma >= current_min_ma


def window_is_open(
    countdown_s: float, needed_s: float, period_s: float = PERIOD_S, injection_s: float = INJECTION_S
) -> bool:
    """Whether `needed_s` from now on stay clear of the injection that just was and the one to come.

    Parameters
    ----------
    countdown_s : float
        To the next injection. NaN, 0 and below (no top-up, an injection under way) never fit.
    needed_s : float
        Exposure and margin.
    period_s : float
        From one injection to the next.
    injection_s : float
        How long after the jump of the countdown the beam is still disturbed.

    Examples
    --------
    >>> [window_is_open(c, 63.0) for c in (62.0, 100.0, 238.0, -1.0, math.nan)]
    [False, True, False, False, False]
    """
    if not (math.isfinite(countdown_s) and countdown_s > needed_s):
        return False
    # Longer than a period is a pause in top-up, not the first seconds after a jump.
    return not period_s - injection_s < countdown_s <= period_s + 1.0


class BeamGate(Device):
    """Set it to the seconds needed; done when there is beam and no injection comes for that long.

    A move of this device is a message like any other: after a pause the RunEngine replays it, so an exposure that is
    repeated is gated again. (A wait in the plan's own code would not be repeated.)

    Parameters
    ----------
    prefix : str
        Unused, for ophyd.
    timeout_s : float
        Wall seconds after which waiting has failed.
    """

    def __init__(self, prefix: str = "", *, timeout_s: float = GATE_TIMEOUT_S, **kwargs: Any) -> None:
        super().__init__(prefix, **kwargs)
        self.timeout_s = timeout_s
        self._pending: _GateStatus | None = None

    def check_value(self, value: float) -> None:
        """Refuse a time that never fits between two injections.

        Raises
        ------
        ValueError
            When `value` (s) is not above 0 or too long.
        """
        ring = self.parent
        longest = ring.period_s - ring.injection_s
        if not 0.0 < value < longest:
            raise ValueError(
                f"exposure and margin must be above 0 and below {longest:g} s to fit between two injections, got "
                f"{value:g} s; use a shorter exposure"
            )

    def set(self, value: float) -> DeviceStatus:
        """Wait for a window of `value` seconds; the status fails with `BeamError` when none comes in time."""
        self.check_value(value)
        self.stop(success=True)
        self._pending = _GateStatus(self, float(value), self.timeout_s)
        self._pending.listen()
        return self._pending

    def stop(self, *, success: bool = False) -> None:
        """Wait no longer."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.quit(success=success)


class _GateStatus(DeviceStatus):
    def __init__(self, gate: BeamGate, needed_s: float, timeout_s: float) -> None:
        super().__init__(gate)
        self._ring, self._needed, self._seconds = gate.parent, needed_s, timeout_s
        self._timer = threading.Timer(timeout_s, self._overdue)
        self._timer.daemon = True

    def listen(self) -> None:
        self._timer.start()
        for signal in (self._ring.countdown, self._ring.current):
            signal.subscribe(self._look, event_type=signal.SUB_VALUE, run=False)
        self._look()

    def quit(self, *, success: bool) -> None:
        self._end(None if success else "it was stopped while it waited")

    def _look(self, **_: object) -> None:
        if not self.done and self._ring.fits(self._needed):
            self._end(None)

    def _overdue(self) -> None:
        self._end(f"got {self._ring.describe_beam()} after {self._seconds:g} s; see what the control room says")

    def _end(self, problem: str | None) -> None:
        self._timer.cancel()
        with suppress(InvalidState):
            if problem is None:
                self.set_finished()
            else:
                needed = f"beam and {self._needed:g} s without an injection must come"
                self.set_exception(BeamError(f"{needed}, but {problem}"))

    def _settled(self) -> None:
        for signal in (self._ring.countdown, self._ring.current):
            signal.clear_sub(self._look, event_type=signal.SUB_VALUE)


class StorageRing(Device):
    """Stored current and injection countdown, under the machine's own PV names.

    Parameters
    ----------
    current, countdown : str
        PVs of the stored current (mA) and of the time to the next injection (s).
    period_s, injection_s : float
        Top-up interval and how long after a jump of the countdown the beam is disturbed.
    current_min_ma : float
        Below this there is no beam.
    """

    current = FormattedComponent(EpicsSignalRO, "{_current}", auto_monitor=True, kind="hinted")
    countdown = FormattedComponent(EpicsSignalRO, "{_countdown}", auto_monitor=True, kind="normal")
    gate = Component(BeamGate, "", kind="omitted")

    def __init__(
        self,
        *,
        current: str,
        countdown: str,
        name: str,
        period_s: float = PERIOD_S,
        injection_s: float = INJECTION_S,
        current_min_ma: float = CURRENT_MIN_MA,
        **kwargs: Any,
    ) -> None:
        self._current, self._countdown = current, countdown
        self.period_s, self.injection_s, self.current_min_ma = period_s, injection_s, current_min_ma
        super().__init__("", name=name, **kwargs)

    def has_beam(self) -> bool:
        """Whether there is stored beam now; a PV that does not answer counts as none."""
        signal = self.current
        try:
            current = float(signal.get()) if signal.connected else math.nan
        except NO_ANSWER:  # it goes away just now
            return False
        return beam_is_stored(current, int(signal.alarm_severity or 0), self.current_min_ma)

    def fits(self, needed_s: float) -> bool:
        """Whether there is beam and no injection disturbs the next `needed_s` seconds."""
        signal = self.countdown
        if not signal.connected or is_invalid(signal) or not self.has_beam():
            return False
        try:
            countdown = float(signal.get())
        except NO_ANSWER:
            return False
        return window_is_open(countdown, needed_s, self.period_s, self.injection_s)

    def describe_beam(self) -> str:
        """Say in words what the machine shows."""
        values = []
        for signal, unit in ((self.current, "mA"), (self.countdown, "s to the next injection")):
            values.append(f"{signal.get():g} {unit}" if signal.connected else f"{signal.pvname} disconnected")
        return ", ".join(values)
