"""The stage on the simulated motor records: every end of a move has a name."""

import re

import epics
import pytest
from ophyd.signal import ReadTimeoutError
from ophyd.sim import make_fake_device
from ophyd.utils import DisconnectedError, LimitError

from devices import stage as devices_stage
from devices.errors import StageError
from devices.severity import INVALID
from devices.stage import PiezoAxis


def test_a_move_ends_with_the_readback_at_the_target(stage):
    stage.x.set(12.5).wait(10)
    assert stage.x.user_readback.get() == pytest.approx(12.5, abs=stage.x.tolerance_um)
    stage.trigger().wait(1)


def test_a_move_to_the_same_place_ends_too(stage):
    stage.y.set(3.0).wait(10)
    stage.y.set(3.0).wait(10)


def test_a_move_beyond_the_soft_limits_is_refused_before_it_starts(stage):
    limit = stage.x.high_limit_travel.get()
    with pytest.raises(LimitError):
        stage.x.check_value(limit + 1.0)


def test_a_move_that_the_record_refuses_names_the_limits(stage):
    limit = stage.y.high_limit_travel.get()
    stage.y.set(0.0).wait(10)
    # Past the check of the client, as when the limits have just been changed.
    stage.y.check_value = lambda _: None
    stage.y.user_setpoint.use_limits = False
    try:
        status = stage.y.set(limit + 5.0)
        with pytest.raises(StageError, match=r"must be sent between its soft limits .* refused the move \(LVIO\)"):
            status.wait(10)
    finally:
        del stage.y.check_value
        stage.y.user_setpoint.use_limits = True
    stage.y.set(1.0).wait(10)


def test_a_move_stopped_from_elsewhere_is_no_success(stage):
    stage.x.set(0.0).wait(10)
    status = stage.x.set(400.0)
    epics.caput("25A:PIEZO:X.STOP", 1, wait=True, timeout=5)
    with pytest.raises(StageError, match=r"stage_x must be within 0.2 um of its target 400 um, got"):
        status.wait(10)


def test_a_stop_by_a_pausing_engine_ends_the_move_quietly_and_claims_nothing(stage):
    stage.x.set(0.0).wait(10)
    status = stage.x.set(400.0)
    stage.x.stop(success=True)
    status.wait(10)
    stage.x.trigger().wait(1)
    assert stage.x.user_readback.get(use_monitor=False) < 390.0
    stage.x.set(0.0).wait(10)


def test_a_stop_without_excuse_fails_the_move(stage):
    status = stage.x.set(300.0)
    stage.x.stop()
    with pytest.raises(StageError, match="it was stopped"):
        status.wait(10)
    stage.x.set(0.0).wait(10)


def test_a_stage_that_was_moved_away_is_noticed_before_the_exposure(stage):
    stage.x.set(5.0).wait(10)
    epics.caput("25A:PIEZO:X", 9.0, wait=True, timeout=5)
    with pytest.raises(StageError, match=r"within 0.2 um of its target 5 um, got 9"):
        stage.trigger().wait(5)
    stage.x.set(5.0).wait(10)


def test_a_stage_that_has_just_arrived_is_not_asked_again(stage, monkeypatch):
    moves = [(x, y) for x in (1.0, 2.0, 3.0) for y in (1.0, 2.0, 3.0)]
    asked = []
    ask = stage._ask
    monkeypatch.setattr(stage, "_ask", lambda: asked.append(1) or ask())
    monkeypatch.setattr(devices_stage, "ASKED_AHEAD_S", 5.0)
    for x, y in moves:  # also both at a time, of which one is asked while it is still on its way
        arrivals = [stage.x.set(x), stage.y.set(y)]
        for arrival in arrivals:
            arrival.wait(10)
        told = len(asked)
        stage.trigger().wait(5)
        assert len(asked) == told
    stage.trigger().wait(5)  # a second time it is
    assert len(asked) == told + 1


def test_a_lost_servo_fails_the_move_with_the_alarm(stage):
    epics.caput("25A:SIM:StageFault", 1, wait=True, timeout=5)
    try:
        with pytest.raises(StageError, match=r"stage_z must reach its target, but its driver reports a problem at"):
            stage.z.set(7.0).wait(10)
    finally:
        epics.caput("25A:SIM:StageFault", 0, wait=True, timeout=5)
    stage.z.set(0.0).wait(10)


def test_an_axis_that_does_not_count_in_um_is_refused(stage):
    stage.z.check_units()
    epics.caput("25A:PIEZO:Z.EGU", "mm", wait=True, timeout=5)
    try:
        with pytest.raises(StageError, match=r"stage_z must count in um, got units 'mm'"):
            stage.z.check_units()
    finally:
        epics.caput("25A:PIEZO:Z.EGU", "um", wait=True, timeout=5)


@pytest.fixture
def axis():
    """Give an axis without an IOC, at rest."""
    axis = make_fake_device(PiezoAxis)("M", name="axis", move_timeout_s=0.2)
    axis.stop_pause_go.sim_put(3)
    for name in ("user_readback", "motor_done_move", "low_limit_travel", "limit_violation"):
        getattr(axis, name).pvname = f"M:{name}"
    axis.user_readback.alarm_severity = 0
    axis.user_setpoint.sim_set_limits((-100.0, 100.0))
    axis.user_readback.sim_put(0.0)
    axis.motor_done_move.sim_put(1)
    return axis


def _fail_with(error):
    def get(**_):
        raise error

    return get


def test_a_readback_that_means_nothing_is_not_where_the_axis_is(axis):
    status = axis.set(5.0)
    axis.motor_done_move.sim_put(0)
    axis.user_readback.sim_put(5.0)
    axis.motor_done_move.sim_put(1)
    status.wait(2)
    assert axis.off_target() is None
    axis.user_readback.alarm_severity = INVALID
    assert re.search(r"at its target 5 um, got a readback that its record calls INVALID", str(axis.off_target()))


@pytest.mark.parametrize("error", [ReadTimeoutError("no answer within 1 s"), DisconnectedError("not connected")])
def test_a_readback_that_cannot_be_read_ends_the_move_with_a_name(axis, error, monkeypatch):
    status = axis.set(5.0)
    axis.motor_done_move.sim_put(0)
    monkeypatch.setattr(axis.user_readback, "get", _fail_with(error))
    axis.motor_done_move.sim_put(1)
    with pytest.raises(StageError, match=rf"but the PV M:user_readback could not be read \({error}\)"):
        status.wait(2)


def test_a_record_that_cannot_be_read_after_a_timeout_ends_the_move_with_a_name(axis, monkeypatch):
    monkeypatch.setattr(axis.limit_violation, "get", _fail_with(ReadTimeoutError("no answer")))
    with pytest.raises(StageError, match=r"M:limit_violation could not be read \(no answer\); see whether its IOC"):
        axis.set(5.0).wait(2)


def test_limits_that_cannot_be_read_do_not_hide_a_refused_move(axis, monkeypatch):
    status = axis.set(5.0)
    monkeypatch.setattr(axis.low_limit_travel, "get", _fail_with(ReadTimeoutError("no answer")))
    axis.limit_violation.sim_put(1)
    with pytest.raises(StageError, match=r"M:low_limit_travel could not be read"):
        status.wait(2)


def test_a_readback_that_is_no_number_ends_the_move_too(axis, monkeypatch):
    status = axis.set(5.0)
    axis.motor_done_move.sim_put(0)
    monkeypatch.setattr(axis.user_readback, "get", lambda **_: None)
    axis.motor_done_move.sim_put(1)
    with pytest.raises(StageError, match=r"axis must say how its move to 5 um ended, got TypeError"):
        status.wait(2)


def test_a_move_that_takes_too_long_names_its_target(axis):
    status = axis.set(5.0)
    with pytest.raises(StageError, match=r"axis must reach 5 um within 0.2 s, got 0 um with DMOV=1"):
        status.wait(2)


def test_a_refused_move_that_pulses_dmov_is_refused_too(axis):
    """As motorRecord.cc does it: special() blinks DMOV before do_work() finds the limit violation."""
    axis.low_limit_travel.sim_put(-5.0)
    axis.high_limit_travel.sim_put(5.0)
    status = axis.set(7.0)
    axis.motor_done_move.sim_put(0)
    axis.limit_violation.sim_put(1)
    axis.motor_done_move.sim_put(1)
    with pytest.raises(StageError, match=r"axis must be sent between its soft limits -5 and 5 um, got 7 um; the motor"):
        status.wait(2)


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (1 << 6, "it slipped or stalled"),
        (1 << 9, "its driver reports a problem"),
        (1 << 12, "its controller does not answer"),
    ],
)
def test_what_the_record_reports_is_in_the_error(axis, bits, words):
    axis.hardware_status.sim_put(bits)
    status = axis.set(5.0)
    axis.motor_done_move.sim_put(0)
    axis.user_readback.alarm_severity, axis.user_readback.alarm_status = 2, 7
    axis.motor_done_move.sim_put(1)
    with pytest.raises(StageError, match=rf"axis must reach its target, but {words} at 0 um"):
        status.wait(2)


def test_retries_that_are_used_up_are_told(axis):
    axis.retries_used_up.sim_put(1)
    status = axis.set(5.0)
    axis.motor_done_move.sim_put(0)
    axis.user_readback.sim_put(4.0)
    axis.motor_done_move.sim_put(1)
    with pytest.raises(StageError, match=r"within 0.2 um of its target 5 um, got 4 um; its retries are used up"):
        status.wait(2)


def test_a_limit_switch_is_named_with_its_side(axis):
    axis.direction_of_travel.sim_put(0)
    axis.low_limit_switch.sim_put(1)
    status = axis.set(-5.0)
    axis.motor_done_move.sim_put(0)
    axis.user_readback.sim_put(-3.0)
    axis.motor_done_move.sim_put(1)
    with pytest.raises(StageError, match=r"but it ran into its low limit switch at -3 um"):
        status.wait(2)


@pytest.mark.parametrize(
    ("readback", "mode", "why"),
    [
        (0.0, 3, "it has not moved at all, a stall or a servo that is off"),
        (2.0, 3, "it is still on its way"),
        (2.0, 1, r"the record is at Stop or Pause \(SPMG\), set it to Go"),
    ],
)
def test_a_move_that_is_never_done_says_why(axis, readback, mode, why):
    axis.stop_pause_go.sim_put(mode)
    status = axis.set(5.0)
    axis.motor_done_move.sim_put(0)
    axis.user_readback.sim_put(readback)
    with pytest.raises(StageError, match=rf"axis must reach 5 um within 0.2 s, got {readback:g} um with DMOV=0: {why}"):
        status.wait(2)


def test_a_stage_that_set_out_early_is_met_where_it_was_sent(stage):
    stage.x.set(0.0).wait(10)
    stage.y.set(0.0).wait(10)
    left = stage.departure.set((40.0, 2.0))
    arrivals = [stage.x.set(40.0), stage.y.set(2.0)]
    assert not all(arrival.done for arrival in arrivals)
    left.wait(10)
    assert all(arrival.done and arrival.success for arrival in arrivals)
    stage.trigger().wait(5)


def test_a_move_by_hand_waits_for_the_departure_that_it_meets(stage):
    stage.x.set(0.0).wait(10)
    stage.departure.set((60.0, 0.0))
    told = []
    stage.x.move(60.0, wait=True, moved_cb=lambda **_: told.append(stage.x.position))
    assert stage.x.user_readback.get(use_monitor=False) == pytest.approx(60.0, abs=stage.x.tolerance_um)
    stage.x.set(0.0).wait(10)
    assert len(told) == 1


def test_a_departure_that_somebody_stopped_is_seen_before_the_exposure(stage):
    stage.x.set(0.0).wait(10)
    left = stage.departure.set((400.0, 0.0))
    epics.caput("25A:PIEZO:X.STOP", 1, wait=True, timeout=5)
    left.wait(10)  # the end is not a failure: what goes on meanwhile is not spoilt
    stage.x.set(400.0).wait(10)
    with pytest.raises(StageError, match=r"stage_x must be within 0.2 um of its target 400 um, got"):
        stage.trigger().wait(10)
    stage.x.set(0.0).wait(10)
    stage.trigger().wait(10)


def test_an_axis_that_stands_where_a_departure_goes_is_not_sent_again(stage):
    stage.x.set(0.0).wait(10)
    stage.y.set(7.0).wait(10)
    sent = []
    stage.y.user_setpoint.subscribe(lambda **_: sent.append("y"), event_type="setpoint", run=False)
    stage.y.motor_done_move.subscribe(lambda value, **_: sent.append(value), run=False)
    stage.departure.set((2.0, 7.0)).wait(10)
    stage.x.set(2.0).wait(10)
    stage.y.set(7.0).wait(10)
    stage.trigger().wait(10)
    assert not [value for value in sent if value == 0]


def test_a_departure_that_a_pause_stopped_is_forgotten(stage):
    stage.x.set(0.0).wait(10)
    left = stage.departure.set((400.0, 0.0))
    stage.stop(success=True)
    left.wait(10)
    stage.x.set(3.0).wait(10)
    stage.trigger().wait(5)
