"""What befalls an exposure does so at its planned moment, however late the simulation is woken."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from sim.beamline import Beamline
from sim.faults_place import place_faults
from sim.settings import SimSettings
from sim.upsets import BY_CHANCE, KINDS, Upset, Upsets, parse

SPEED = 100.0


class Scene:
    """A beamline whose PVs write down what they are told to show."""

    def __init__(self, faults=(), stall_s=0.0):
        self.beamline = Beamline(SimSettings(speed=SPEED, first_injection_s=1e9))
        self.told = []
        self.others = []
        self.stall_s = stall_s
        core = SimpleNamespace(place=place_faults(faults), series=1)
        detector = SimpleNamespace(
            core=core, somebody_triggers=lambda: self.others.append("trigger"), somebody_stops=self.stops
        )
        self.upsets = Upsets(self.beamline, self.ring, self.shutter, detector)
        self.beamline.shutter.command(to_open=True)

    async def stops(self):
        self.others.append("stop")

    async def ring(self, at):
        ring = self.beamline.ring
        self.told.append((ring.current_ma(at) > 0.0, ring.countdown_s(at) > 0.0, ring.readings.at(at)))

    async def shutter(self, at):
        self.told.append(self.beamline.shutter.state(at))

    async def expose(self, frame=0, seconds=10.0):
        """Expose, and give the beam's conditions."""
        await self.beamline.clock.sleep(1.0)
        start = self.beamline.clock.time()
        self.upsets.exposing(frame, start, start + seconds)
        if self.stall_s:
            await asyncio.sleep(0)
            time.sleep(self.stall_s)  # noqa: ASYNC251 - the machine stalls
        await self.beamline.clock.until(start + seconds)
        while self.upsets._tasks:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        return self.beamline.conditions(start, start + seconds)


def happen(text, **options):
    async def scenario():
        scene = Scene(**options)
        if text:
            scene.upsets.ask(text)
        seen = await scene.expose()
        return seen, scene

    return asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize("stall_s", [0.0, 0.3])
@pytest.mark.parametrize(
    ("text", "open_s", "injection_s", "told"),
    [
        ("beam 0.02", 9.98, 0.0, [(False, False, 0), (True, True, 0)]),
        ("shutter", 5.0, 0.0, ["Closing", "Closed"]),
        ("flicker 0.02", 9.97, 0.0, ["Closing", "Closed", "Opening", "Open"]),
        ("injection", 10.0, 4.0, [(True, True, 0)]),
        ("nan 2", 10.0, 0.0, [(True, True, 1), (True, True, 0)]),
        ("invalid", 10.0, 0.0, [(True, True, 2), (True, True, 0)]),
    ],
)
def test_state_and_monitors_are_those_of_the_planned_moment(text, open_s, injection_s, told, stall_s):
    seen, scene = happen(text, stall_s=stall_s)
    assert seen.open_s == pytest.approx(open_s, abs=1e-6)
    assert seen.injection_s == pytest.approx(injection_s, abs=1e-6)
    assert scene.told == told


@pytest.mark.parametrize("text", ["trigger", "stop"])
def test_somebody_else_is_at_the_detector(text):
    assert happen(text)[1].others == [text]


def test_the_iocs_are_away_for_a_while():
    async def scenario():
        scene = Scene()
        away = []
        scene.upsets.hang_up = lambda gone: away.append((gone, scene.beamline.clock.time()))
        scene.upsets.ask("iocs 3")
        await scene.expose()
        return away

    (gone, begun), (back, ended) = asyncio.run(asyncio.wait_for(scenario(), 20))
    assert (gone, back) == (True, False)
    assert ended - begun >= 2.9


def test_nothing_happens_unasked():
    seen, scene = happen("")
    assert (seen.open_s, scene.told) == (10.0, [])


def test_one_upset_an_exposure():
    async def scenario():
        scene = Scene()
        scene.upsets.ask("beam 1 x2")
        return [(await scene.expose(frame)).open_s for frame in range(3)]

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == pytest.approx([9.0, 9.0, 10.0], abs=1e-6)


def test_a_shutter_that_was_commanded_meanwhile_stays_closed():
    async def scenario():
        scene = Scene()
        scene.upsets.ask("flicker 3")
        exposing = asyncio.create_task(scene.expose())
        while "Closed" not in scene.told:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        scene.beamline.shutter.command(to_open=True)
        await scene.beamline.clock.sleep(0.1)
        scene.beamline.shutter.command(to_open=False)
        await exposing
        return scene.beamline.shutter.state(scene.beamline.clock.time())

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == "Closed"


def test_the_fault_draws_by_the_seed():
    async def scenario():
        scene = Scene(faults=["upsets:1,2"])
        return [(await scene.expose(frame, 40.0), list(scene.told)) for frame in range(3)]

    (first, told), *_, (_, later) = asyncio.run(asyncio.wait_for(scenario(), 20))
    assert (first.open_s, told) == (40.0, [])
    assert later
    assert {upset.kind for upset in BY_CHANCE} == set(KINDS) - {"trigger", "stop", "iocs"}


@pytest.mark.parametrize(
    ("text", "upsets"),
    [
        ("beam", [Upset("beam", 0.02)]),
        ("shutter x3", [Upset("shutter")] * 3),
        ("nan 5 x2", [Upset("nan", 5.0)] * 2),
    ],
)
def test_upsets_are_asked_for_in_words(text, upsets):
    assert parse(text) == upsets


@pytest.mark.parametrize("text", ["", "quake", "beam -1", "beam x0", "beam 1 2", "beam five", "beam nan"])
def test_other_words_are_refused(text):
    with pytest.raises(ValueError, match=r"an upset must be KIND \[SECONDS\] \[xTIMES\] with KIND of beam, shutter"):
        parse(text)
