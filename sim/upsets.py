"""What befalls beam, shutter, ring PVs and detector in the middle of exposures, at exact simulated moments.

A test that upsets an exposure from outside must hope that its own clock hits the exposure. These moments belong to the
exposure instead: however late this process is woken, state and monitors are those of the planned moment, since nobody
was served meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sim.beamline import Beamline
from sim.eiger import EigerIOC
from sim.poisson import frame_key
from sim.storage_ring import INVALID, NAN, WELL

FLICKER_S = 0.020
_MAX_TIMES = 1000

Refresh = Callable[[float], Awaitable[None]]


class Upset(NamedTuple):
    """One of `KINDS`, and for how long, simulated s; those without an end leave that out."""

    kind: str
    seconds: float = 0.0


KINDS = {
    "beam": "the stored beam is lost for SECONDS",
    "shutter": "somebody closes the shutter",
    "flicker": "the shutter closes and is commanded open again after SECONDS",
    "injection": "an injection begins out of turn",
    "nan": "current and countdown read NaN for SECONDS",
    "invalid": "current and countdown are INVALID for SECONDS",
    "trigger": "somebody else triggers the detector",
    "stop": "somebody else stops the detector",
    "iocs": "all IOCs hang up on their clients and take none for SECONDS",
}
_LASTING = ("beam", "flicker", "nan", "invalid", "iocs")
BY_CHANCE = (
    Upset("beam", 20.0),
    Upset("beam", FLICKER_S),
    Upset("shutter"),
    Upset("flicker", FLICKER_S),
    Upset("injection"),
    Upset("nan", 5.0),
    Upset("nan", FLICKER_S),
    Upset("invalid", 5.0),
)
"""What the fault `upsets` draws from: all but what ends a scan."""


class Upsets:
    """Those asked for, one an exposure, and those of the fault `upsets`.

    Parameters
    ----------
    beamline
        The physical state it happens to.
    ring, shutter
        Post what their PVs read at a simulated time.
    detector
        The IOC whose exposures are meant.

    Attributes
    ----------
    hang_up
        Cuts off all clients (True), or takes them again (False); who serves them sets it.
    """

    def __init__(self, beamline: Beamline, ring: Refresh, shutter: Refresh, detector: EigerIOC) -> None:
        self._beamline, self._ring, self._shutter, self._detector = beamline, ring, shutter, detector
        self.hang_up: Callable[[bool], None] = lambda _away: None
        self._asked: deque[Upset] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, text: str) -> None:
        """Have the next exposure upset: ``KIND [SECONDS] [xTIMES]``, for example ``beam 0.02`` or ``shutter x3``.

        Raises
        ------
        ValueError
            If the text is not of that form.
        """
        self._asked.extend(parse(text))

    def exposing(self, frame: int, start: float, stop: float) -> None:
        """Take that the exposure of a frame begins."""
        core, place = self._detector.core, self._detector.core.place
        if self._asked:
            self._begin(self._asked.popleft(), 0.5 * (start + stop))
        elif place.upsets is not None and place.upsets(core.series, frame):
            chance = int(frame_key(self._beamline.settings.seed, core.series, frame, 79))
            part = 0.1 + 0.8 * (chance // len(BY_CHANCE) % 1000) / 1000
            self._begin(BY_CHANCE[chance % len(BY_CHANCE)], start + part * (stop - start))

    def _begin(self, upset: Upset, at: float) -> None:
        task = asyncio.create_task(self._run(upset, at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, upset: Upset, at: float) -> None:
        await self._beamline.clock.until(at)
        await self._start(upset.kind, at)
        if upset.kind in _LASTING:
            end = at + upset.seconds
            await self._beamline.clock.until(end)
            await self._end(upset.kind, at, end)

    async def _start(self, kind: str, at: float) -> None:
        ring, shutter = self._beamline.ring, self._beamline.shutter
        if kind in ("shutter", "flicker"):
            there = shutter.command(to_open=False, at=at)
            await self._shutter(at)
            await self._beamline.clock.until(there)
            await self._shutter(there)
        elif kind == "trigger":
            self._detector.somebody_triggers()
        elif kind == "stop":
            await self._detector.somebody_stops()
        elif kind == "iocs":
            self.hang_up(True)
        else:
            {
                "beam": ring.dump,
                "injection": ring.inject,
                "nan": lambda at: ring.show(NAN, at),
                "invalid": lambda at: ring.show(INVALID, at),
            }[kind](at)
            await self._ring(at)

    async def _end(self, kind: str, at: float, end: float) -> None:
        ring, shutter = self._beamline.ring, self._beamline.shutter
        if kind == "flicker":
            shutter.reopen(at, end)
            there = shutter.rest_from
            await self._shutter(end)
            await self._beamline.clock.until(there)
            await self._shutter(there)
            return
        if kind == "iocs":
            self.hang_up(False)
            return
        if kind == "beam":
            ring.refill(end)
        else:
            ring.show(WELL, end)
        await self._ring(end)


def parse(text: str) -> list[Upset]:
    """Upsets of ``KIND [SECONDS] [xTIMES]``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    kind, *words = text.split() or [""]
    times = 1
    try:
        if words and words[-1].startswith("x"):
            times = int(words.pop()[1:])
        seconds = float(words.pop(0)) if words else (FLICKER_S if kind in _LASTING else 0.0)
    except ValueError:
        words.append(text)
        seconds = 0.0
    if kind not in KINDS or words or not 0.0 <= seconds < float("inf") or not 1 <= times <= _MAX_TIMES:
        raise ValueError(f"an upset must be KIND [SECONDS] [xTIMES] with KIND of {', '.join(KINDS)}, got {text!r}")
    return [Upset(kind, seconds)] * times
