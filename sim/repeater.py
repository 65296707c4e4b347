"""The place of a Channel Access repeater on loopback: answers clients that register, passes beacons on to them.

Messages of the Channel Access protocol: RSRV_IS_UP 13 (a beacon), REPEATER_CONFIRM 17, REPEATER_REGISTER 24. libca
complains after a minute when nobody answers.
"""

import asyncio
import socket
import struct
from typing import cast

CONFIRM, REGISTER = 17, 24
_HEADER = struct.Struct(">HHHHII")
_LOOPBACK = int.from_bytes(socket.inet_aton("127.0.0.1"), "big")


class Repeater(asyncio.DatagramProtocol):
    """Answers on the socket that `sim.ports.claim` holds."""

    def __init__(self) -> None:
        self._clients: set[tuple[str, int]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # the selector's own is not a subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Register a client (an empty datagram is how the oldest do it), or pass a beacon on."""
        if not data or (len(data) >= _HEADER.size and _HEADER.unpack_from(data)[0] == REGISTER):
            self._clients.add(addr)
            self._transport.sendto(_HEADER.pack(CONFIRM, 0, 0, 0, 0, _LOOPBACK), addr)
            return
        for client in self._clients - {addr}:
            self._transport.sendto(data, client)
