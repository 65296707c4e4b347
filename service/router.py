"""Which series does a message belong to? Waiting room for images that overtook their header."""

from collections import deque
from dataclasses import dataclass

from processing.frame import EncodedFrame, Refusal

_MAX_WAITING = 64
_MAX_WAITING_BYTES = 64 * 2**20
_MAX_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    message: EncodedFrame | Refusal
    arrived: float

    @property
    def size(self) -> int:
        return len(self.message.blob) if isinstance(self.message, EncodedFrame) else 0


class WaitingRoom:
    """Images of a series whose header has not come; bounded in number, bytes and time.

    What leaves it unclaimed is foreign.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._claimed = 0

    def __len__(self) -> int:
        return len(self._waiting) + self._claimed

    def admit(self, message: EncodedFrame | Refusal, now: float) -> int:
        """Let a message wait; return how many had to leave for it (they are foreign now)."""
        entry = _Waiting(message, now)
        self._waiting.append(entry)
        self._bytes += entry.size
        left = 0
        while len(self._waiting) > _MAX_WAITING or self._bytes > _MAX_WAITING_BYTES:
            self._bytes -= self._waiting.popleft().size
            left += 1
        return left

    def claim(self, series: int) -> list[EncodedFrame | Refusal]:
        """Return the messages of a series whose header has come now; each counts as waiting until it may `leave`."""
        mine = [entry for entry in self._waiting if entry.message.series == series]
        self._waiting = deque(entry for entry in self._waiting if entry.message.series != series)
        self._bytes -= sum(entry.size for entry in mine)
        self._claimed += len(mine)
        return [entry.message for entry in mine]

    def leave(self) -> None:
        """Say that a claimed message has been booked."""
        self._claimed -= 1

    def expire(self, now: float) -> int:
        """Send away those who waited too long; return how many (they are foreign now)."""
        left = 0
        while self._waiting and now - self._waiting[0].arrived > _MAX_WAIT_S:
            self._bytes -= self._waiting.popleft().size
            left += 1
        return left
