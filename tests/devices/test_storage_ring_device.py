"""The ring and its gate: exposures go between injections, and no beam waits."""

import math

import epics
import pytest
from ophyd.sim import make_fake_device

from devices.errors import BeamError
from devices.severity import INVALID
from devices.storage_ring import StorageRing, beam_is_stored, window_is_open
from devices.waiting import Watch


@pytest.fixture
def machine():
    """Give a ring whose values the test sets."""
    ring = make_fake_device(StorageRing)(current="c", countdown="t", name="ring")
    ring.current.sim_put(500.0)
    ring.countdown.sim_put(200.0)
    ring.current.alarm_severity = ring.countdown.alarm_severity = 0
    ring.gate.timeout_s = 5.0
    return ring


def test_the_gate_opens_at_once_when_the_exposure_fits(machine):
    machine.gate.set(63.0).wait(1)


def test_the_gate_waits_for_the_next_period(machine):
    machine.countdown.sim_put(30.0)
    status = machine.gate.set(63.0)
    for countdown in (20.0, 1.0, 240.0, 237.0):  # the first seconds after the jump are the injection
        machine.countdown.sim_put(countdown)
        assert not status.done, countdown
    machine.countdown.sim_put(234.0)
    status.wait(1)


@pytest.mark.parametrize("current", [0.0, math.nan, -1.0])
def test_the_gate_waits_for_beam(machine, current):
    machine.current.sim_put(current)
    status = machine.gate.set(63.0)
    assert not status.done
    machine.current.sim_put(450.0)
    status.wait(1)


@pytest.mark.parametrize("countdown", [math.nan, -1.0, 0.0])
def test_a_countdown_that_means_nothing_waits(machine, countdown):
    machine.countdown.sim_put(countdown)
    status = machine.gate.set(63.0)
    assert not status.done
    machine.countdown.sim_put(100.0)
    status.wait(1)


def test_waiting_ends_with_a_named_error(machine):
    machine.gate.timeout_s = 0.1
    machine.current.sim_put(0.0)
    with pytest.raises(BeamError, match=r"beam and 63 s without an injection must come, but got 0 mA, 200 s .* 0.1 s"):
        machine.gate.set(63.0).wait(2)


def test_a_stopped_gate_of_a_pausing_engine_ends_quietly(machine):
    machine.current.sim_put(0.0)
    status = machine.gate.set(63.0)
    machine.gate.stop(success=True)
    status.wait(1)


def test_an_exposure_longer_than_a_period_is_refused(machine):
    with pytest.raises(ValueError, match=r"must be above 0 and below 235 s to fit between two injections, got 303 s"):
        machine.gate.set(303.0)


def test_an_invalid_record_is_no_beam():
    assert beam_is_stored(500.0, 2)
    assert not beam_is_stored(500.0, INVALID)


def test_an_invalid_countdown_waits(machine):
    machine.countdown.alarm_severity = INVALID
    status = machine.gate.set(63.0)
    assert not status.done
    machine.countdown.alarm_severity = 0
    machine.countdown.sim_put(199.0)
    status.wait(1)


def test_a_pause_in_top_up_is_no_injection():
    assert window_is_open(1000.0, 63.0)
    assert not window_is_open(238.0, 63.0)


def test_the_gate_opens_and_a_dump_closes_it(ring, place):
    ring.gate.set(60.0).wait(30)
    epics.caput(f"{place.prefix}SIM:BeamDump", 1, wait=True, timeout=5)
    try:
        with Watch(current=ring.current) as watch:
            assert watch.until(lambda now: now["current"] == 0.0, timeout_s=5.0)
        assert not ring.has_beam()
        status = ring.gate.set(60.0)
        assert not status.done
    finally:
        epics.caput(f"{place.prefix}SIM:BeamDump", 0, wait=True, timeout=5)
    status.wait(30)


@pytest.mark.parametrize("sickness", ["Not a number", "Invalid"])
def test_values_of_a_c_ioc_that_mean_nothing_are_no_beam(c_ioc, sickness):
    ring = StorageRing(
        current=f"{c_ioc.prefix}SR-DI-DCCT:BeamCurrent", countdown=f"{c_ioc.prefix}TPS:TimeToNextInjSec", name="ring"
    )
    ring.wait_for_connection(timeout=10)
    ring.gate.set(60.0).wait(30)
    epics.caput(f"{c_ioc.prefix}SIM:Sick", sickness, wait=True, timeout=5)
    try:
        with Watch(current=ring.current, countdown=ring.countdown) as watch:
            assert watch.until(lambda _: not ring.has_beam(), timeout_s=5.0), watch.latest
        assert not ring.fits(1.0)
        status = ring.gate.set(60.0)
        assert not status.done
    finally:
        epics.caput(f"{c_ioc.prefix}SIM:Sick", "Well", wait=True, timeout=5)
    status.wait(30)
    assert ring.has_beam()


@pytest.mark.parametrize("style", ["jump", "hold"])
def test_no_exposure_is_let_into_an_injection_of_either_style(c_ioc, style):
    ring = StorageRing(
        current=f"{c_ioc.prefix}SR-DI-DCCT:BeamCurrent", countdown=f"{c_ioc.prefix}TPS:TimeToNextInjSec", name="ring"
    )
    ring.wait_for_connection(timeout=10)
    epics.caput(f"{c_ioc.prefix}SIM:Countdown", style, wait=True, timeout=5)
    try:
        for _ in range(3):
            ring.gate.set(200.0).wait(30)
            # What the machine says is newer than what opened the gate: a tick of its countdown at least.
            assert 150.0 < ring.countdown.get(use_monitor=False) < ring.period_s - ring.injection_s
            ring.gate.set(1.0).wait(30)
    finally:
        epics.caput(f"{c_ioc.prefix}SIM:Countdown", "jump", wait=True, timeout=5)
