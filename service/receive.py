"""Take messages off the detector's ZeroMQ socket."""

import threading

import zmq

from processing.frame import Message, Refusal
from processing.wire import WireReader
from service.config import Stream, check_bind
from service.errors import UserError
from service.mailbox import Mailbox

_POLL_MS = 100
# A part of 16M pixels has 73 MB, a Stream2 header with all tables of three channels 440 MB; a peer that sends more is
# disconnected by ZeroMQ before memory is taken.
_MAX_PART_BYTES = 1 << 30
RECEIVE_BUFFER_BYTES = 1 << 20
"""Of the socket in the operating system; what it holds goes with a killed service."""


class Receiver:
    """A PULL socket and the thread that empties it into the mailbox.

    The receive high-water mark is small on purpose: what is not taken stays in the detector's buffer, where a
    restart of this service cannot lose it.

    Parameters
    ----------
    settings : Stream
    mailbox : Mailbox

    Raises
    ------
    UserError
        When the address cannot be bound or connected.
    ConfigurationError
        When it would be bound for other machines and `stream.bind_open` is not set.
    """

    def __init__(self, settings: Stream, mailbox: Mailbox) -> None:
        check_bind(settings)
        self._mailbox = mailbox
        self._reader = WireReader(channel=settings.channel)
        self._stop = threading.Event()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, settings.receive_high_water)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MAX_PART_BYTES)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        address = settings.bind or settings.connect or ""
        try:
            if settings.bind:
                self._socket.bind(settings.bind)
            else:
                self._socket.connect(address)
        except zmq.ZMQError as error:
            self._socket.close()
            self._context.term()
            raise UserError(f"stream address {address} cannot be used: {error.strerror}; is it taken?") from None
        self.endpoint = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT)) if settings.bind else address
        self._thread = threading.Thread(target=self._run, name="receive", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._socket.poll(_POLL_MS):
                continue
            parts = self._socket.recv_multipart(copy=False)
            for message in self._read([part.buffer for part in parts]):
                self._mailbox.put(message, self._stop.is_set)

    def _read(self, parts: list[memoryview]) -> list[Message]:
        try:
            return self._reader.read(parts)
        except Exception as error:  # noqa: BLE001 - no message, whatever its bytes, may end the receiving
            reason = f"message could not be read ({type(error).__name__}: {error!s:.200}); please report it"
            return [Refusal(reason=reason, image=len(parts) > 2)]

    def stop(self, timeout_s: float = 2.0) -> None:
        """Close the socket; what the mailbox holds stays there."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._socket.close()
        self._context.term()
