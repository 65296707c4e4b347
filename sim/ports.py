"""Ports and the EPICS environment of a simulation that can never answer for the real beamline.

Nothing here imports EPICS: the environment must be set before that.
"""

import os
import socket
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
MAX_ARRAY_BYTES = 80_000_000
"""Holds a 16M frame of 32 bit."""

PROMPT_MONITORS = {
    "CAPROTO_SERVER_HIGH_LOAD_TIMEOUT_SEC": "0.0005",
    "CAPROTO_SERVER_MAX_LATENCY_SEC": "0.01",
    "CAPROTO_SERVER_HIGH_LOAD_WARN_LATENCY_SEC": "0",
}
"""caproto collects monitors for 10 ms, and for up to 1 s when updates come faster than that, as a fast simulated clock
makes them come. Read when caproto is imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Own ports on loopback, held from the moment they were found.

    Attributes
    ----------
    tcp, udp
        A listening and a bound socket with the number of the Channel Access server.
    repeater
        Bound UDP socket in the place of a CA repeater; `sim.repeater` answers on it.
    """

    tcp: socket.socket
    udp: socket.socket
    repeater: socket.socket

    @property
    def server(self) -> int:
        """TCP and UDP port of the Channel Access server."""
        return int(self.tcp.getsockname()[1])

    @property
    def repeater_port(self) -> int:
        """UDP port of beacons."""
        return int(self.repeater.getsockname()[1])

    def close(self) -> None:
        """Let go of them."""
        for held in (self.tcp, self.udp, self.repeater):
            held.close()


def claim(server: int = 0) -> Ports:
    """Find free ports on loopback and hold them.

    Parameters
    ----------
    server
        Wanted port of the Channel Access server, 0 for a free one.

    Raises
    ------
    OSError
        If the wanted port is taken.
    """
    tcp, udp = _hold(server)
    repeater = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    repeater.setblocking(False)
    repeater.bind((LOOPBACK, 0))
    return Ports(tcp=tcp, udp=udp, repeater=repeater)


def _hold(wanted: int) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket of one port number that nobody else on loopback can take any more."""
    for _ in range(100):
        # With the protocol's number, asyncio sends each monitor at once (TCP_NODELAY); else every second one would wait
        # 40 ms for a delayed acknowledgement.
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Connections of a simulation that was killed may linger on its port.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind((LOOPBACK, wanted))
            udp.bind((LOOPBACK, tcp.getsockname()[1]))
            tcp.listen(128)  # a port that is only bound can still be bound by another that reuses addresses
        except OSError as error:
            tcp.close()
            udp.close()
            if wanted:
                raise OSError(
                    f"port {wanted} on {LOOPBACK} must be free for the simulated Channel Access server, got: "
                    f"{error.strerror}; choose another --ca-port, or 0 for a free one"
                ) from error
            continue
        for held in (tcp, udp):
            held.setblocking(False)
        return tcp, udp
    raise OSError(f"a free port on {LOOPBACK} must exist for the simulated Channel Access server, found none")


def server_environment(ports: Ports) -> dict[str, str]:
    """Environment of the server: loopback only, beacons to our own repeater port.

    caproto sends beacons to EPICS_CAS_BEACON_PORT and ignores EPICS_CA_REPEATER_PORT, so both are set.
    """
    return {
        "EPICS_CA_SERVER_PORT": str(ports.server),
        "EPICS_CAS_SERVER_PORT": str(ports.server),
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_BEACON_PORT": str(ports.repeater_port),
        "EPICS_CA_REPEATER_PORT": str(ports.repeater_port),
        "EPICS_CA_MAX_ARRAY_BYTES": str(MAX_ARRAY_BYTES),
        **PROMPT_MONITORS,
    }


def client_environment(server: int, repeater: int) -> dict[str, str]:
    """Environment with which a client finds this simulation and nothing else.

    Parameters
    ----------
    server, repeater
        Ports from the ready line.
    """
    return {
        "EPICS_CA_ADDR_LIST": f"{LOOPBACK}:{server}",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(server),
        "EPICS_CA_REPEATER_PORT": str(repeater),
        "EPICS_CA_MAX_ARRAY_BYTES": str(MAX_ARRAY_BYTES),
    }


def replace_epics_environment(new: dict[str, str]) -> None:
    """Forget every inherited ``EPICS_CA*`` setting of this process, then set `new`."""
    for name in [name for name in os.environ if name.startswith("EPICS_CA")]:
        del os.environ[name]
    os.environ.update(new)
