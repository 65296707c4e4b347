"""IOCs and services that go away and come back: who is silent, waiting for their return, and what to do then."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from devices.errors import NotConnectedError

logger = logging.getLogger(__name__)

AWAY_TIMEOUT_S = 60.0
"""How long a scan waits for an IOC, or the live service, that has gone; wall s. A restart takes less."""
GUARD_TIMEOUT_S = 12 * 3600.0
"""How long somebody keeps an eye on a detector that could not be made safe: a night."""
_LOOK_S = 0.05


def silent(signals: tuple[Any, ...]) -> list[str]:
    """Return the PVs that do not answer, empty when all do."""
    return [str(getattr(signal, "pvname", signal.name)) for signal in signals if not signal.connected]


def await_presence(
    signals: tuple[Any, ...], timeout_s: float | None = None, cancelled: Callable[[], bool] = lambda: False
) -> bool:
    """Wait until all PVs answer.

    Parameters
    ----------
    signals : tuple of ophyd.EpicsSignal
    timeout_s : float, optional
        Wall seconds; `AWAY_TIMEOUT_S` by default.
    cancelled : callable
        Ends the wait early when it returns true.

    Returns
    -------
    bool
        False when cancelled.

    Raises
    ------
    NotConnectedError
        With the names of those that stay silent.
    """
    seconds = AWAY_TIMEOUT_S if timeout_s is None else timeout_s
    deadline = time.monotonic() + seconds
    while missing := silent(signals):
        if cancelled():
            return False
        if time.monotonic() > deadline:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise NotConnectedError(
                f"{missing[0]}{more} must answer again within {seconds:g} s, got silence; see whether the IOC or the "
                "service behind it runs, then start the scan again"
            )
        time.sleep(_LOOK_S)
    return True


class ReturnGuard:
    """Does something as soon as PVs that are silent now answer again, once, in a thread of its own.

    Parameters
    ----------
    signals : tuple of ophyd.EpicsSignal
        Whose return is waited for.
    act : callable
        What to do then; what it raises is logged.
    """

    def __init__(self, signals: tuple[Any, ...], act: Callable[[], object]) -> None:
        self._signals, self._act = signals, act
        self._dismissed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="return guard")
        self._thread.start()

    def dismiss(self) -> None:
        """Do nothing any more."""
        self._dismissed.set()

    def join(self, timeout_s: float) -> None:
        """Wait until it has acted or given up."""
        self._thread.join(timeout_s)

    def _watch(self) -> None:
        try:
            if await_presence(self._signals, GUARD_TIMEOUT_S, self._dismissed.is_set) and not self._dismissed.is_set():
                self._act()
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread; the log is all there is
            logger.error("%s", error)  # noqa: TRY400 - a sentence, not a traceback
