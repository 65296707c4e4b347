"""One exposure: which point and frame it is, and how each of its stages is waited for."""

import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ophyd import Component, Device, Signal
from ophyd.status import Status

from devices.waiting import done_status, finish


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
    elapsed_s : float
        From its trigger to its end, as the injection countdown counts it; NaN over an injection.
    complete : bool
        The frame has been seen and judged.
    kept : bool
        Somebody has read it: a pause leaves it alone from here on.
    judged : ophyd.status.Status
        Done when the exposure has been judged, or has come to nothing.
    ready : ophyd.status.Status
        Done when the shutter is open and the service knows the point, or the exposure has come to nothing.
    begun, triggered : threading.Event
        Somebody has asked for the trigger, and it has been written.
    over : ophyd.status.Status
        Done when the detector counts no more, or the exposure has come to nothing: the stage may move.
    shut : ophyd.status.Status
        Done when the shutter has closed after it, or has never been opened; fails as the closing fails, or with what
        kept the shutter from being opened.
    untold : Exception or None
        What went wrong after the shutter was told to open and before anybody triggered it; the next one tells it.
    cancelled : threading.Event
        Nobody waits for it any more.
    """

    point: int
    x_um: float
    y_um: float
    judged: Status = field(default_factory=Status)
    frame: int | None = None
    void: str = ""
    elapsed_s: float = math.nan
    complete: bool = False
    kept: bool = False
    ready: Status = field(default_factory=Status)
    begun: threading.Event = field(default_factory=threading.Event)
    triggered: threading.Event = field(default_factory=threading.Event)
    over: Status = field(default_factory=Status)
    shut: Status = field(default_factory=Status)
    closing: Status | None = None
    untold: Exception | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def waits_for(self, note: Mapping[str, Any]) -> bool:
        """Whether it has been made ready for this point, and waits for the word to begin."""
        place = (note["point"], note["x_um"], note["y_um"])
        settled = self.begun.is_set() or self.cancelled.is_set() or self.judged.done
        return place == (self.point, self.x_um, self.y_um) and not settled

    def shuts_with(self, closing: Status) -> None:
        """Take over how the closing of the shutter ends."""
        self.closing = closing
        closing.add_callback(lambda status: finish(self.shut, status.exception(timeout=0)))

    def end(self, problem: Exception | None = None) -> None:
        """End every wait for it, that for its judgement with a problem, if there is one.

        The problem of one that nobody has triggered yet is told by the next one, which waits for `shut`: what is under
        way meanwhile is not spoilt by it.
        """
        finish(self.over)
        finish(self.ready)
        triggered = self.begun.is_set()
        finish(self.judged, problem if triggered else None)
        if self.closing is None:
            finish(self.shut, None if triggered else problem)
        elif not triggered:
            self.untold = problem


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
        return done_status()


class MadeReady(Device):
    """Set it to a point, as the detector's `point`, with `needed_s`: see `Eiger.make_ready`."""

    def set(self, note: Mapping[str, Any]) -> Status:
        """Return the status of the detector's readiness."""
        ready: Status = self.parent.make_ready(note, float(note["needed_s"]))
        return ready


class VoidedExposure(Device):
    """Void exposures for the documents, one at a time: each trigger shows the next one."""

    series = Component(Signal, value=-1)
    frame = Component(Signal, value=-1)
    point_index = Component(Signal, value=-1)
    reason = Component(Signal, value="")

    def __init__(self, prefix: str = "", **kwargs: Any) -> None:
        super().__init__(prefix, **kwargs)
        self.waiting: deque[Void] = deque()

    def trigger(self) -> Status:
        """Show the oldest void exposure that has not been shown."""
        void = self.waiting.popleft()
        self.series.put(void.series)
        self.frame.put(void.frame)
        self.point_index.put(void.point)
        self.reason.put(void.reason)
        return done_status()
