"""A client that registers is answered, and beacons are passed on to it."""

import asyncio
import socket
import struct

import pytest

from sim.ports import claim
from sim.repeater import Repeater

HEADER = struct.Struct(">HHHHII")


@pytest.mark.parametrize("register", [b"", HEADER.pack(24, 0, 0, 0, 0, 0)])
def test_a_client_is_confirmed_and_hears_beacons_of_others(register):
    async def talk():
        ports = claim()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Repeater, sock=ports.repeater)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        ):
            for one in (client, server):
                one.bind(("127.0.0.1", 0))
                one.setblocking(False)
            address = ("127.0.0.1", ports.repeater_port)
            client.sendto(register, address)
            answer = await asyncio.wait_for(loop.sock_recv(client, 100), 5)
            beacon = HEADER.pack(13, 0, 5064, 0, 7, 0)
            server.sendto(beacon, address)
            heard = await asyncio.wait_for(loop.sock_recv(client, 100), 5)
        transport.close()
        ports.close()
        await asyncio.sleep(0)
        return HEADER.unpack(answer)[0], heard == beacon

    assert asyncio.run(talk()) == (17, True)
