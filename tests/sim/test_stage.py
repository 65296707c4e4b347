"""ophyd's own EpicsMotor, unchanged, on the simulated stage."""

import time

import pytest
from ophyd import EpicsMotor
from ophyd.utils.epics_pvs import AlarmSeverity
from ophyd.utils.errors import LimitError

TIMEOUT_S = 10.0
NOISE_UM = 0.0035


@pytest.fixture(scope="module")
def motor(xedm_beamline):
    motor = EpicsMotor(f"{xedm_beamline.prefix}PIEZO:X", name="x")
    motor.wait_for_connection(all_signals=True, timeout=TIMEOUT_S)
    yield motor
    motor.destroy()


@pytest.fixture(autouse=True)
def at_home(motor):
    motor.set_use_switch.put(0, wait=True)
    motor.user_offset.put(0.0, wait=True)
    motor.high_limit_travel.put(2000.0, wait=True)
    motor.low_limit_travel.put(-2000.0, wait=True)
    motor.velocity.put(0.0, wait=True)
    wait_until(lambda: motor.limits == (-2000.0, 2000.0), "limits did not reach the client")
    motor.move(0.0, timeout=TIMEOUT_S)


def wait_until(condition, words):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, words
        time.sleep(0.01)


def test_moves_there_and_says_so(motor):
    status = motor.move(12.5, timeout=TIMEOUT_S)
    assert status.success
    assert motor.position == pytest.approx(12.5, abs=NOISE_UM)
    assert motor.user_setpoint.get() == 12.5


def test_a_move_to_the_same_position_finishes_too(motor):
    for _ in range(3):
        assert motor.move(0.0, timeout=TIMEOUT_S).success


def test_describes_itself_to_bluesky(motor):
    assert motor.egu == "um"
    assert motor.precision == 4
    assert motor.describe()["x"]["units"] == "um"
    assert motor.read_configuration()["x_motor_egu"]["value"] == "um"


def test_the_clients_limit_check_follows_the_soft_limits(motor):
    with pytest.raises(LimitError, match=r"value 2000\.1 outside of range"):
        motor.move(2000.1)
    motor.high_limit_travel.put(5.0, wait=True)
    wait_until(lambda: motor.limits == (-2000.0, 5.0), "limits did not follow HLM")
    with pytest.raises(LimitError, match="outside of range"):
        motor.move(6.0)


def test_a_target_the_client_did_not_check_is_refused_by_the_record(motor):
    done = []
    motor.motor_done_move.subscribe(lambda value, **_: done.append(value), run=False)
    motor.user_setpoint.put(9999.0, force=True, wait=True)
    wait_until(lambda: motor.user_setpoint.get() == 0.0, "VAL did not revert")
    time.sleep(0.1)
    assert done == []
    assert motor.user_setpoint._read_pv.pvname == "25A:PIEZO:X.VAL"


def test_stop_from_another_client_looks_like_success_at_the_wrong_place(motor):
    """ophyd does not check where a stopped move ended: the plan must."""
    motor.velocity.put(1.0, wait=True)
    status = motor.move(500.0, wait=False)
    wait_until(lambda: motor.position > 1.0, "did not set off")
    motor.motor_stop.put(1)
    status.wait(TIMEOUT_S)
    assert status.success
    assert 1.0 < motor.position < 500.0


def test_a_servo_fault_fails_the_move(motor, xedm_beamline):
    import epics

    fault = f"{xedm_beamline.prefix}SIM:StageFault"
    assert epics.caput(fault, 1, wait=True, timeout=TIMEOUT_S) == 1
    try:
        status = motor.move(3.0, wait=False)
        wait_until(lambda: status.done, "the move did not end")
        assert not status.success
        assert motor.user_readback.alarm_severity == AlarmSeverity.MAJOR
    finally:
        epics.caput(fault, 0, wait=True, timeout=TIMEOUT_S)


def test_redefines_its_position(motor):
    motor.move(10.0, timeout=TIMEOUT_S)
    motor.set_current_position(0.0)
    wait_until(lambda: abs(motor.position) < NOISE_UM, "RBV did not follow the new zero")
    assert motor.user_offset.get() == -10.0


def test_homes(motor):
    motor.move(10.0, timeout=TIMEOUT_S)
    assert motor.home("forward", timeout=TIMEOUT_S).success
    assert motor.position == pytest.approx(0.0, abs=NOISE_UM)
