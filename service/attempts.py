"""How often somebody has tried to steer without the right to."""

import time
from collections import deque
from collections.abc import Callable

MAX_REFUSALS = 10
WINDOW_S = 60.0
PAUSE_S = 60.0
_MAX_CLIENTS = 1000


class Attempts:
    """Counts refusals by client; ten within a minute begin a pause of a minute, in which the answer is "wait".

    The right token passes at all times: on one machine every client has the same address, and whoever guesses must not
    be able to lock out the person who steers.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refusals: dict[str, deque[float]] = {}

    def pause_s(self, client: str) -> float:
        """Return for how long a client's refusals are answered by "wait", 0 when they are not."""
        times = self._refusals.get(client)
        if times is None or len(times) < MAX_REFUSALS:
            return 0.0
        # Only full within one window does it count; from then on the pause runs from the refusal that filled it.
        if times[-1] - times[0] > WINDOW_S:
            return 0.0
        return max(0.0, times[-1] + PAUSE_S - self._clock())

    def refused(self, client: str) -> None:
        """Count one refusal; those in a pause do not prolong it."""
        if self.pause_s(client):
            return
        times = self._refusals.pop(client, deque(maxlen=MAX_REFUSALS))
        if len(times) == MAX_REFUSALS and times[-1] - times[0] <= WINDOW_S:
            times.clear()  # that pause is over
        times.append(self._clock())
        self._refusals[client] = times
        if len(self._refusals) > _MAX_CLIENTS:  # the one not heard of for the longest time
            del self._refusals[next(iter(self._refusals))]
