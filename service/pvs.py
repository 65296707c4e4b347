"""The service's own PVs: a Channel Access server in a thread of its own on 127.0.0.1."""

import asyncio
import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from socket import socket
from typing import Any

from pydantic import ValidationError

from service.errors import UserError
from service.listen import LOOPBACK, PortTakenError, bind_udp, listen_tcp, port_of
from service.preview import gray_bytes
from service.pv_channels import Refused, Server, Writer, make_channels
from service.pv_table import INT_MAX, NO_ALARM, NO_YES, PICTURE_SIDE, PV, TABLE, Severity, Value
from service.source import LiveSource, PointNote
from service.status import Status

log = logging.getLogger("xedm.pvs")

DEFAULT_PREFIX = "XEDM:"
PUSH_INTERVAL_S = 0.005
# No plan waits for single frames above this rate, and ten updates a second are a tenth of the work.
FREE_RUNNING_HZ = 60.0
FREE_RUNNING_INTERVAL_S = 0.1
PICTURE_INTERVAL_S = 1.0
WAIT_S = 0.2  # how late a stop is noticed
START_TIMEOUT_S = 20.0
STAGE_LIMIT_UM = 1e6
_environment = threading.Lock()


class PVServer:
    """A running Channel Access server.

    Attributes
    ----------
    port : int
        UDP search and TCP port, the client's EPICS_CA_SERVER_PORT.
    prefix : str
        What every PV's name begins with.
    """

    def __init__(self, source: LiveSource, prefix: str, port: int, *, steering: bool) -> None:
        self.prefix = prefix
        self._source = source
        self._sockets = _sockets(port)
        self.port = port_of(self._sockets[0])
        # One thread, so that points are booked in the order in which they were written.
        self._booking = ThreadPoolExecutor(1, thread_name_prefix="xedm-pv-booking")
        self._channels = make_channels(self._writers(), steering=steering)
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._server_thread = threading.Thread(target=self._serve, name="xedm-pvs", daemon=True)
        self._watch_threads = [
            threading.Thread(target=self._watch, name="xedm-pvs-watch", daemon=True),
            threading.Thread(target=self._watch_picture, name="xedm-pvs-picture", daemon=True),
        ]

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the threads and wait until the PVs answer."""
        with _environment, _beacons_to(port_of(self._sockets[2])):
            self._server_thread.start()
            up = self._ready.wait(timeout_s)
        if not up or self._serving is None:
            self.stop()
            raise UserError(f"the PVs must be up within {timeout_s:g} s, got no answer; see the log")
        for thread in self._watch_threads:
            thread.start()

    def stop(self) -> None:
        """Disconnect every client and end the threads; may be called twice."""
        self._stop.set()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed already
                self._loop.call_soon_threadsafe(self._end)
        for thread in (self._server_thread, *self._watch_threads):
            if thread.is_alive():
                thread.join(5.0)
        self._booking.shutdown(wait=False)
        for held in self._sockets:
            held.close()

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception:
            log.exception("the PV server ended")
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._tell(self._source.status())
        tcp, udp, _ = self._sockets
        self._server = Server({self.prefix + name: channel for name, channel in self._channels.items()}, tcp, udp)

        async def started(_: object) -> None:
            self._ready.set()

        self._serving = asyncio.ensure_future(self._server.run(startup_hook=started))
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving
        await asyncio.sleep(0.01)  # lets closed connections say so before the loop ends

    def _end(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.disconnect()
            self._serving.cancel()

    def _watch(self) -> None:
        """Push every change: the first at once, those that follow it closely together."""
        seen = -1
        while not self._stop.is_set():
            with self._unless_stopped():
                count = self._source.wait_for_change(seen, WAIT_S)
                begun, interval = time.monotonic(), PUSH_INTERVAL_S
                if count != seen:
                    seen = count
                    status = self._source.status()
                    interval = FREE_RUNNING_INTERVAL_S if status.rate_hz > FREE_RUNNING_HZ else PUSH_INTERVAL_S
                    self._run(self._tell(status))
                self._stop.wait(max(0.0, begun + interval - time.monotonic()))

    def _watch_picture(self) -> None:
        """Push a new picture of the sum; it takes tens of milliseconds, for which no scan shall wait."""
        version = -1
        while not self._stop.wait(PICTURE_INTERVAL_S):
            with self._unless_stopped():
                version = self._push_picture(version)

    @contextlib.contextmanager
    def _unless_stopped(self) -> Iterator[None]:
        """Log what goes wrong and rest a moment before the next try; at the end the loop has closed, which is fine."""
        try:
            yield
        except (Exception, CancelledError):
            if not self._stop.is_set():
                log.exception("updating the PVs failed; trying again")
                self._stop.wait(1.0)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop is None or self._stop.is_set():
            work.close()
            return
        asyncio.run_coroutine_threadsafe(work, self._loop).result(5.0)

    async def _tell(self, status: Status) -> None:
        for pv in TABLE:
            if pv.value is not None:
                await self._put(pv, pv.value(status), pv.alarm(status))

    async def _put(self, pv: PV, value: Value, severity: Severity = NO_ALARM) -> None:
        if pv.kind == "integer":
            value = max(-INT_MAX, min(int(value), INT_MAX))  # a detector may count further than a LONG
        await self._channels[pv.name].tell(value, severity)

    def _push_picture(self, version: int) -> int:
        preview = self._source.preview("sum")
        if preview is None or preview.version == version:
            return version
        gray = gray_bytes(preview, PICTURE_SIDE)

        async def put() -> None:
            await self._channels["Preview:Height"].tell(gray.shape[0], NO_ALARM)
            await self._channels["Preview:Width"].tell(gray.shape[1], NO_ALARM)
            await self._channels["Preview"].tell(gray.ravel(), NO_ALARM)

        self._run(put())
        return preview.version

    def _writers(self) -> Mapping[str, Writer]:
        source = self._source

        def steer(name: str) -> Callable[[Any, str], None]:
            return lambda value, who: _ignore(source.change_settings({name: float(value)}, who))

        return {
            "Point": self._write_point,
            "Expected": self._writer(lambda value, _: source.expect(int(value))),
            "Purpose": self._writer(lambda value, _: source.declare(value)),
            "Paused": self._writer(lambda value, _: source.pause(value == NO_YES[1])),
            "Chi2RatioMax": self._writer(steer("screening.chi2_ratio_max")),
            "IntensityRatioMin": self._writer(steer("screening.intensity_ratio_min")),
            "Reconstruct": self._writer(
                lambda value, who: source.request_reconstruction(who) if value == NO_YES[1] else None, after=NO_YES[0]
            ),
        }

    def _writer(self, act: Callable[[Any, str], None], after: Value | None = None) -> Writer:
        async def write(value: Any, who: str) -> Any:
            await self._do(act, value, who)
            return value if after is None else after

        return write

    async def _do(self, act: Callable[[Any, str], None], value: Any, who: str) -> None:
        """Call the source off the loop; its ValueError is the writer's reason."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._booking, act, value, who)
        except (ValueError, UserError) as error:
            raise Refused(str(error)) from None
        except Exception as error:
            log.exception("a put by %s failed", who)
            raise Refused("the service could not do it; its log has the reason") from error

    async def _write_point(self, text: Any, who: str) -> Any:
        note = parse_point(str(text))
        await self._do(lambda value, _: self._source.book_point(value), note, who)
        return text


def start_pvs(source: LiveSource, prefix: str = DEFAULT_PREFIX, port: int = 0, *, steering: bool = False) -> PVServer:
    """Serve the PVs on 127.0.0.1 until `stop`.

    Parameters
    ----------
    source : LiveSource
        The running service.
    prefix : str
        What every PV's name begins with.
    port : int
        CA server port (UDP and TCP), 0 for a free one.
    steering : bool
        Let anyone on Channel Access change thresholds; it cannot tell who asks.

    Raises
    ------
    PortTakenError
        When the port is in use or not allowed.
    """
    server = PVServer(source, prefix, port, steering=steering)
    server.start()
    return server


def parse_point(text: str) -> PointNote:
    """Read what the scan wrote to `Point`.

    Raises
    ------
    Refused
        When it is not the wanted JSON or a number is outside its limits.
    """
    try:
        note = PointNote.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the text"
        raise Refused(
            "Point must be JSON text with series, frame, point, x_um, y_um and void, "
            f"got {text[:60]!r}: {where}: {first['msg'][:80]}"
        ) from None
    for name in ("series", "frame", "point"):
        if getattr(note, name) > INT_MAX:
            raise Refused(f"{name} must be at most {INT_MAX}, got {getattr(note, name)}; take the detector's number")
    for name in ("x_um", "y_um"):
        value = getattr(note, name)
        if not math.isfinite(value) or abs(value) > STAGE_LIMIT_UM:
            raise Refused(
                f"{name} must be within {STAGE_LIMIT_UM:g} um of the origin, got {value:g}; send the stage's readback"
            )
    return note


def _sockets(port: int) -> tuple[socket, socket, socket]:
    """Hold the TCP and UDP socket of one port number, and a UDP socket for beacons that leave nothing behind.

    Beacons need a receiver that exists, else each one is an error; the usual port 5065 may belong to the real
    beamline's repeater.
    """
    names = {"what": "the PVs", "option": "pvs.port"}
    for _ in range(50):
        tcp = listen_tcp(port, **names)
        try:
            return tcp, bind_udp(port_of(tcp), **names), bind_udp(0, **names)
        except PortTakenError:
            tcp.close()
            if port:
                raise
    raise PortTakenError("the PVs need a port free in TCP and UDP, got none in 50 tries; set pvs.port to a free one")


@contextlib.contextmanager
def _beacons_to(port: int) -> Iterator[None]:
    """Point the server library's beacons, which it reads from the environment at its start, at our own socket."""
    wanted = {"EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO", "EPICS_CAS_BEACON_ADDR_LIST": f"{LOOPBACK}:{port}"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _ignore(_: object) -> None:
    """Drop an answer that Channel Access has no room for."""
