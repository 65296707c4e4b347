"""What a session says of the live service while a run is on: that it is not well, and why."""

import re
import sys
from typing import Any

Document = dict[str, Any]


class LiveNews:
    """A callback for the RunEngine that writes to standard error what is new in the service's `Degraded`.

    Somebody who only watches the prompt would else learn in the morning that the disk was full. A reason in which only
    numbers have changed is told once.

    Parameters
    ----------
    live : devices.live_result.LiveResult
    """

    def __init__(self, live: Any) -> None:
        self._signal = live.degraded
        self._said: set[str] = set()
        self._runs = 0

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document: listen from the start of a run to its end."""
        del doc
        if name == "start":
            self._runs += 1
            if self._runs == 1:
                self._said = set()
                self._signal.subscribe(self._hear)
        elif name == "stop":
            self._runs -= 1
            if self._runs == 0:
                self._signal.clear_sub(self._hear)

    def _hear(self, *, value: Any, **_: object) -> None:
        reasons = {re.sub(r"\d+", "#", reason): reason for reason in str(value or "").split("; ") if reason.strip()}
        new = [reason for key, reason in reasons.items() if key not in self._said]
        if new or (self._said and not reasons):
            sys.stderr.write(f"live service: {'; '.join(new) or 'well again'}\n")
            sys.stderr.flush()
        self._said = set(reasons)
