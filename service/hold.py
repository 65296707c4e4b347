"""Compressed frames kept for a while, because their verdict may still change."""

import mmap
from collections import deque
from dataclasses import replace

from processing.frame import EncodedFrame


class Hold:
    """Bounded by bytes and number; frames near a cut are given up last.

    Parameters
    ----------
    capacity_bytes : int
    most_frames : int
        So that small frames do not take memory for minutes on end.
    """

    def __init__(self, capacity_bytes: int, most_frames: int = 1000) -> None:
        self._capacity, self._most = capacity_bytes, most_frames
        self._frames: dict[int, EncodedFrame] = {}
        self._clear: deque[int] = deque()
        self._marginal: deque[int] = deque()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, row: int, frame: EncodedFrame, *, marginal: bool) -> None:
        """Keep a frame; older ones make room, those far from any cut first. The newest always stays."""
        self._frames[row] = replace(frame, blob=_on_own_pages(frame.blob)) if marginal else frame
        self.held_bytes += len(frame.blob)
        (self._marginal if marginal else self._clear).append(row)
        while (self.held_bytes > self._capacity or len(self._frames) > self._most) and len(self._frames) > 1:
            queue = self._clear if self._clear and self._clear[0] != row else self._marginal or self._clear
            oldest = queue.popleft()
            self.held_bytes -= len(self._frames.pop(oldest).blob)

    def full(self) -> bool:
        """Whether the next frame would push one out."""
        return self._capacity > 0 and (self._capacity <= self.held_bytes or self._most <= len(self._frames))

    def get(self, row: int) -> EncodedFrame | None:
        """Return the frame of a ledger row, None when it is gone."""
        return self._frames.get(row)

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._clear.clear()
        self._marginal.clear()
        self.held_bytes = 0


def _on_own_pages(blob: bytes | memoryview) -> memoryview:
    """Copy what may stay for a whole run: between messages that come and go it would leave holes nobody can use."""
    view = memoryview(blob).cast("B")
    pages = mmap.mmap(-1, max(1, view.nbytes))
    pages[: view.nbytes] = view
    return memoryview(pages)[: view.nbytes].toreadonly()
