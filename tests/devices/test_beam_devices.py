"""Shutter, attenuator and beam stop on the simulated beamline."""

import pytest
from ophyd.sim import make_fake_device

from devices.attenuator import Attenuator
from devices.beam_stop import BeamStop
from devices.errors import BeamStopError, InterlockError, ShutterError
from devices.shutter import FastShutter
from devices.two_states import TwoStates


def test_the_shutter_is_open_when_its_status_says_so(shutter):
    shutter.set("open").wait(5)
    assert shutter.is_open
    assert not shutter.is_closed
    shutter.set("open").wait(5)
    shutter.set("close").wait(5)
    assert shutter.is_closed


def test_stopping_the_shutter_closes_it(shutter):
    shutter.set("open").wait(5)
    shutter.stop()
    shutter.set("close").wait(5)
    assert shutter.is_closed


def test_the_shutter_knows_two_words(shutter):
    with pytest.raises(ValueError, match="must be set to 'open' or 'close', got 'ajar'"):
        shutter.set("ajar")


@pytest.fixture
def stuck_shutter():
    """Give a shutter whose status stands still until the test moves it."""
    shutter = make_fake_device(FastShutter)(command="c", status="s", name="stuck", timeout_s=0.2)
    shutter.status.sim_put("Closed")
    return shutter


def test_a_shutter_that_does_not_move_is_named_with_its_last_state(stuck_shutter):
    status = stuck_shutter.set("open")
    stuck_shutter.status.sim_put("Opening")
    with pytest.raises(ShutterError, match=r"stuck must become Open within 0.2 s, got Opening"):
        status.wait(2)


def test_a_fault_fails_the_move_at_once(stuck_shutter):
    stuck_shutter.timeout_s = 60.0
    status = stuck_shutter.set("open")
    stuck_shutter.status.sim_put("Fault")
    with pytest.raises(ShutterError, match="stuck must become Open got Fault"):
        status.wait(2)
    assert not stuck_shutter.is_open
    assert not stuck_shutter.is_closed


def test_a_beam_stop_that_does_not_move_is_named_and_knows_its_two_words():
    foils = make_fake_device(Attenuator)(transmission="t", moving="m", name="foils")
    stop = make_fake_device(BeamStop)(command="c", status="s", attenuator=foils, name="stop", timeout_s=0.1)
    stop.status.sim_put("Unknown")
    with pytest.raises(BeamStopError, match=r"stop must become In within 0.1 s, got Unknown; look at the beam stop on"):
        stop.set("in").wait(2)
    with pytest.raises(ValueError, match="stop must be set to 'in' or 'out', got 'ajar'"):
        stop.set("ajar")


@pytest.mark.parametrize("kind", [FastShutter, BeamStop])
def test_shutter_and_beam_stop_move_by_the_same_code(kind):
    assert issubclass(kind, TwoStates)


def test_the_attenuator_reports_what_it_achieved(attenuator):
    attenuator.set(2e-3).wait(20)
    achieved = attenuator.achieved.get(use_monitor=False)
    assert achieved != 2e-3
    assert 0.5 < achieved / 2e-3 < 2.0
    assert attenuator.read()["attenuator"]["value"] == pytest.approx(achieved)
    attenuator.set(1.0).wait(20)
    assert attenuator.achieved.get(use_monitor=False) == 1.0


def test_a_transmission_that_does_not_exist_is_refused(attenuator):
    with pytest.raises(ValueError, match=r"must be above 0 and at most 1, got 1\.5"):
        attenuator.set(1.5)


def test_the_beam_stop_leaves_only_behind_attenuation(beam_stop, attenuator):
    attenuator.set(1.0).wait(20)
    with pytest.raises(InterlockError, match=r"transmission must be at most 0.0001 .* got 1; set the attenuator first"):
        beam_stop.set("out")
    attenuator.set(1e-6).wait(20)
    beam_stop.set("out").wait(20)
    assert not beam_stop.is_in
    beam_stop.set("in").wait(20)
    assert beam_stop.is_in
    attenuator.set(1.0).wait(20)
