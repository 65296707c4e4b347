"""Stored current and injection countdown for the page, read over Channel Access from where the configuration says."""

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from caproto import AlarmSeverity

from service.config import Beamline
from service.status import Ring

CHANGED_EVERY_S = 1.0


class RingWatch:
    """Keeps the newest values of the two PVs of the storage ring.

    Parameters
    ----------
    addresses : str
        Where to search, as EPICS_CA_ADDR_LIST; nowhere else.
    beamline : Beamline
        The names, and below which current there is no beam.
    changed : callable
        Is called when the page should look again, at most once a second.
    """

    def __init__(self, addresses: str, beamline: Beamline, changed: Callable[[], None]) -> None:
        self._beamline, self._changed = beamline, changed
        self._lock = threading.Lock()
        self._values: dict[str, float | None] = {}
        self._told_at = 0.0
        # The client reads them at every search. The service's own PVs are on sockets that it holds.
        os.environ |= {"EPICS_CA_ADDR_LIST": addresses, "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        from caproto.threading.client import Context

        self._context = Context()
        names = beamline.ring_current, beamline.ring_countdown
        self._pvs = self._context.get_pvs(*names, timeout=None, connection_state_callback=self._connection)
        self._subscriptions = [pv.subscribe(data_type="time") for pv in self._pvs]
        for subscription in self._subscriptions:
            subscription.add_callback(self._hear)

    def now(self) -> Ring:
        """Return what the ring shows at this moment."""
        with self._lock:
            current = self._values.get(self._beamline.ring_current)
            countdown = self._values.get(self._beamline.ring_countdown)
            silent = [pv.name for pv in self._pvs if pv.name not in self._values]
        return Ring(
            current_ma=current,
            countdown_s=countdown,
            beam=current is not None and current >= self._beamline.ring_current_min_ma,
            message=f"no answer from {' and '.join(silent)}" if silent else "",
        )

    def stop(self) -> None:
        """Close the connections."""
        self._context.disconnect()

    def _hear(self, subscription: Any, response: Any) -> None:
        value = float(response.data[0])
        means = math.isfinite(value) and response.metadata.severity < AlarmSeverity.INVALID_ALARM
        self._keep(subscription.pv.name, value if means else None)

    def _connection(self, pv: Any, state: str) -> None:
        if state == "disconnected":
            with self._lock:
                self._values.pop(pv.name, None)
            self._tell()

    def _keep(self, name: str, value: float | None) -> None:
        with self._lock:
            self._values[name] = value
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= CHANGED_EVERY_S:
            self._told_at = now
            self._changed()
