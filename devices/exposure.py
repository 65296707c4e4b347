"""One exposure: which point and frame it is, and whether anything spoilt it."""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import dropwhile, pairwise
from types import TracebackType
from typing import Any, Self

from ophyd import Component, Device, Signal, get_cl
from ophyd.status import DeviceStatus, Status
from ophyd.utils import DisconnectedError

from devices.severity import INVALID
from devices.shutter import FastShutter
from devices.storage_ring import INJECTION_S, PERIOD_S, StorageRing, beam_is_stored, window_is_open
from devices.waiting import request

COUNTDOWN_JUMP_S = 2.0
"""A countdown that grows by more than this has started over: an injection. Smaller steps are its own rounding."""
DRAIN_TIMEOUT_S = 1.0
OPEN = "Open"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPlan:
    """What one run wants of the detector.

    Attributes
    ----------
    exposure_s : float
        Exposure of every frame, s.
    points : int or None
        Exposures wanted, repeats not counted; None when unknown.
    spare : int
        Triggers beyond `points`, for repeats.
    """

    exposure_s: float
    points: int | None = None
    spare: int = 100

    def __post_init__(self) -> None:
        """Refuse what no detector can do."""
        if not (math.isfinite(self.exposure_s) and self.exposure_s > 0.0):
            raise ValueError(f"exposure must be above 0 s, got {self.exposure_s} s")
        if (self.points is not None and self.points < 1) or self.spare < 0:
            raise ValueError(f"points must be at least 1 and spare at least 0, got {self.points} and {self.spare}")

    @property
    def triggers(self) -> int:
        """How many triggers to arm the detector for; unused ones cost nothing."""
        return (self.points or 1000) + self.spare


@dataclass(slots=True, kw_only=True)
class Exposure:
    """One exposure as the detector's client sees it.

    Attributes
    ----------
    point : int
        Index of the scan point, -1 when none was given.
    x_um, y_um : float
        Stage position.
    frame : int or None
        Number in the series, None until the trigger is written.
    void : str
        Why it must not be summed; empty while nothing is wrong.
    complete : bool
        The frame has been seen and judged.
    kept : bool
        Somebody has read it: a pause leaves it alone from here on.
    over : ophyd.status.Status
        Done when the detector counts no more, or the exposure has come to nothing: the stage may move.
    cancelled : threading.Event
        Nobody waits for it any more.
    """

    point: int
    x_um: float
    y_um: float
    frame: int | None = None
    void: str = ""
    complete: bool = False
    kept: bool = False
    over: Status = field(default_factory=Status)
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """An exposure that was made and is not summed."""

    series: int
    frame: int
    point: int
    reason: str


class ExposureOver(Device):
    """Trigger it to wait until the exposure under way is over; its frame may come later."""

    exposure: Exposure | None = None

    def trigger(self) -> Status:
        """Return the status of the newest exposure's end."""
        if self.exposure is not None:
            return self.exposure.over
        status = DeviceStatus(self)
        status.set_finished()
        return status


class VoidedExposure(Device):
    """Void exposures for the documents, one at a time: each trigger shows the next one."""

    series = Component(Signal, value=-1)
    frame = Component(Signal, value=-1)
    point_index = Component(Signal, value=-1)
    reason = Component(Signal, value="")

    def __init__(self, prefix: str = "", **kwargs: Any) -> None:
        super().__init__(prefix, **kwargs)
        self.waiting: deque[Void] = deque()

    def trigger(self) -> DeviceStatus:
        """Show the oldest void exposure that has not been shown."""
        void = self.waiting.popleft()
        self.series.put(void.series)
        self.frame.put(void.frame)
        self.point_index.put(void.point)
        self.reason.put(void.reason)
        status = DeviceStatus(self)
        status.set_finished()
        return status


def spoilt_by_injection(countdowns: list[float], period_s: float = PERIOD_S, injection_s: float = INJECTION_S) -> bool:
    """Whether a row of countdown values (s, oldest first) runs into or over an injection.

    An injection out of turn, after a pause in top-up, makes the countdown fall into the first seconds of a period.

    Examples
    --------
    >>> rows = [70.0, 40.0, 10.0], [20.0, 1.0, 239.0], [2.0, 0.0], [900.0, 239.0]
    >>> [spoilt_by_injection(row) for row in rows]
    [False, True, True, True]
    """
    if any(not (math.isfinite(value) and value > 0.0) for value in countdowns):
        return True
    return any(
        late - early > COUNTDOWN_JUMP_S
        or (early > period_s + COUNTDOWN_JUMP_S and period_s - injection_s < late <= period_s)
        for early, late in pairwise(countdowns)
    )


class Witness:
    """Hears what ring and shutter did while an exposure ran.

    Every value that a monitor brings is kept, so that a dip of the current or a flicker of the shutter between two
    looks is not lost; a PV that falls silent spoils the exposure. Looks and monitors are judged apart: the answer to a
    look may overtake monitors that were sent before it.

    Parameters
    ----------
    ring : StorageRing
    shutter : FastShutter
    """

    def __init__(self, ring: StorageRing, shutter: FastShutter) -> None:
        self._ring, self._shutter = ring, shutter
        self._lock = threading.Lock()
        self._looks: list[float] = []
        self._heard: list[float] = []
        self._beam = True
        self._shutter_heard: list[str] = []
        self._silent = ""

    def __enter__(self) -> Self:
        """Listen from now on, and look at the ring; for the shutter, which may still be opening, it is too early."""
        for signal, hear in self._pairs():
            signal.subscribe(hear, event_type=signal.SUB_VALUE, run=False)
            signal.subscribe(self._hear_silence, event_type=signal.SUB_META, run=False)
        self._look_at_ring()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to listen."""
        for signal, hear in self._pairs():
            signal.clear_sub(hear, event_type=signal.SUB_VALUE)
            signal.clear_sub(self._hear_silence, event_type=signal.SUB_META)

    def opened(self) -> None:
        """Take that the shutter is open: from here on every other word spoils the exposure.

        Its monitor may have come before anybody listened here.
        """
        with self._lock:
            if OPEN not in self._shutter_heard[-1:]:
                self._shutter_heard.append(OPEN)

    def look(self) -> None:
        """Ask the IOCs for the values of this moment, and hear everything that has arrived until then.

        An IOC that does not answer spoils the exposure.
        """
        request(self._ring.countdown, self._ring.current, self._shutter.status)
        self._look_at_ring()
        if (shutter := self._ask(self._shutter.status)) is None:
            return
        done = threading.Event()
        get_cl().get_dispatcher().get_thread_context("monitor")(done.set)
        done.wait(DRAIN_TIMEOUT_S)
        if shutter != OPEN:
            with self._lock:
                self._shutter_heard += [OPEN, str(shutter)]

    def _look_at_ring(self) -> None:
        ring = self._ring
        request(ring.countdown, ring.current)
        countdown, current = self._ask(ring.countdown), self._ask(ring.current)
        if countdown is None or current is None:
            return
        with self._lock:
            self._looks.append(_meaning(countdown, ring.countdown.alarm_severity))
            self._beam &= beam_is_stored(float(current), ring.current.alarm_severity or 0, ring.current_min_ma)

    def _ask(self, signal: Any) -> Any:
        """Ask for a value of this moment; None when its IOC does not answer."""
        try:
            return signal.get(use_monitor=False)
        except (TimeoutError, DisconnectedError) as error:
            with self._lock:
                self._silent = self._silent or f"{signal.pvname} ({error})"
            return None

    def fits(self, exposure_s: float) -> bool:
        """Whether the last look says that an exposure can be made now."""
        with self._lock:
            return bool(self._beam and self._looks) and window_is_open(
                self._looks[-1], exposure_s, self._ring.period_s, self._ring.injection_s
            )

    def elapsed_s(self) -> float:
        """Seconds between the first and the last look, by the countdown; NaN over an injection."""
        with self._lock:
            if len(self._looks) < 2:
                return math.nan
            first, last = self._looks[0], self._looks[-1]
        return first - last if first >= last > 0.0 else math.nan

    def verdict(self) -> str:
        """Say what spoilt the exposure, empty when nothing did."""
        with self._lock:
            if self._silent:
                return f"{self._silent} fell silent"
            if not self._beam:
                return "no beam"
            if any(
                spoilt_by_injection(row, self._ring.period_s, self._ring.injection_s)
                for row in (self._looks, self._heard)
            ):
                return "injection"
            # What was heard before the first Open belongs to the way there.
            opened = dropwhile(lambda word: word != OPEN, self._shutter_heard)
            return "" if all(word == OPEN for word in opened) else "shutter not open"

    def _pairs(self) -> tuple[tuple[Any, Callable[..., None]], ...]:
        return (
            (self._ring.countdown, self._hear_countdown),
            (self._ring.current, self._hear_current),
            (self._shutter.status, self._hear_shutter),
        )

    def _hear_countdown(self, *, value: float, severity: int = 0, **_: object) -> None:
        with self._lock:
            self._heard.append(_meaning(value, severity))

    def _hear_current(self, *, value: float, severity: int = 0, **_: object) -> None:
        with self._lock:
            self._beam &= beam_is_stored(float(value), severity, self._ring.current_min_ma)

    def _hear_shutter(self, *, value: str, severity: int = 0, **_: object) -> None:
        with self._lock:
            self._shutter_heard.append(str(value) if severity < INVALID else "INVALID")

    def _hear_silence(self, *, connected: bool = True, obj: Any = None, **_: object) -> None:
        if not connected:
            with self._lock:
                self._silent = str(getattr(obj, "pvname", "a PV"))


def _meaning(value: float, severity: int | None) -> float:
    """The value, NaN when its record says that it means nothing."""
    return float(value) if (severity or 0) < INVALID else math.nan
