"""Waiting for signals with a deadline; every wait says what it waited for."""

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from ophyd.status import Status

Latest = Mapping[str, Any]
FIRST_VALUE_TIMEOUT_S = 2.0


class Watch:
    """Keep the newest values of a few signals and wait until they satisfy a condition.

    Values arrive by the signals' monitors, so nothing is polled over the network while waiting.

    Parameters
    ----------
    **signals
        Ophyd signals by the names under which `until` shall see their values.

    Examples
    --------
    >>> from ophyd import Signal
    >>> level = Signal(name="level", value=1)
    >>> with Watch(level=level) as watch:
    ...     watch.until(lambda now: now["level"] == 1, timeout_s=1.0)
    True
    """

    def __init__(self, **signals: Any) -> None:
        self._signals = signals
        self._changed = threading.Condition(threading.RLock())
        self._latest: dict[str, Any] = dict.fromkeys(signals)
        self._updates: dict[str, int] = dict.fromkeys(signals, 0)
        self._tokens: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Start to listen, and have a first value of every signal that answers."""
        for name, signal in self._signals.items():
            self._tokens[name] = signal.subscribe(self._receiver(name), event_type=signal.SUB_VALUE, run=True)
            if not hasattr(signal, "pvname"):  # one without a PV tells its value only when asked
                self._latest[name] = signal.get()
        self.until(lambda now: None not in now.values(), FIRST_VALUE_TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to listen."""
        for name, token in self._tokens.items():
            self._signals[name].unsubscribe(token)
        self._tokens.clear()

    @property
    def latest(self) -> dict[str, Any]:
        """Newest value of each signal, None before the first."""
        with self._changed:
            return dict(self._latest)

    def updates(self, name: str) -> int:
        """How many values of a signal have come since the start; tells an old value from a new one that is equal."""
        with self._changed:
            return self._updates[name]

    def until(
        self, accepts: Callable[[Latest], bool], timeout_s: float, cancelled: Callable[[], bool] | None = None
    ) -> bool:
        """Wait until `accepts` is true of the newest values.

        Parameters
        ----------
        accepts : callable
            Takes the newest value of each signal by name, None before the first.
        timeout_s : float
            Wall seconds.
        cancelled : callable, optional
            Ends the wait early when it returns true; looked at at least every 0.1 s.

        Returns
        -------
        bool
            Whether `accepts` became true.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if accepts(self._latest):
                    return True
                left = deadline - time.monotonic()
                if left <= 0.0 or (cancelled is not None and cancelled()):
                    return False
                self._changed.wait(min(left, 0.1))

    def _receiver(self, name: str) -> Callable[..., None]:
        def receive(*, value: Any, **_: object) -> None:
            with self._changed:
                self._latest[name] = value
                self._updates[name] += 1
                self._changed.notify_all()

        return receive


def put_completed(signal: Any, value: Any, timeout_s: float) -> bool:
    """Write a PV and wait until its record has finished processing.

    Parameters
    ----------
    signal : ophyd.EpicsSignal
    value
        What to write.
    timeout_s : float
        Wall seconds.

    Returns
    -------
    bool
        Whether the IOC reported completion in time.
    """
    done = threading.Event()
    signal.put(value, use_complete=True, callback=lambda **_: done.set())
    return done.wait(timeout_s)


def finished(status: Any, cancelled: Callable[[], bool]) -> bool:
    """Wait for an ophyd status that has a deadline of its own.

    Parameters
    ----------
    status : ophyd.StatusBase
    cancelled : callable
        Ends the wait early when it returns true.

    Returns
    -------
    bool
        False when cancelled.

    Raises
    ------
    Exception
        The status's own, when it failed.
    """
    over = threading.Event()
    status.add_callback(lambda _: over.set())
    while not over.wait(0.05):
        if cancelled():
            return False
    status.wait(timeout=1.0)
    return True


def done_status() -> Status:
    """Return a status that has nothing to wait for."""
    status = Status()
    status.set_finished()
    return status


def finish(status: Status, problem: Exception | None = None) -> None:
    """End a status that may have ended already, by one thread only."""
    if status.done:
        return
    if problem is None:
        status.set_finished()
    else:
        status.set_exception(problem)
