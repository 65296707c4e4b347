"""Channels and server of the PVs, strict where the library is trusting.

The library lets a client send limits and alarms along with a value, prints a traceback for every refused put, and
takes another port where the wanted one is taken. Here a put is its value, a refusal is a line, and the port is the one
that was asked for.
"""

import asyncio
import logging
import sys
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from socket import socket
from typing import Any

import numpy as np
from caproto import (
    AccessRights,
    AlarmSeverity,
    AlarmStatus,
    CaprotoError,
    ChannelByte,
    ChannelChar,
    ChannelDouble,
    ChannelEnum,
    ChannelInteger,
    ChannelString,
    ChannelType,
    SkipWrite,
)
from caproto.asyncio.server import Context, VirtualCircuit
from caproto.asyncio.utils import _DatagramProtocol, _TransportWrapper, _UdpTransportWrapper

from service.listen import LOOPBACK
from service.pv_table import MAJOR, NO_ALARM, PICTURE_SIDE, PV, RECORDS, TABLE, TEXT_LENGTH, WRITABLE_RECORDS, Severity

audit = logging.getLogger("xedm.audit")

Writer = Callable[[Any, str], Awaitable[Any]]

STRING_BYTES = 39  # a STRING has 40 with its closing zero
MONITOR_TURNS = 20  # turns of the event loop, more than an update needs to reach its socket
PICTURE_BACKLOG = 3  # pictures kept for a client that reads slowly, 64 KiB each
_NOT_VALUES = (ChannelType.PUT_ACKS, ChannelType.PUT_ACKT, ChannelType.STSACK_STRING, ChannelType.CLASS_NAME)
_KINDS = {"integer": "a whole number", "number": "a number", "text": "text", "choice": "one of its states"}
_writer_name: ContextVar[str] = ContextVar("writer_name", default="ca")
_fault: ContextVar[Exception | None] = ContextVar("fault", default=None)


class Refused(Exception):
    """A put that is not done; its text is the reason."""


class _Served:
    """What every PV's channel has in common: who may write, what a write does, and its fields."""

    pv: PV
    writer: Writer | None = None
    side: Mapping[str, Any]
    explained_by: "_Served | None" = None  # where the reason of the last refusal stands

    def check_access(self, hostname: str, username: str) -> AccessRights:  # noqa: ARG002
        return AccessRights.READ if self.writer is None else AccessRights.READ | AccessRights.WRITE

    def get_field(self, field: str) -> Any:
        return self if field in ("", "VAL") else self.side[field]

    async def auth_write(
        self,
        hostname: str,
        username: str,
        data: Any,
        data_type: Any,
        metadata: Any,  # noqa: ARG002
        **options: Any,
    ) -> None:
        """Take a put's value and nothing else of it."""
        who = f"ca {username}@{hostname}"
        _writer_name.set(who)
        try:
            await self._take(hostname, username, data, data_type, options)
        except Refused as refused:
            audit.warning("refused %.100r put to %s: %s", who, self.pv.name, refused)
            await self._explain(str(refused), MAJOR)
            raise
        await self._explain("", NO_ALARM)
        if self.pv.written_by == "steering":
            audit.info("%.100r put to %s: %s", who, self.pv.name, data)
        # As an IOC does it: whoever watches has the new value before the writer hears that it is done.
        for _ in range(MONITOR_TURNS):
            await asyncio.sleep(0)

    async def _take(self, hostname: str, username: str, data: Any, data_type: Any, options: Mapping[str, Any]) -> None:
        self._check_kind(data_type)
        _fault.set(None)
        try:
            await super().auth_write(hostname, username, data, data_type, None, **options)  # type: ignore[misc]
            self._raise_fault()
        except (CaprotoError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Refused(f"{self.pv.name} must be {_KINDS[self.pv.kind]}, got something else ({error})") from None

    async def _explain(self, reason: str, severity: Severity) -> None:
        if self.explained_by is not None:
            await self.explained_by.tell(reason, severity)

    def _check_kind(self, data_type: Any) -> None:
        if self.writer is None or data_type in _NOT_VALUES:
            raise Refused(f"{self.pv.name} is read-only; {_opening(self.pv)}")

    def _raise_fault(self) -> None:
        fault = _fault.get()
        if fault is not None:
            raise fault

    async def verify_value(self, data: Any) -> Any:
        """Hand a put's value to whoever acts on it; return what the PV shows from now on.

        A fault waits in `_fault`: raised from here, it would leave the library's alarm on a PV whose value is true.
        """
        try:
            return await self._act(data.rstrip("\x00") if isinstance(data, str) else data)
        except Exception as error:
            _fault.set(error)
            raise SkipWrite from error

    async def _act(self, value: Any) -> Any:
        if self.writer is None:
            raise Refused(f"{self.pv.name} is read-only; {_opening(self.pv)}")
        if self.pv.choices and value not in self.pv.choices:
            value = self.pv.choices[value]
        limits = self.pv.limits
        if limits is not None and not limits[0] <= value <= limits[1]:
            bounds = f"{limits[0]:g} to {limits[1]:g} {self.pv.units}".rstrip()
            raise Refused(f"{self.pv.name} must be {bounds}, got {value:g}; choose a value between")
        return await self.writer(value, _writer_name.get())

    async def tell(self, value: Any, severity: Severity) -> None:
        """Show a value and an alarm to whoever looks, if they are new."""
        if self.pv.kind in ("string", "text"):
            room = STRING_BYTES if self.pv.kind == "string" else TEXT_LENGTH
            value = value.encode()[:room].decode(errors="ignore")
        if self._shows(value) and self.alarm.severity == severity:  # type: ignore[attr-defined]
            return
        status = AlarmStatus.STATE if severity else AlarmStatus.NO_ALARM
        await self.write(  # type: ignore[attr-defined]
            value, verify_value=False, update_fields=False, status=status, severity=AlarmSeverity(severity)
        )

    def _shows(self, value: Any) -> bool:
        shown = self.value  # type: ignore[attr-defined]
        if isinstance(value, np.ndarray):
            return np.array_equal(value, np.frombuffer(bytes(shown), value.dtype))
        return bool(shown == value or (value != value and shown != shown))  # noqa: PLR0124 - NaN shows NaN


class _Integer(_Served, ChannelInteger):
    pass


class _Number(_Served, ChannelDouble):
    pass


class _String(_Served, ChannelString):
    pass


class _Text(_Served, ChannelChar):
    pass


class _Choice(_Served, ChannelEnum):
    pass


class _Picture(_Served, ChannelByte):
    pass


class _Fixed(ChannelString):
    """A field that never changes."""

    def check_access(self, hostname: str, username: str) -> AccessRights:  # noqa: ARG002
        return AccessRights.READ


Channel = _Integer | _Number | _String | _Text | _Choice | _Picture


def make_channels(writers: Mapping[str, Writer], *, steering: bool) -> dict[str, Channel]:
    """Make the channel of every PV of the table by its name; without the steering right those PVs only read."""
    channels = {}
    for pv in TABLE:
        writer = writers.get(pv.name) if pv.written_by == "scan" or (pv.written_by and steering) else None
        channels[pv.name] = _channel(pv, writer)
    for name, channel in channels.items():
        if channel.pv.written_by:
            channel.explained_by = channels.get(f"{name}:Error", channels["Put:Error"])
    return channels


def _channel(pv: PV, writer: Writer | None) -> Channel:
    record = (RECORDS if writer is None else WRITABLE_RECORDS)[pv.kind]
    common: dict[str, Any] = {"reported_record_type": record}
    if pv.kind in ("integer", "number"):
        low, high = pv.limits or (0, 0)
        convert = int if pv.kind == "integer" else float
        common |= {"value": convert(0), "units": pv.units}
        common |= {"lower_disp_limit": convert(low), "upper_disp_limit": convert(high)}
        if writer is not None:
            common |= {"lower_ctrl_limit": convert(low), "upper_ctrl_limit": convert(high)}
    channel: Channel
    match pv.kind:
        case "integer":
            channel = _Integer(**common)
        case "number":
            channel = _Number(precision=pv.precision, **common)
        case "string":
            channel = _String(value="", string_encoding="utf-8", **common)
        case "text":
            channel = _Text(value="", string_encoding="utf-8", max_length=TEXT_LENGTH, **common)
        case "choice":
            channel = _Choice(value=pv.choices[0], enum_strings=pv.choices, **common)
        case "picture":
            channel = _Picture(
                value=b"", max_length=PICTURE_SIDE**2, strip_null_terminator=False,
                max_subscription_backlog=PICTURE_BACKLOG, **common,
            )  # fmt: skip
    channel.pv = pv
    channel.writer = writer
    texts = {"DESC": textwrap.shorten(pv.doc, STRING_BYTES, placeholder=""), "EGU": pv.units, "RTYP": record}
    channel.side = {name: _Fixed(value=text, string_encoding="utf-8") for name, text in texts.items()}
    return channel


def _opening(pv: PV) -> str:
    if pv.written_by == "steering":
        return "set pvs.steering to true to let Channel Access steer"
    return "it shows what the service does"


class _PlainLog(logging.LoggerAdapter[logging.Logger]):
    """Writes a client's mistake as a line, not as a traceback; a refusal has its line in the audit already."""

    def process(self, msg: Any, kwargs: Any) -> Any:
        return msg, kwargs

    def exception(self, msg: object, *args: object, **options: Any) -> None:
        fault = sys.exc_info()[1]
        if isinstance(fault, Refused):
            return
        if isinstance(fault, CaprotoError):
            self.logger.warning("a client broke the protocol: %s", fault)
        else:
            self.logger.error(msg, *args, exc_info=fault, **options)


class _Circuit(VirtualCircuit):
    def __init__(self, circuit: Any, client: Any, context: Any) -> None:
        super().__init__(circuit, client, context)
        self.log = _PlainLog(logging.getLogger("caproto.circ"), {})

    async def get_from_sub_queue(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Give what is queued, and wait only when there is nothing to send, as an IOC does.

        The library's 10 ms for more updates to go along would be seen by a scan.
        """
        if timeout is None:
            return await self.subscription_queue.get()
        if self.subscription_queue.empty():
            await asyncio.sleep(0)
        return None if self.subscription_queue.empty() else self.subscription_queue.get_nowait()


class Server(Context):
    """A server on sockets that are bound already.

    Parameters
    ----------
    channels : dict
        Channels by full PV name.
    tcp, udp : socket
        A listening TCP and a bound UDP socket with the same port number; they stay the caller's.
    """

    CircuitClass = _Circuit

    def __init__(self, channels: dict[str, Channel], tcp: socket, udp: socket) -> None:
        super().__init__(channels, [LOOPBACK])
        self._tcp = tcp
        self._udp = udp
        self._accepting: list[asyncio.Server] = []

    async def _bind_tcp_sockets_with_consistent_port_number(self, make_socket: Any) -> Any:  # noqa: ARG002
        return self._tcp.getsockname()[1], {LOOPBACK: self._tcp.dup()}

    async def _create_broadcaster_transport(self, interface: str) -> None:
        # The library would share the port with other servers of this machine; searches would then reach one of them
        # only.
        old = self.udp_socks.pop(interface, None)
        if old is not None:
            old.close()
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _DatagramProtocol(self, interface, self.broadcaster_datagram_queue), sock=self._udp.dup()
        )
        self.udp_socks[interface] = _UdpTransportWrapper(transport)

    async def server_accept_loop(self, sock: socket) -> None:
        """Accept clients, and keep what accepts them, so that `disconnect` can end it."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transport = _TransportWrapper(reader, writer)
            self.server_tasks.create(self.tcp_handler(transport, transport.getpeername()))

        self._accepting.append(await asyncio.start_server(accept, sock=sock))

    def disconnect(self) -> None:
        """Close every client's connection and stop listening."""
        for server in self._accepting:
            server.close()
        for circuit in list(self.circuits):
            circuit.client.writer.transport.abort()  # a client that stopped reading would never let it close
