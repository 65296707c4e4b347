"""A Channel Access repeater for one process, so that libca finds one and is silent.

libca asks a repeater on EPICS_CA_REPEATER_PORT to pass on the beacons of servers. Without one it starts the program
`caRepeater`, or complains that there is none; a port that is merely taken makes it complain after a minute. The
messages are those of the Channel Access protocol specification (REPEATER_REGISTER is 24, REPEATER_CONFIRM is 17).
"""

import socket
import struct
import threading

LOOPBACK = "127.0.0.1"
REGISTER, CONFIRM = 24, 17
_HEADER = struct.Struct(">HHHHII")


class Repeater:
    """Answers registrations on a free UDP port of loopback, and passes everything else on to who has registered."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._ending = False
        self._clients: dict[tuple[str, int], None] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True, name="ca repeater")
        self._thread.start()

    @property
    def port(self) -> int:
        """UDP port, for EPICS_CA_REPEATER_PORT."""
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """End; a client that asks afterwards gets no answer."""
        self._ending = True
        self._socket.sendto(b"", self._socket.getsockname())  # so that it looks
        self._thread.join(1.0)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(4096)
            except ConnectionError:  # a client that has gone; loopback tells so
                continue
            if self._ending:
                return
            self._take(data, sender)

    def _take(self, data: bytes, sender: tuple[str, int]) -> None:
        # An empty datagram is how the oldest clients register.
        if not data or (len(data) >= _HEADER.size and _HEADER.unpack_from(data)[0] == REGISTER):
            self._clients[sender] = None
            self._send(_HEADER.pack(CONFIRM, 0, 0, 0, 0, _address(LOOPBACK)), sender)
            return
        for client in list(self._clients):
            if client != sender:
                self._send(data, client)

    def _send(self, data: bytes, client: tuple[str, int]) -> None:
        try:
            self._socket.sendto(data, client)
        except OSError:
            self._clients.pop(client, None)


def _address(host: str) -> int:
    return int.from_bytes(socket.inet_aton(host), "big")
