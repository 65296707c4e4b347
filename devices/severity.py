"""EPICS severity: whether a record means what it shows."""

import threading
from typing import Any

from epics.ca import CASeverityException, ChannelAccessException, ChannelAccessGetFailure
from ophyd.utils import DisconnectedError

NO_ANSWER = (TimeoutError, DisconnectedError, ChannelAccessException, ChannelAccessGetFailure, CASeverityException)
"""What asking for a value raises when its IOC is away, or goes away just then."""
INVALID = 3
"""EPICS severity of a value that means nothing."""


def is_invalid(signal: Any) -> bool:
    """Whether the record behind a signal says that its value means nothing; one without a record always means it."""
    return int(getattr(signal, "alarm_severity", 0) or 0) >= INVALID


def ask(signal: Any) -> Any:
    """Ask the IOC for the value of this moment; afterwards `is_invalid` speaks of this moment, too.

    Raises
    ------
    TimeoutError, ophyd.utils.DisconnectedError, epics.ca.ChannelAccessGetFailure
        When it does not answer (`NO_ANSWER`).
    """
    # Of two threads that ask for one PV at a time, one would take the other's answer, which then waits for its own.
    lock = signal.__dict__.setdefault("_one_asks", threading.Lock())
    with lock:
        # The plain form leaves the severity that the last monitor brought.
        return signal.get(use_monitor=False, form="ctrl")
