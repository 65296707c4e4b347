"""One process, one Channel Access server: all IOCs of the simulated beamline."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from caproto.asyncio.server import Context, VirtualCircuit
from caproto.asyncio.utils import _DatagramProtocol, _UdpTransportWrapper
from caproto.server import PVGroup

from sim.attenuator import AttenuatorIOC
from sim.beam_stop import BeamStopIOC
from sim.beamline import Beamline
from sim.controls import ControlsIOC
from sim.eiger import build_detector
from sim.ports import LOOPBACK, Ports
from sim.repeater import Repeater
from sim.settings import SimSettings
from sim.shutter import ShutterIOC
from sim.stage import StageIOC
from sim.storage_ring import StorageRingIOC
from sim.troubles import Troubles
from sim.upsets import Upsets

logger = logging.getLogger(__name__)


class PromptCircuit(VirtualCircuit):
    """A client's connection that sends what has been posted at once, as an IOC does, and not after 10 ms."""

    async def get_from_sub_queue(self, timeout=None):  # noqa: ASYNC109
        """Give what is queued; wait only when there is nothing to send."""
        if timeout is None:
            return await self.subscription_queue.get()
        if self.subscription_queue.empty():
            await asyncio.sleep(0)
        return None if self.subscription_queue.empty() else self.subscription_queue.get_nowait()


class HeldContext(Context):
    """A caproto server on ports that are held already.

    Parameters
    ----------
    pvdb
        PVs by name.
    ports
        Whose TCP and UDP sockets it takes.
    """

    CircuitClass = PromptCircuit
    away = False

    def __init__(self, pvdb: dict[str, Any], ports: Ports) -> None:
        super().__init__(pvdb, [LOOPBACK])
        self._held = ports

    async def _bind_tcp_sockets_with_consistent_port_number(self, make_socket):
        """Where the library would look for a free port, and take another one if ours had been taken meanwhile."""
        return self._held.server, {LOOPBACK: self._held.tcp}

    async def _create_broadcaster_transport(self, interface):
        old = self.udp_socks.pop(interface, None)
        if old is not None:
            old.close()
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _DatagramProtocol(self, interface, self.broadcaster_datagram_queue), sock=self._held.udp.dup()
        )
        self.udp_socks[interface] = _UdpTransportWrapper(transport)

    def hang_up(self, away: bool) -> None:
        """Cut off all clients and take no more, as a dead IOC does, or take them again."""
        self.away = away
        if away:
            for circuit in tuple(self.circuits):
                circuit.client.close()

    async def tcp_handler(self, client, addr):
        """Serve one client."""
        if self.away:
            client.close()
            return
        await super().tcp_handler(client, addr)


class Server:
    """All IOCs of one beamline on one Channel Access server.

    Parameters
    ----------
    beamline
        The physical state behind them.
    """

    def __init__(self, beamline: Beamline) -> None:
        clock, prefix = beamline.clock, beamline.settings.prefix
        self.beamline = beamline
        self.stage = StageIOC(
            prefix,
            stage=beamline.stage,
            clock=clock,
            noise_um=beamline.settings.stage_noise_nm * 1e-3,
            seed=beamline.settings.seed,
        )
        self.ring = StorageRingIOC(ring=beamline.ring, clock=clock)
        self.shutter = ShutterIOC(prefix, shutter=beamline.shutter, clock=clock)
        self.attenuator = AttenuatorIOC(prefix, attenuator=beamline.attenuator, clock=clock)
        self.beam_stop = BeamStopIOC(prefix, beam_stop=beamline.beam_stop, clock=clock)
        self.detector = build_detector(beamline)
        self.upsets = Upsets(beamline, self.ring.refresh, self.shutter.refresh, self.detector)
        self.controls = ControlsIOC(prefix, beamline=beamline, refresh=self.refresh, ask=self.upsets.ask)
        self.troubles = Troubles(self.detector.core.place, beamline, self.refresh)
        core = self.detector.core
        core.on_exposing, core.on_rest, core.on_exposed = self._exposing, self._rest, self.troubles.exposed
        self._posts: set[asyncio.Task[None]] = set()
        self.troubles.slow_down(self.pvdb)

    @property
    def pvdb(self) -> dict[str, Any]:
        """Every PV by name."""
        groups: list[PVGroup] = [self.stage, self.ring, self.shutter, self.attenuator, self.beam_stop, self.controls]
        pvdb = {name: channel for group in groups for name, channel in group.pvdb.items()}
        return pvdb | self.detector.pvdb

    def _exposing(self, frame: int, start: float, stop: float) -> None:
        self.upsets.exposing(frame, start, stop)
        self._say_exposing(frame)

    def _rest(self) -> None:
        self._say_exposing(-1)

    def _say_exposing(self, frame: int) -> None:
        task = asyncio.create_task(self.controls.exposing.write(frame))
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    async def refresh(self) -> None:
        """Post what changed without a put."""
        for group in (self.stage, self.ring, self.shutter, self.attenuator, self.beam_stop):
            await group.refresh()

    def description(self, ports: Ports) -> dict[str, Any]:
        """The ready line."""
        settings = self.beamline.settings
        return {
            "ready": True,
            "stream": self.detector.stream_endpoint,
            "ca_server_port": ports.server,
            "repeater_port": ports.repeater_port,
            "prefix": settings.prefix,
            "detector": settings.detector,
            "sample": settings.sample,
            "speed": settings.speed,
            "seed": settings.seed,
            "files": str(settings.output.resolve()),
        }

    async def close(self) -> None:
        """Close the detector."""
        await self.detector.close()


async def serve(settings: SimSettings, ports: Ports, ready: Callable[[dict[str, Any]], None]) -> None:
    """Run the simulated beamline until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        What to simulate.
    ports
        Where; the environment of the process must already be `sim.ports.server_environment` of them.
    ready
        Called once with the ready line when clients can connect.

    Raises
    ------
    OSError
        If the wanted port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    if settings.with_parent:
        loop.add_reader(sys.stdin.fileno(), _end_with_input, stop)
    server = Server(Beamline(settings))
    context = HeldContext(server.pvdb, ports)
    server.troubles.hang_up = server.upsets.hang_up = context.hang_up
    repeater, _ = await loop.create_datagram_endpoint(Repeater, sock=ports.repeater)
    try:
        running = asyncio.create_task(context.run(startup_hook=_announcer(server, ports, ready)))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    finally:
        await server.close()
        repeater.close()


def _end_with_input(stop: asyncio.Event) -> None:
    """End when the other side of standard input is gone; what it says does not matter."""
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _announcer(server: Server, ports: Ports, ready: Callable[[dict[str, Any]], None]):
    """Startup hook that says ready once the server accepts connections on its own port."""

    async def announce(_async_lib) -> None:
        _, writer = await asyncio.open_connection(LOOPBACK, ports.server)
        writer.close()
        await writer.wait_closed()
        ready(server.description(ports))

    return announce
