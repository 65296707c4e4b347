"""Listening sockets on this machine only, with a clear sentence when a port cannot be had."""

import errno
import socket

from service.errors import UserError

LOOPBACK = "127.0.0.1"


class PortTakenError(UserError):
    """A port somebody else listens on, or one this user may not have."""


def listen_tcp(port: int, *, what: str, option: str) -> socket.socket:
    """Listen on a TCP port of the loopback interface; 0 finds a free one.

    Parameters
    ----------
    port : int
        Port number, 0 to 65535.
    what : str
        What listens there, for the sentence ("the live page").
    option : str
        The setting that chooses another one, for the sentence ("http.port").

    Raises
    ------
    PortTakenError
        When the port is in use or not allowed.
    """
    # With the protocol's number, asyncio sends what is small at once (TCP_NODELAY); else every second monitor and event
    # would wait 40 ms for a delayed acknowledgement.
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Without it a restart would wait a minute for the last connections of its predecessor. On Linux it does
        # not let two servers listen on one port.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((LOOPBACK, port))
        server.listen(100)
        server.setblocking(False)
    except (OSError, OverflowError) as error:
        server.close()
        raise _refusal(error, port, what, option) from None
    return server


def bind_udp(port: int, *, what: str, option: str) -> socket.socket:
    """Bind a UDP port of the loopback interface for this process alone; 0 finds a free one.

    Raises
    ------
    PortTakenError
        When the port is in use or not allowed.
    """
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        receiver.bind((LOOPBACK, port))
        receiver.setblocking(False)
    except (OSError, OverflowError) as error:
        receiver.close()
        raise _refusal(error, port, what, option) from None
    return receiver


def port_of(bound: socket.socket) -> int:
    """Return the port number of a bound socket."""
    return int(bound.getsockname()[1])


def _refusal(error: OSError | OverflowError, port: int, what: str, option: str) -> PortTakenError:
    reason = {
        errno.EADDRINUSE: "which another program has",
        errno.EACCES: "which only root may have",
    }.get(getattr(error, "errno", None) or 0, f"which cannot be bound ({error})")
    return PortTakenError(
        f"the port of {what} must be a free one from 1024 to 65535 or 0, got {port}, {reason}; "
        f"set {option} to another, 0 finds a free one"
    )
