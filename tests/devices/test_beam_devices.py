"""Shutter, attenuator and beam stop on the simulated beamline and on a C IOC."""

import math
import time

import epics
import pytest
from ophyd.sim import make_fake_device
from ophyd.utils import DisconnectedError, ReadOnlyError

from devices.attenuator import Attenuator
from devices.beam_stop import BeamStop
from devices.errors import AttenuatorError, BeamStopError, InterlockError, ShutterError
from devices.severity import INVALID
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


def test_the_command_itself_is_guarded_however_it_is_written(beam_stop, attenuator):
    attenuator.set(1.0).wait(20)
    for write in (lambda: beam_stop.command.put(0), lambda: beam_stop.command.put("Out", force=True)):
        with pytest.raises(InterlockError, match="before beam_stop leaves, got 1"):
            write()
    assert beam_stop.is_now("in")


def test_while_the_stop_is_out_the_attenuator_lets_no_more_through(beam_stop, attenuator):
    attenuator.set(1e-5).wait(20)
    beam_stop.set("out").wait(20)
    try:
        with pytest.raises(
            InterlockError, match=r"beam_stop must be in before attenuator lets more through than now \(1e"
        ):
            attenuator.set(1.0)
        with pytest.raises(InterlockError, match=r"got a request for 0.5; drive beam_stop in first"):
            attenuator.wanted.put(0.5)
        attenuator.set(1e-6).wait(20)
        assert attenuator.ask() == (pytest.approx(1e-6), False)
    finally:
        beam_stop.set("in").wait(20)
    attenuator.set(1.0).wait(20)


def test_a_shutter_and_a_stop_with_other_words_and_indices(place, attenuator):
    """The beam stop's PVs, taken for a shutter that says Out when it is open and is written 0 for it."""
    names = place.names
    attenuator.set(1e-6).wait(20)
    odd = FastShutter(
        command=names["beam_stop"],
        status=names["beam_stop_status"],
        name="odd",
        open_value=0,
        close_value=1,
        states={"open": "Out", "close": "In"},
        timeout_s=20.0,
    )
    odd.wait_for_connection(timeout=10)
    odd.set("open").wait(20)
    assert odd.is_open
    assert odd.status.get() == odd.status.get(use_monitor=False) == "Open"
    odd.set("close").wait(20)
    assert odd.is_closed
    assert odd.read()["odd_status"]["value"] == "Closed"
    attenuator.set(1.0).wait(20)


def test_a_stuck_shutter_of_a_c_ioc_is_at_fault(c_ioc):
    shutter = FastShutter(command=f"{c_ioc.prefix}FS:Cmd", status=f"{c_ioc.prefix}FS:Sts", name="stuck")
    shutter.wait_for_connection(timeout=10)
    epics.caput(f"{c_ioc.prefix}SIM:ShutterFault", 1, wait=True, timeout=5)
    try:
        with pytest.raises(ShutterError, match="stuck must become Open got Fault; reset the shutter on its own screen"):
            shutter.set("open").wait(10)
        assert (shutter.is_open, shutter.is_closed) == (False, False)
    finally:
        epics.caput(f"{c_ioc.prefix}SIM:ShutterFault", 0, wait=True, timeout=5)
    shutter.set("close").wait(10)


@pytest.fixture
def faulty():
    """Give a shutter without an IOC that is at fault."""
    shutter = make_fake_device(FastShutter)(command="c", status="s", name="faulty")
    shutter.status.sim_put("Fault")
    return shutter


def test_a_fault_of_before_a_command_is_not_its_answer(faulty):
    closing = faulty.set("close")
    for word in ("Closing", "Closed"):
        faulty.status.sim_put(word)
    closing.wait(5)


def test_a_fault_that_stays_is_the_answer_to_a_command(faulty):
    begun = time.monotonic()
    with pytest.raises(ShutterError, match="faulty must become Closed got Fault"):
        faulty.set("close").wait(5)
    assert time.monotonic() - begun < faulty.timeout_s - 1.0


@pytest.fixture
def optics():
    """Give a stop and foils whose records the test sets; the stop is in, the foils are out."""
    foils = make_fake_device(Attenuator)(transmission="t", moving="m", name="foils")
    stop = make_fake_device(BeamStop)(command="c", status="s", attenuator=foils, name="stop", timeout_s=0.2)
    foils.achieved.sim_put(1.0)
    foils.moving.sim_put(0)
    stop.status.sim_put("In")
    return stop, foils


@pytest.mark.parametrize("achieved", [math.nan, 2e-4, None])
def test_a_transmission_that_means_nothing_is_none(optics, achieved):
    stop, foils = optics
    foils.achieved.sim_put(achieved)
    with pytest.raises(InterlockError, match="before stop leaves, got"):
        stop.check_command(0)
    with pytest.raises(InterlockError, match="before stop leaves, got"):
        stop.set("out")


def test_an_invalid_record_of_the_attenuator_is_no_attenuation(optics):
    stop, foils = optics
    foils.achieved.sim_put(1e-6)
    stop.check_command(0)
    foils.achieved.alarm_severity = INVALID
    with pytest.raises(InterlockError, match="got no transmission that means anything; set the attenuator first"):
        stop.check_command(0)


def test_an_attenuator_that_does_not_answer_holds_the_stop(optics, monkeypatch):
    stop, foils = optics
    foils.achieved.sim_put(1e-6)
    monkeypatch.setattr(foils.achieved, "get", _no_answer)
    with pytest.raises(InterlockError, match="got no transmission that means anything with foils that move"):
        stop.check_command(0)


def test_an_attenuator_that_may_not_be_written_ends_its_move_with_a_name(optics, monkeypatch):
    _, foils = optics

    def refuse(*_, **__):
        raise ReadOnlyError("No write access to underlying EPICS PV")

    monkeypatch.setattr(foils.wanted, "put", refuse)
    with pytest.raises(AttenuatorError, match=r"foils must take a transmission of 0.1, got No write access"):
        foils.set(0.1).wait(5)


@pytest.mark.parametrize("word", ["Out", "Unknown", "Moving", "Fault"])
def test_the_foils_stay_while_the_stop_does_not_say_in(optics, word):
    stop, foils = optics
    foils.achieved.sim_put(1e-5)
    foils.check_command(1.0)
    stop.status.sim_put(word)
    foils.check_command(1e-6)
    with pytest.raises(InterlockError, match="stop must be in before foils lets more through"):
        foils.check_command(1e-4)


def test_a_status_that_falls_silent_ends_the_move_with_a_name(stuck_shutter, monkeypatch):
    stuck_shutter.status.pvname = "s"
    monkeypatch.setattr(stuck_shutter.status, "get", _no_answer)
    with pytest.raises(ShutterError, match=r"stuck must become Open within 0.2 s, got no answer from s; reset"):
        stuck_shutter.set("open").wait(2)


def test_an_invalid_status_is_no_state(stuck_shutter):
    stuck_shutter.status.sim_put("Open")
    assert stuck_shutter.is_open
    stuck_shutter.status.alarm_severity = INVALID
    assert not stuck_shutter.is_open
    with pytest.raises(ShutterError, match=r"stuck must become Open within 0.2 s, got Open with the record INVALID"):
        stuck_shutter.set("open").wait(2)


def _no_answer(**_):
    raise DisconnectedError("not connected")
