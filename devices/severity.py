"""EPICS severity: whether a record means what it shows."""

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
