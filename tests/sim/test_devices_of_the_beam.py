"""Shutter, attenuator, beam stop and ring over Channel Access."""

import threading
import time

import pytest

TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def pv(xedm_beamline):
    import epics

    made = {}
    assert xedm_beamline.prefix == "25A:"

    def get(name):
        if name not in made:
            monitored = threading.Event()
            made[name] = epics.PV(name, auto_monitor=True, callback=lambda **_: monitored.set())
            assert monitored.wait(TIMEOUT_S), name
        return made[name]

    yield get
    for one in made.values():
        one.disconnect()


def recorded(pv):
    """Values of monitors from now on."""
    seen = []
    pv.add_callback(lambda char_value, **_: seen.append(char_value))
    return seen


def wait_until(condition, words):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, words
        time.sleep(0.01)


def test_shutter_goes_through_opening_and_closing(pv):
    command, status = pv("25A:FS:Cmd"), pv("25A:FS:Sts")
    seen = recorded(status)
    assert command.put("Open", wait=True, timeout=TIMEOUT_S) == 1
    wait_until(lambda: seen[-1:] == ["Open"], "did not open")
    assert command.put(0, wait=True, timeout=TIMEOUT_S) == 1
    wait_until(lambda: seen[-1:] == ["Closed"], "did not close")
    assert seen == ["Opening", "Open", "Closing", "Closed"]
    assert status.enum_strs == ("Fault", "Open", "Opening", "Closed", "Closing")


def test_attenuator_says_moving_then_the_achieved_transmission(pv):
    wanted, achieved, moving = pv("25A:ATT:Transmission"), pv("25A:ATT:Transmission_RBV"), pv("25A:ATT:Moving")
    seen = recorded(moving)
    try:
        assert wanted.put(2e-4, wait=True, timeout=TIMEOUT_S) == 1
        wait_until(lambda: achieved.get() == pytest.approx(10**-3.5), "foils not achieved")
        wait_until(lambda: seen[-2:] == ["Moving", "In place"], "did not say it moved")
        wanted.put(1e-30, wait=True, timeout=TIMEOUT_S)
        wait_until(lambda: wanted.get() == pytest.approx(10**-7.5), "was not clamped")
    finally:
        wanted.put(1.0, wait=True, timeout=TIMEOUT_S)
    wait_until(lambda: achieved.get() == 1.0, "did not leave the beam")


def test_attenuator_refuses_what_is_no_number(pv):
    wanted = pv("25A:ATT:Transmission")
    before = wanted.get(use_monitor=False)
    wanted.put(float("nan"), wait=True, timeout=TIMEOUT_S)
    assert wanted.get(use_monitor=False) == before


def test_beam_stop_drives_out_and_in(pv):
    command, status = pv("25A:BS:Cmd"), pv("25A:BS:Sts")
    seen = recorded(status)
    command.put("Out", wait=True, timeout=TIMEOUT_S)
    command.put("In", wait=True, timeout=TIMEOUT_S)
    wait_until(lambda: seen[-4:] == ["Moving", "Out", "Moving", "In"], f"got {seen}")


def test_countdown_runs_in_simulated_seconds(pv, xedm_beamline):
    countdown, clock = pv("TPS:TimeToNextInjSec"), pv("25A:SIM:Time")
    times = []
    counts = []
    for _ in range(2):
        times.append(clock.get(use_monitor=False))
        counts.append(countdown.get(use_monitor=False))
        times.append(clock.get(use_monitor=False))
        time.sleep(0.2)
    assert times[2] - times[1] >= 0.2 * xedm_beamline.speed
    passed = (counts[0] - counts[1]) % 240.0
    assert times[2] - times[1] <= passed <= times[3] - times[0]


def test_countdown_comes_by_monitor_at_least_every_simulated_second_or_tenth_of_a_second(pv):
    seen = recorded(pv("TPS:TimeToNextInjSec"))
    time.sleep(1.0)
    assert len(seen) >= 9


def test_a_dump_ends_the_current(pv):
    dump, current, countdown = pv("25A:SIM:BeamDump"), pv("SR-DI-DCCT:BeamCurrent"), pv("TPS:TimeToNextInjSec")
    assert current.get() > 490.0
    dump.put("Dumped", wait=True, timeout=TIMEOUT_S)
    try:
        wait_until(lambda: (current.get(), countdown.get()) == (0.0, -1.0), "beam is still there")
    finally:
        dump.put("Stored", wait=True, timeout=TIMEOUT_S)
    wait_until(lambda: current.get() > 490.0, "beam did not come back")
