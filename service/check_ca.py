"""Whether Channel Access is set up on this machine so that the beamline's PVs can be found."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Mapping

from service.ca_repeater import CONFIRM, DEFAULT_PORT, LOOPBACK, REGISTER
from service.check import Finding

REPEATER_TIMEOUT_S = 0.5
YES = ("", "YES", "Y")
_HEADER = struct.Struct(">HHHHII")


def check_environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Say where this machine will look for PVs, and whether that can be meant.

    Parameters
    ----------
    environment : mapping of str to str
        ``os.environ``.

    Yields
    ------
    Finding
    """
    listed = environment.get("EPICS_CA_ADDR_LIST", "").split()
    servers = environment.get("EPICS_CA_NAME_SERVERS", "").split()
    broadcasts = environment.get("EPICS_CA_AUTO_ADDR_LIST", "").upper() in YES
    places = ["this network (EPICS_CA_AUTO_ADDR_LIST)"] if broadcasts else []
    places += [*listed, *servers]
    if places:
        yield Finding(
            area="channel access", what="EPICS_CA_ADDR_LIST", said=f"PVs are looked for on {', '.join(places)}"
        )
    else:
        yield Finding(
            area="channel access",
            what="EPICS_CA_ADDR_LIST",
            state="wrong",
            said="PVs are looked for nowhere: the list is empty and EPICS_CA_AUTO_ADDR_LIST is NO",
            do='export EPICS_CA_ADDR_LIST="GATEWAY 127.0.0.1:5080" with your gateway or IOCs',
        )
    for place in (*listed, *servers):
        host = place.rpartition(":")[0] or place
        with contextlib.suppress(OSError):
            socket.getaddrinfo(host, None)
            continue
        yield Finding(
            area="channel access",
            what=place,
            state="wrong",
            said=f"no computer is called {host}",
            do="mend EPICS_CA_ADDR_LIST",
        )


def check_repeater(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Ask the repeater of this machine whether it is there.

    Yields
    ------
    Finding
    """
    text = environment.get("EPICS_CA_REPEATER_PORT", str(DEFAULT_PORT))
    if not (text.isdigit() and 0 < int(text) < 65536):
        yield Finding(
            area="channel access",
            what="EPICS_CA_REPEATER_PORT",
            state="wrong",
            said=f"{text!r} is no port",
            do="unset it, or give a port from 1 to 65535",
        )
        return
    what = f"repeater on port {text}"
    if repeater_answers(int(text)):
        yield Finding(area="channel access", what=what, said="answers")
    else:
        yield Finding(
            area="channel access", what=what, said="none runs; xedm shell and xedm scan are their own while they run"
        )


def repeater_answers(port: int, timeout_s: float = REPEATER_TIMEOUT_S) -> bool:
    """Register with the repeater as a client does, and see whether it confirms."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(timeout_s)
        client.bind((LOOPBACK, 0))
        address = int.from_bytes(socket.inet_aton(LOOPBACK), "big")
        with contextlib.suppress(OSError):
            client.sendto(_HEADER.pack(REGISTER, 0, 0, 0, 0, address), (LOOPBACK, port))
            data, _ = client.recvfrom(64)
            return len(data) >= _HEADER.size and _HEADER.unpack_from(data)[0] == CONFIRM
    return False


def environment_now() -> dict[str, str]:
    """The settings of Channel Access in force."""
    return {name: value for name, value in os.environ.items() if name.startswith("EPICS_CA")}
