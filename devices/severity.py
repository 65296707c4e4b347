"""EPICS severity: whether a record means what it shows."""

from typing import Any

INVALID = 3
"""EPICS severity of a value that means nothing."""


def is_invalid(signal: Any) -> bool:
    """Whether the record behind a signal says that its value means nothing; one without a record always means it."""
    return int(getattr(signal, "alarm_severity", 0) or 0) >= INVALID
