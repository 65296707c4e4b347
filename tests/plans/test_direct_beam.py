"""The direct beam: what must be true before the stop leaves, and the way back, whatever happens."""

import math
from types import SimpleNamespace

import pytest
from bluesky.preprocessors import plan_mutator
from bluesky.utils import FailedStatus, Msg, RunEngineInterrupted, single_gen
from ophyd import Component, Device, Signal
from ophyd.sim import make_fake_device
from ophyd.status import DeviceStatus

from devices.attenuator import Attenuator
from devices.beam_stop import BeamStop
from devices.errors import AttenuatorError, BeamStopError, DetectorError, InterlockError
from plans.direct_beam import find_direct_beam
from sim.attenuator import achievable
from sim.sample import experiment
from sim.scene import Scene


class Foils(Device):
    """An attenuator that goes where the simulation's foils would, and says what it did."""

    achieved = Component(Signal, value=1.0, kind="hinted")
    floor = 0.0

    def __init__(self, story):
        self.story = story
        super().__init__("", name="attenuator")

    def set(self, value):
        self.achieved.put(max(self.floor, achievable(value)))
        self.story.append(f"attenuator {self.achieved.get():.1e}")
        return finished(self)


class Stop(Device):
    """A beam stop that says what it did, and can stick on its way in."""

    status = Component(Signal, value="In")
    sticks = False
    safe_transmission = 1e-4

    def __init__(self, story):
        self.story = story
        super().__init__("", name="beam_stop")

    def set(self, value):
        self.story.append(f"stop {value}")
        if value == "in" and self.sticks:
            return failed(self, BeamStopError("beam_stop must become In within 30 s, got Moving"))
        self.status.put(value.title())
        return finished(self)


def finished(device):
    status = DeviceStatus(device)
    status.set_finished()
    return status


def failed(device, error):
    status = DeviceStatus(device)
    status.set_exception(error)
    return status


@pytest.fixture
def rig(simulated, monkeypatch):
    """A beamline whose detector sees the direct beam when it is exposed."""
    beamline = simulated.beamline(Scene(experiment("au-sio2"), 0))
    detector, live = beamline.detector, beamline.live
    story = []
    rig = SimpleNamespace(
        beamline=beamline,
        story=story,
        attenuator=Foils(story),
        stop=Stop(story),
        said=[],
        asked=[],
        spot=(488.31, 514.62),
        yes=True,
    )
    detector.cam.beam_center_x.sim_put(514.83)
    detector.cam.beam_center_y.sim_put(488.09)
    live.direct_beam.row.sim_put(math.nan)
    monkeypatch.setattr(live.purpose, "set", lambda value, **_: (story.append(f"purpose {value}"), finished(live))[1])
    monkeypatch.setattr(
        detector.shutter, "set", lambda value: (story.append(f"shutter {value}"), finished(detector.shutter))[1]
    )

    def show(label):
        del label
        story.append("exposure")
        live.direct_beam.row.sim_put(rig.spot[0])
        live.direct_beam.column.sim_put(rig.spot[1])
        live.direct_beam.peak.sim_put(1e9 * rig.attenuator.achieved.get() * 0.1 * detector.plan.exposure_s)

    monkeypatch.setattr(detector, "_show", show)

    def answer(question):
        rig.asked.append(question)
        return rig.yes

    rig.plan = lambda **options: find_direct_beam(
        [detector], rig.attenuator, rig.stop, **{"confirm": answer, "tell": rig.said.append, **options}
    )
    return rig


WAY_BACK = ["shutter close", "stop in", "attenuator 1.0e+00"]


def test_the_centre_is_found_beside_the_header_and_everything_is_put_back(rig, engine):
    documents = []
    engine.subscribe(lambda name, doc: documents.append((name, doc)))
    engine(rig.plan())
    assert rig.story == [
        "shutter close", "attenuator 3.2e-05", "purpose alignment", "stop out", "exposure", *WAY_BACK,
    ]  # fmt: skip
    assert "the transmission is 3.2e-05, at most 3.2e+04 photons a second reach the detector" in rig.asked[0]
    assert rig.said[0].startswith(
        "direct beam at row 488.31, column 514.62; the detector's settings say 488.09, 514.83: 0.30 px off."
    )
    (data,) = [doc["data"] for name, doc in documents if name == "event"]
    assert (data["direct_beam_row"], data["direct_beam_column"]) == rig.spot
    assert (data["direct_beam_header_row"], data["direct_beam_header_column"]) == (488.09, 514.83)
    assert data["direct_beam_peak_rate_per_s"] == pytest.approx(3162, rel=1e-3)
    assert documents[0][1]["plan_name"] == "find_direct_beam"


def test_a_transmission_that_is_too_high_keeps_the_stop_in(rig, engine):
    rig.attenuator.floor = 2e-4
    with pytest.raises(AttenuatorError, match=r"must let at most 0\.0001 through for 100000 counts a second"):
        engine(rig.plan())
    assert "stop out" not in rig.story
    assert rig.story[-3:] == WAY_BACK
    assert rig.asked == []


def test_a_transmission_that_nobody_knows_keeps_the_stop_in(rig, engine, monkeypatch):
    monkeypatch.setattr(rig.attenuator, "set", lambda _: (rig.attenuator.achieved.put(math.nan), finished(rig.stop))[1])
    with pytest.raises(AttenuatorError, match="got nan"):
        engine(rig.plan())
    assert "stop out" not in rig.story


def test_without_a_yes_the_stop_stays_in(rig, engine):
    rig.yes = False
    with pytest.raises(InterlockError, match="beam_stop must leave only when a person says yes, got 'no'"):
        engine(rig.plan())
    assert "stop out" not in rig.story
    assert rig.story[-3:] == WAY_BACK


def test_by_default_the_person_at_the_prompt_is_asked(rig):
    messages = []

    def run():
        plan, answer = rig.plan(confirm=None), None
        while True:
            messages.append(plan.send(answer))
            answer = "no" if messages[-1].command == "input" else None

    with pytest.raises(InterlockError, match="got 'no'"):
        run()
    (question,) = [message.kwargs["prompt"] for message in messages if message.command == "input"]
    assert question.endswith("Type yes to go on: ")
    assert not [message for message in messages if message.args == ("out",)]


def test_a_stop_that_sticks_keeps_the_attenuator_in(rig, engine):
    rig.stop.sticks = True
    with pytest.raises((BeamStopError, FailedStatus)):
        engine(rig.plan())
    assert rig.story[-2:] == ["shutter close", "stop in"]
    assert rig.attenuator.achieved.get() < 1e-4


def test_a_shutter_that_sticks_does_not_keep_the_stop_out(rig, engine, monkeypatch):
    shutter, closings = rig.beamline.detector.shutter, []

    def stick(value):
        rig.story.append(f"shutter {value}")
        closings.append(value)
        return finished(shutter) if len(closings) == 1 else failed(shutter, BeamStopError("stuck"))

    monkeypatch.setattr(shutter, "set", stick)
    with pytest.raises((BeamStopError, FailedStatus)):
        engine(rig.plan())
    assert rig.story[-2:] == ["shutter close", "stop in"]
    assert rig.attenuator.achieved.get() < 1e-4


def test_a_pixel_that_is_too_bright_and_no_spot_are_named(rig, engine):
    with pytest.raises(DetectorError, match="brightest pixel must see at most 1000 counts a second, got 3162"):
        engine(rig.plan(flux=1e7, max_rate=1e3))
    assert rig.story[-3:] == WAY_BACK
    rig.spot = (math.nan, math.nan)
    with pytest.raises(DetectorError, match="eig1m must show the direct beam, got no bright spot outside its mask"):
        engine(rig.plan())
    assert rig.story[-3:] == WAY_BACK


@pytest.mark.parametrize("after", ["purpose alignment", "stop out", "exposure"])
def test_a_pause_ends_it_with_everything_put_back(rig, engine, after):
    paused = []

    def pause_after(_):
        if rig.story[-1:] == [after] and not paused:
            paused.append(after)
            return single_gen(Msg("pause")), None
        return None, None

    with pytest.raises(RunEngineInterrupted):
        engine(plan_mutator(rig.plan(), pause_after))
    assert paused
    assert engine.state == "idle"
    assert rig.story[-3:] == WAY_BACK


def test_a_beam_far_from_where_the_header_has_it_is_doubted(rig, engine):
    rig.spot = (700.0, 300.0)
    engine(rig.plan())
    assert "see whether this is the direct beam, before you use it" in rig.said[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_rate": 0.0}, "max_rate must be above 0 and at most the flux of 1e\\+09 /s, got 0 /s"),
        ({"exposure": 300.0}, "exposure and margin must be above 0 and below 235 s"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_moves(rig, options, words):
    with pytest.raises(ValueError, match=words):
        next(rig.plan(**options))
    assert rig.story == []


def test_the_real_stop_refuses_without_attenuation_too():
    fake = make_fake_device(BeamStop)
    attenuator = make_fake_device(Attenuator)(transmission="T", moving="M", name="attenuator")
    attenuator.achieved.sim_put(1e-3)
    attenuator.moving.sim_put(0)
    with pytest.raises(InterlockError, match=r"transmission must be at most 0\.0001"):
        fake(command="C", status="S", attenuator=attenuator, name="beam_stop").set("out")
