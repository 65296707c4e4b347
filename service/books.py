"""Small counters around the ledger: errors in words, the rate, and the status built from all of them."""

from collections import deque
from datetime import UTC, datetime

from service.status import NamedError

_KEPT_ERRORS = 50


class ErrorLog:
    """The newest errors, oldest first; repeated ones stay apart, since each names its frame."""

    def __init__(self) -> None:
        self._errors: deque[NamedError] = deque(maxlen=_KEPT_ERRORS)

    def add(self, name: str, message: str, *, series: int | None = None, frame: int | None = None) -> None:
        """Add an error that happened now."""
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._errors.append(NamedError(name=name, message=message, when=when, series=series, frame=frame))

    def all(self) -> list[NamedError]:
        """Return the errors, newest last."""
        return list(self._errors)


class RateMeter:
    """Frames a second over the last few seconds."""

    def __init__(self, span_s: float = 3.0) -> None:
        self._span = span_s
        self._times: deque[float] = deque(maxlen=2000)

    def count(self, now: float) -> None:
        """Count one frame."""
        self._times.append(now)

    def hz(self, now: float) -> float:
        """Return the rate at a moment of the monotonic clock."""
        recent = [moment for moment in self._times if now - moment <= self._span]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-9)


class StrideWatch:
    """Notices when the same number of frames is lacking between each frame and the next.

    Attributes
    ----------
    since : int
        Frame number with which the run of equal steps began.
    """

    ENOUGH = 4
    """Equal steps in a row: nine frame numbers for the most usual case, one other receiver."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._stride = 0
        self._equal = 0
        self._told = False
        self.since = 0

    def take(self, frame: int) -> int:
        """Take the next frame number; return the stride when it becomes certain, else 0."""
        step = 0 if self._last is None else frame - self._last
        if step != self._stride:
            self._stride, self._equal, self.since, self._told = step, 0, self._last or 0, False
        self._last = frame
        self._equal += 1
        if step < 2 or self._equal < self.ENOUGH or self._told:
            return 0
        self._told = True
        return step
