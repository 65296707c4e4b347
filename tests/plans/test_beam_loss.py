"""A run rests while the ring has no beam, and only then."""

import threading
import time

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from ophyd import EpicsSignal

from plans.beam_loss import SuspendWithoutBeam


@pytest.fixture
def dump(xedm_beamline):
    """Give a switch that loses the beam, and bring the beam back at the end."""
    signal = EpicsSignal(f"{xedm_beamline.prefix}SIM:BeamDump", name="dump", string=True, put_complete=True)
    signal.wait_for_connection(timeout=10)
    yield signal
    signal.put("Stored", wait=True)
    signal.destroy()


@pytest.fixture
def engine(beamline):
    """Give a RunEngine that waits for the beam of this ring."""
    beamline.ring.wait_for_connection(timeout=10)
    engine = RunEngine({})
    engine.install_suspender(SuspendWithoutBeam(beamline.ring))
    yield engine
    engine.clear_suspenders()


def wait_until(condition, what):
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def note(messages, text):
    yield from bps.null()
    messages.append(text)


def test_a_run_is_suspended_and_goes_on_from_its_checkpoint(beamline, engine, dump, capsys):
    moments = []

    def lose_and_bring_back():
        dump.put("Dumped", wait=True)
        wait_until(lambda: engine.suspenders[0].tripped, "the loss must be noticed")
        lost = time.monotonic()
        time.sleep(0.5)
        moments.append((lost, time.monotonic()))
        dump.put("Stored", wait=True)

    steps = []

    def plan():
        yield from bps.checkpoint()
        losing.start()
        while losing.is_alive() or not beamline.ring.has_beam():
            steps.append(time.monotonic())
            yield from bps.sleep(0.01)

    losing = threading.Thread(target=lose_and_bring_back)
    engine(plan())
    ((lost, back),) = moments
    assert not [step for step in steps if lost + 0.2 < step < back], "no step while there was no beam"
    assert time.monotonic() > back
    assert steps
    assert "less than 10 mA stored; the run goes on when the beam is back" in capsys.readouterr().out


def test_a_run_waits_for_beam_before_it_begins(beamline, engine, dump):
    dump.put("Dumped", wait=True)
    wait_until(lambda: all(suspender.tripped for suspender in engine.suspenders), "the loss must be known")
    back = []
    threading.Timer(0.5, lambda: (back.append(True), dump.put("Stored"))).start()
    engine(note([], "begun"))
    assert back
    wait_until(beamline.ring.has_beam, "the beam must be back")


def test_a_run_that_cannot_be_rewound_is_left_to_the_gate(beamline, engine, dump):
    def plan():
        yield from bps.clear_checkpoint()
        yield from bps.abs_set(dump, "Dumped", wait=True)
        for _ in range(2000):
            yield from bps.sleep(0.01)
            if not beamline.ring.has_beam():
                break
        yield from bps.sleep(0.2)
        return "not aborted"

    engine(plan())
    assert engine.state == "idle"
    assert not engine._exit_status.startswith("abort")


def test_an_injection_suspends_nothing(beamline, engine):
    (suspender,) = engine.suspenders
    assert suspender._sig is beamline.ring.current
