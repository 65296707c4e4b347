"""Carries out the faults of IOCs, ring and stage (`sim.faults_place`) at their moments."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sim.beamline import Beamline
from sim.faults_place import PlaceFaults


class Troubles:
    """The faults of one run.

    Each that begins at a frame does so once, at the first exposure of that number.

    Parameters
    ----------
    faults
        What is to go wrong.
    beamline
        The physical state it happens to.
    refresh
        Posts what changed without a put.

    Attributes
    ----------
    hang_up
        Cuts off all clients (True), or takes them again (False); who serves them sets it.
    """

    def __init__(self, faults: PlaceFaults, beamline: Beamline, refresh: Callable[[], Awaitable[None]]) -> None:
        self.faults, self._beamline, self._refresh = faults, beamline, refresh
        self.hang_up: Callable[[bool], None] = lambda _away: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: set[str] = set()

    def exposed(self, frame: int) -> None:
        """Take that the exposure of a frame is over."""
        if self._begins("death", self.faults.ioc_death, frame):
            self._for_a_while(self.faults.ioc_death, lambda: self.hang_up(True), lambda: self.hang_up(False))
        if self._begins("dump", self.faults.beam_dump, frame):
            self._for_a_while(self.faults.beam_dump, self._beamline.ring.dump, self._beamline.ring.refill)
        if self._begins("stall", self.faults.motor_stall, frame):
            self._for_a_while(self.faults.motor_stall, self._beamline.stage.fail, self._beamline.stage.recover)

    def _begins(self, name: str, fault: tuple[float, int] | None, frame: int) -> bool:
        begins = fault is not None and frame == fault[1] and name not in self._done
        if begins:
            self._done.add(name)
        return begins

    def _for_a_while(
        self, fault: tuple[float, int] | None, begin: Callable[[], object], end: Callable[[], object]
    ) -> None:
        async def run() -> None:
            begin()
            await self._refresh()
            await self._beamline.clock.sleep(fault[0] if fault else 0.0)
            end()
            await self._refresh()

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def slow_down(self, pvdb: Mapping[str, Any]) -> None:
        """Have every put of a client complete late."""
        if not self.faults.ioc_slow_s:
            return
        for channel in pvdb.values():
            channel.write_from_dbr = self._late(channel.write_from_dbr)

    def _late(self, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def late(*arguments: Any, **options: Any) -> Any:
            answer = await write(*arguments, **options)
            await self._beamline.clock.sleep(self.faults.ioc_slow_s)
            return answer

        return late
