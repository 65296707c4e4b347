"""Compressed frames kept for a while, because their verdict may still change."""

from collections import deque

from processing.frame import EncodedFrame


class Hold:
    """Bounded by bytes; frames near a cut are given up last.

    Parameters
    ----------
    capacity_bytes : int
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._frames: dict[int, EncodedFrame] = {}
        self._clear: deque[int] = deque()
        self._marginal: deque[int] = deque()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, row: int, frame: EncodedFrame, *, marginal: bool) -> None:
        """Keep a frame; older ones make room, those far from any cut first. The newest always stays."""
        self._frames[row] = frame
        self.held_bytes += len(frame.blob)
        (self._marginal if marginal else self._clear).append(row)
        while self.held_bytes > self._capacity and len(self._frames) > 1:
            queue = self._clear if self._clear and self._clear[0] != row else self._marginal or self._clear
            oldest = queue.popleft()
            self.held_bytes -= len(self._frames.pop(oldest).blob)

    def full(self) -> bool:
        """Whether the next frame would push one out."""
        return 0 < self._capacity <= self.held_bytes

    def get(self, row: int) -> EncodedFrame | None:
        """Return the frame of a ledger row, None when it is gone."""
        return self._frames.get(row)

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._clear.clear()
        self._marginal.clear()
        self.held_bytes = 0
