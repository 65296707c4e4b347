"""What ring and shutter did while an exposure ran, and whether it spoilt the exposure."""

import math
import threading
import time
from collections.abc import Callable
from itertools import dropwhile, pairwise
from types import TracebackType
from typing import Any, Self

from ophyd import get_cl

from devices.asked import Answer, Asked
from devices.severity import INVALID, NO_ANSWER
from devices.shutter import FastShutter
from devices.storage_ring import INJECTION_S, PERIOD_S, StorageRing, beam_is_stored

COUNTDOWN_JUMP_S = 2.0
"""A countdown that grows by more than this has started over: an injection. Smaller steps are its own rounding."""
LATE_S = 0.02
"""Within how long the first look must be over, wall s, to tell when the exposure began."""
DRAIN_TIMEOUT_S = 1.0
OPEN = "Open"


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
        self._unheard = ""
        self._asked, self._asked_at = Asked(), math.nan
        self._first_is_late = False

    def __enter__(self) -> Self:
        """Listen from now on, and ask the ring for its values of this moment; `first_look` takes the answers."""
        for signal, hear in self._pairs():
            signal.subscribe(hear, event_type=signal.SUB_VALUE, run=False)
            signal.subscribe(self._hear_silence, event_type=signal.SUB_META, run=False)
        self._asked = Asked(self._ring.countdown, self._ring.current)
        self._asked_at = time.monotonic()
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

    def first_look(self) -> None:
        """Take what the ring answers to what it was asked at the beginning; the trigger need not wait for it."""
        self._look_at_ring(self._asked)
        # When a slow IOC has looked at its values, its answer does not say.
        self._first_is_late = time.monotonic() - self._asked_at > LATE_S

    def look(self) -> None:
        """Ask the IOCs for the values of this moment, and hear everything that has arrived until then.

        An IOC that does not answer spoils the exposure.
        """
        asked = Asked(self._ring.countdown, self._ring.current, self._shutter.status)
        self._look_at_ring(asked)
        if (shutter := self._take(asked, self._shutter.status)) is None:
            return
        done = threading.Event()
        get_cl().get_dispatcher().get_thread_context("monitor")(done.set)
        heard_all = done.wait(DRAIN_TIMEOUT_S)
        with self._lock:
            if not heard_all:
                self._unheard = self._unheard or f"the session did not hear its monitors within {DRAIN_TIMEOUT_S:g} s"
            if (word := _word(*shutter)) != OPEN:
                self._shutter_heard += [OPEN, word]

    def _look_at_ring(self, asked: Asked) -> None:
        countdown, current = self._take(asked, self._ring.countdown), self._take(asked, self._ring.current)
        if countdown is None or current is None:
            return
        with self._lock:
            self._looks.append(_meaning(*countdown))
            self._beam &= beam_is_stored(float(current.value), current.severity, self._ring.current_min_ma)

    def _take(self, asked: Asked, signal: Any) -> Answer | None:
        """Take an answer; None when the IOC gives none."""
        try:
            return asked.take(signal)
        except NO_ANSWER as error:
            with self._lock:
                self._unheard = self._unheard or f"{signal.pvname} ({error}) fell silent"
            return None

    def elapsed_s(self) -> float:
        """Seconds from first to last look, by the countdown; NaN over an injection, or when the first was late."""
        with self._lock:
            if len(self._looks) < 2 or self._first_is_late:
                return math.nan
            first, last = self._looks[0], self._looks[-1]
        return first - last if first >= last > 0.0 else math.nan

    def verdict(self) -> str:
        """Say what spoilt the exposure, empty when nothing did."""
        with self._lock:
            if self._unheard:
                return self._unheard
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
            self._shutter_heard.append(_word(value, severity))

    def _hear_silence(self, *, connected: bool = True, obj: Any = None, **_: object) -> None:
        if not connected:
            with self._lock:
                self._unheard = f"{getattr(obj, 'pvname', 'a PV')} fell silent"


def _meaning(value: float, severity: int) -> float:
    """The value, NaN when its record says that it means nothing."""
    return float(value) if severity < INVALID else math.nan


def _word(value: str, severity: int) -> str:
    return str(value) if severity < INVALID else "INVALID"
