"""Whether a PV is served twice, by the beamline and a simulation for example: a scan then moves the quicker one."""

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.check import Finding

WAIT_S = 0.5
"""For answers; the slower of two IOCs is heard, too."""
PACKET_BYTES = 65536
Address = tuple[str, int]


def check_doubles(names: Mapping[str, str], addresses: Sequence[Address], wait_s: float = WAIT_S) -> Iterator[Finding]:
    """Ask who has each of a few PVs, as a client's search does, and hear all that answer.

    Parameters
    ----------
    names : mapping of str to str
        One PV a device, by the device's name: an IOC that is there twice serves all of them twice.
    addresses : sequence of (host, port)
        Where to ask, as Channel Access is set up.
    wait_s : float
        How long to listen.

    Yields
    ------
    Finding
        For each PV with more than one server.
    """
    heard = servers_of(list(names.values()), addresses, wait_s)
    for device, pv in names.items():
        servers = sorted(heard.get(pv, ()))
        if len(servers) > 1:
            yield Finding(
                area=device,
                what=pv,
                state="wrong",
                said=f"served {len(servers)} times, by {' and '.join(servers)}",
                do="stop the one that is not meant (a simulation?), or take it out of EPICS_CA_ADDR_LIST",
            )


def servers_of(pvs: Sequence[str], addresses: Sequence[Address], wait_s: float) -> dict[str, set[str]]:
    """Return the servers that answered a search, by PV."""
    import caproto

    broadcaster = caproto.Broadcaster(our_role=caproto.CLIENT)
    version = caproto.VersionRequest(0, caproto.DEFAULT_PROTOCOL_VERSION)
    asked = [caproto.SearchRequest(pv, number, caproto.DEFAULT_PROTOCOL_VERSION) for number, pv in enumerate(pvs)]
    heard: dict[str, set[str]] = {}
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.bind(("", 0))
        broadcaster.client_address = client.getsockname()
        message = broadcaster.send(version, *asked)
        for address in addresses:
            with contextlib.suppress(OSError):
                client.sendto(message, address)
        deadline = time.monotonic() + wait_s
        while (left := deadline - time.monotonic()) > 0.0:
            client.settimeout(left)
            try:
                data, sender = client.recvfrom(PACKET_BYTES)
            except TimeoutError:
                break
            except OSError:  # an address where nobody is; loopback tells so
                continue
            for number, server in _answers(broadcaster, data, sender):
                if number < len(pvs):
                    heard.setdefault(pvs[number], set()).add(server)
    return heard


def _answers(broadcaster: Any, data: bytes, sender: Address) -> Iterator[tuple[int, str]]:
    """Number of each PV found in a datagram, and its server; a datagram that is no search's answer has none."""
    import caproto

    try:
        commands = list(broadcaster.recv(data, sender))
    except Exception:  # noqa: BLE001 - whatever a stranger sends here is not an answer
        return
    for command in commands:
        if isinstance(command, caproto.SearchResponse):
            host, port = caproto.extract_address(command)
            yield int(command.cid), f"{host}:{port}"


def search_addresses() -> list[Address]:
    """Where clients of this process look for PVs, from the environment."""
    import caproto

    return [(str(host), int(port)) for host, port in caproto.get_client_address_list()]
