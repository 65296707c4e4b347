"""A Channel Access repeater for one process, so that libca finds one and is silent.

libca asks a repeater on EPICS_CA_REPEATER_PORT to pass on the beacons of servers. Without one it starts the program
`caRepeater`, or complains that there is none; a port that is merely taken makes it complain after a minute. The
messages are those of the Channel Access protocol specification (RSRV_IS_UP 13, REPEATER_CONFIRM 17, REPEATER_REGISTER
24).
"""

import socket
import struct
import threading

LOOPBACK = "127.0.0.1"
BEACON, CONFIRM, REGISTER = 13, 17, 24
DEFAULT_PORT = 5065
_HEADER = struct.Struct(">HHHHII")


class Repeater:
    """Answers registrations, and passes everything else on to who has registered.

    Parameters
    ----------
    host : str
        Address to listen on; beacons of other machines need all of them, ``0.0.0.0``.
    port : int
        UDP port, 0 for a free one.

    Raises
    ------
    OSError
        When the port is taken, as it is by a repeater that runs already.
    """

    def __init__(self, host: str = LOOPBACK, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
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
        self._socket.sendto(b"", (LOOPBACK, self.port))  # so that it looks
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
        message = _with_sender(data, sender[0])
        for client in list(self._clients):
            if client != sender:
                self._send(message, client)

    def _send(self, data: bytes, client: tuple[str, int]) -> None:
        try:
            self._socket.sendto(data, client)
        except OSError:
            self._clients.pop(client, None)


def _with_sender(data: bytes, host: str) -> bytes:
    """Put the server's address into a beacon that leaves it to the receiver, who sees this repeater as the sender."""
    if len(data) < _HEADER.size:
        return data
    command, size, kind, count, first, address = _HEADER.unpack_from(data)
    if command != BEACON or address:
        return data
    return _HEADER.pack(command, size, kind, count, first, _address(host)) + data[_HEADER.size :]


def _address(host: str) -> int:
    return int.from_bytes(socket.inet_aton(host), "big")
