"""The detector's sender: a bounded buffer and a thread that empties it into a ZeroMQ PUSH socket."""

import threading
import time
from collections import deque
from collections.abc import Callable

import zmq

from sim.wire import WireMessage

BUFFER_BYTES = 1 << 30
"""What the detector's control unit holds back for a slow receiver; images beyond that are dropped."""
HIGH_WATER_MARK = 8
"""Messages inside ZeroMQ for each receiver: few, so that an abort can still drop what was not sent."""
_POLL_MS = 50


class StreamSender:
    """PUSH socket on loopback with a thread of its own.

    Messages wait in a bounded buffer while nobody receives them, or not fast enough. Headers and ends are always kept.

    Parameters
    ----------
    port
        TCP port on 127.0.0.1, 0 for a free one.
    wall
        Wall seconds of a simulated time in s, for the silence that a fault asks for.
    buffer_bytes
        Bound of the images held.

    Raises
    ------
    OSError
        If the port is taken.
    """

    def __init__(
        self, port: int = 0, *, wall: Callable[[float], float] = lambda s: s, buffer_bytes: int = BUFFER_BYTES
    ) -> None:
        self._wall = wall
        self._bound = buffer_bytes
        self._held = 0
        self._dropped = 0
        self._messages: deque[WireMessage] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise OSError(
                f"stream port must be free on 127.0.0.1, got {port} ({error}); choose another or 0 for any"
            ) from error
        self.endpoint: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._thread = threading.Thread(target=self._run, name="eiger-stream", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Images that did not fit into the buffer since the last arm."""
        return self._dropped

    @property
    def free_percent(self) -> float:
        """Free part of the buffer, %."""
        return 100.0 * (1.0 - self._held / self._bound)

    def reset_dropped(self) -> None:
        """Start counting anew, as an arm does."""
        self._dropped = 0

    def put(self, message: WireMessage) -> bool:
        """Queue one message; False when it is an image and the buffer is full."""
        with self._changed:
            if message.kind == "image":
                if self._held + message.size > self._bound:
                    self._dropped += 1
                    return False
                self._held += message.size
            self._messages.append(message)
            self._changed.notify_all()
            return True

    def forget_images(self, series: int) -> list[int]:
        """Drop the images of a series that were not sent yet, as an abort does; returns their numbers."""
        with self._changed:
            kept = [m for m in self._messages if m.kind != "image" or m.series != series]
            lost = [m for m in self._messages if m.kind == "image" and m.series == series]
            self._held -= sum(m.size for m in lost)
            self._messages = deque(kept)
            return [m.frame for m in lost if m.frame is not None]

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything was handed to a receiver; False after `timeout_s` of wall time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._messages, timeout_s)

    def close(self) -> None:
        """Stop the thread and the socket; what nobody received by then is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            while (message := self._next()) is not None:
                self._send(message)
        finally:
            self._context.destroy(linger=200)

    def _next(self) -> WireMessage | None:
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._closing)
            return None if self._closing else self._messages[0]

    def _send(self, message: WireMessage) -> None:
        if message.wait_s > 0.0:
            self._pause(self._wall(message.wait_s))
        while not self._closing:
            if self._socket.poll(_POLL_MS, zmq.POLLOUT):
                self._hand_over(message)
                return
            if not self._is_next(message):
                return

    def _is_next(self, message: WireMessage) -> bool:
        """Whether an abort has not thrown it out meanwhile."""
        return bool(self._messages) and self._messages[0] is message

    def _hand_over(self, message: WireMessage) -> None:
        """Send and forget in one: what an abort finds in the buffer was never sent."""
        with self._changed:
            if self._is_next(message):
                self._socket.send_multipart(message.parts, copy=message.size < 1 << 16)
                self._messages.popleft()
                self._held -= message.size if message.kind == "image" else 0
            self._changed.notify_all()

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._closing and time.monotonic() < deadline:
            time.sleep(min(0.05, max(0.0, deadline - time.monotonic())))
