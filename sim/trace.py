"""Short histories: what a part of the beamline did, so that an exposure can ask for it afterwards."""

from bisect import bisect_right
from typing import Generic, TypeVar

T = TypeVar("T", bound=float)

KEEP = 4096
"""Changes remembered at least; the longest scan step causes a handful."""


class Trace(Generic[T]):
    """A step function of simulated time.

    The value holds from its time onwards; changes may lie in the future (a shutter that is still opening) and are
    dropped when an earlier change overrides them.

    Parameters
    ----------
    initial
        Value since ever.
    """

    def __init__(self, initial: T) -> None:
        self._times: list[float] = [float("-inf")]
        self._values: list[T] = [initial]

    def set(self, when: float, value: T) -> None:
        """From `when` on (simulated s) the value is `value`; later plans are void."""
        while len(self._times) > 1 and self._times[-1] >= when:
            self._times.pop()
            self._values.pop()
        if self._values[-1] != value:
            self._times.append(when)
            self._values.append(value)
        if len(self._times) > 2 * KEEP:
            del self._times[1:KEEP], self._values[1:KEEP]

    def at(self, when: float) -> T:
        """Value at the simulated time `when`."""
        return self._values[bisect_right(self._times, when) - 1]

    def pieces(self, start: float, stop: float) -> list[tuple[float, float, T]]:
        """Constant pieces ``(begin, end, value)`` that cover ``start .. stop`` without a hole."""
        first, last = bisect_right(self._times, start) - 1, bisect_right(self._times, stop) - 1
        edges = [start, *self._times[first + 1 : last + 1], stop]
        return list(zip(edges[:-1], edges[1:], self._values[first : last + 1], strict=True))
