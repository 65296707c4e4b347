"""What makes a session wait for the beam: a bluesky suspender on the stored current, and only on that."""

from typing import Any

from bluesky.suspenders import SuspenderBase

from devices.storage_ring import StorageRing


class SuspendWithoutBeam(SuspenderBase):
    """Suspends a run while the ring has no beam, and holds back one that has not begun.

    The countdown to the next injection is not watched: `plans.top_up.gate` waits for that before each exposure, so
    that none is begun in vain, and a suspender would only break off those that fit. NaN and an INVALID current are no
    beam. Where a run cannot be rewound (before its first checkpoint), bluesky would end it; here it goes on to the
    gate, which waits as well.

    Parameters
    ----------
    ring : StorageRing
    sleep : float
        Seconds from the return of the beam to the end of the suspension.
    """

    def __init__(self, ring: StorageRing, *, sleep: float = 0.0) -> None:
        message = f"less than {ring.current_min_ma:g} mA stored; the run goes on when the beam is back"
        super().__init__(ring.current, sleep=sleep, tripped_message=message)
        self._ring = ring

    def _should_suspend(self, value: Any) -> bool:
        del value  # without its severity it does not say enough
        engine: Any = self.RE  # none any more: it has been removed, and this value was on its way
        return engine is not None and not self._ring.has_beam() and (engine.resumable or not engine.state.is_running)

    def _should_resume(self, value: Any) -> bool:
        del value
        return self._ring.has_beam()

    def _get_justification(self) -> str:
        return f"{self._sig.name}: {self._tripped_message}" if self.tripped else ""
