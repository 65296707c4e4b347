"""The record's semantics, without a server."""

import asyncio

import pytest
from caproto import AlarmSeverity, AlarmStatus

from sim.axis import TRAVEL_UM

PLUS_LIMIT, PROBLEM, MOVING, DONE, HOMED = 1 << 2, 1 << 9, 1 << 10, 1 << 1, 1 << 14


def bench(test):
    """Run an async test on a fresh bench."""

    def run(motor_bench):
        async def main():
            b = motor_bench()
            await b.start()
            await test(b)

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


@bench
async def test_put_completes_when_the_motion_has(b):
    await b.put("VAL", 10.0)
    assert b.of("DMOV") == [0, 1]
    assert b.of("MOVN") == [1, 0]
    assert b.get("RBV") == pytest.approx(10.0, abs=0.0031)
    assert (b.get("VAL"), b.get("DVAL"), b.get("RVAL"), b.get("MISS"), b.get("TDIR")) == (10.0, 10.0, 10_000, 0, 1)
    assert b.get("MSTA") & DONE
    assert not b.get("MSTA") & MOVING


@bench
async def test_dmov_pulses_even_to_the_same_position(b):
    await b.put("VAL", 3.0)
    await b.put("VAL", 3.0)
    assert b.of("DMOV") == [0, 1, 0, 1]


@bench
async def test_readback_is_posted_before_dmov_rises(b):
    await b.put("VAL", 5.0)
    names = [name for name, _ in b.posted]
    last = len(names) - 1 - names[::-1].index("RBV")
    assert last < len(names) - 1 - names[::-1].index("DMOV")


@bench
async def test_a_target_outside_the_soft_limits_is_refused(b):
    await b.put("VAL", 1.0)
    b.posted.clear()
    await b.put("VAL", 2000.5)
    assert (b.get("LVIO"), b.get("VAL"), b.get("DVAL")) == (1, 1.0, 1.0)
    assert b.of("DMOV") == []
    assert b.axis.target_um == 1.0
    await b.put("VAL", 2.0)
    assert b.get("LVIO") == 0


@bench
async def test_not_a_number_is_refused(b):
    await b.put("VAL", float("nan"))
    assert (b.get("LVIO"), b.get("VAL"), b.get("DMOV")) == (1, 0.0, 1)


@bench
async def test_a_move_back_towards_the_range_is_allowed(b):
    await b.put("VAL", 100.0)
    await b.put("HLM", 50.0)
    await b.put("VAL", 101.0)
    assert (b.get("LVIO"), b.get("VAL")) == (1, 100.0)
    await b.put("VAL", 80.0)
    assert (b.get("LVIO"), b.get("VAL")) == (0, 80.0)


@bench
async def test_limits_of_zero_are_no_limits_and_crossed_limits_refuse_all(b):
    await b.put("HLM", 0.0)
    await b.put("LLM", 0.0)
    await b.put("VAL", 7.0)
    assert (b.get("LVIO"), b.get("VAL")) == (0, 7.0)
    await b.put("LLM", 10.0)
    await b.put("VAL", 8.0)
    assert (b.get("LVIO"), b.get("VAL")) == (1, 7.0)


@bench
async def test_control_limits_of_val_and_rbv_follow_the_soft_limits(b):
    await b.put("HLM", 25.0)
    await b.put("DLLM", -5.0)
    for name in ("VAL", "RBV"):
        field = b.record.motor.get_field(name)
        assert (field.lower_ctrl_limit, field.upper_ctrl_limit) == (-5.0, 25.0)
        assert field.units == "um"
    assert (b.get("DHLM"), b.get("LLM")) == (25.0, -5.0)


@bench
async def test_stop_ends_the_move_where_it_is_and_val_follows(b):
    await b.put("VELO", 1.0)
    move = b.begin("VAL", 50.0)
    await b.until("MOVN", 1)
    await asyncio.sleep(0.02)
    await b.put("STOP", 1)
    await asyncio.wait_for(move, 5.0)
    assert b.get("STOP") == 0
    assert 0.0 < b.get("RBV") < 50.0
    assert b.get("VAL") == b.get("RBV")
    assert b.of("DMOV") == [0, 1]


@bench
async def test_stop_at_rest_changes_nothing(b):
    await b.put("VAL", 4.0)
    b.posted.clear()
    await b.put("STOP", 1)
    assert (b.get("VAL"), b.posted) == (4.0, [])


@bench
async def test_pause_keeps_the_target_and_go_resumes(b):
    await b.put("VELO", 1.0)
    move = b.begin("VAL", 5.0)
    await b.until("MOVN", 1)
    await b.put("SPMG", "Pause")
    await b.until("MOVN", 0)
    assert (b.get("VAL"), b.get("DMOV")) == (5.0, 0)
    await b.put("SPMG", "Go")
    await asyncio.wait_for(move, 5.0)
    assert b.get("RBV") == pytest.approx(5.0, abs=0.0031)
    assert b.of("DMOV") == [0, 1]


@bench
async def test_spmg_stop_forgets_the_target_and_blocks_the_next(b):
    await b.put("VELO", 1.0)
    move = b.begin("VAL", 50.0)
    await b.until("MOVN", 1)
    await b.put("SPMG", "Stop")
    await asyncio.wait_for(move, 5.0)
    assert b.get("VAL") == b.get("RBV") < 50.0
    here = b.axis.target_um
    waiting = b.begin("VAL", 1.0)
    await b.until("DMOV", 0)
    await asyncio.sleep(0.02)
    assert (b.axis.target_um, b.get("MOVN")) == (here, 0)
    await b.put("SPMG", "Go")
    await asyncio.wait_for(waiting, 5.0)
    assert b.axis.target_um == 1.0


@bench
async def test_a_new_target_on_the_way_redirects_within_one_pulse(b):
    await b.put("VELO", 10.0)
    first = b.begin("VAL", 50.0)
    await b.until("MOVN", 1)
    second = b.begin("VAL", -1.0)
    await asyncio.wait_for(asyncio.gather(first, second), 5.0)
    assert b.get("RBV") == pytest.approx(-1.0, abs=0.0031)
    assert b.of("DMOV") == [0, 1]
    assert b.get("TDIR") == 0


@bench
async def test_offset_shifts_user_coordinates_and_moves_nothing(b):
    await b.put("VAL", 10.0)
    b.posted.clear()
    await b.put("OFF", 100.0)
    assert (b.get("VAL"), b.get("DVAL"), b.get("HLM"), b.get("LLM")) == (110.0, 10.0, 2100.0, -1900.0)
    assert b.get("RBV") == pytest.approx(110.0, abs=0.0031)
    assert b.of("DMOV") == []
    await b.put("VAL", 111.0)
    assert b.axis.target_um == 11.0


@bench
async def test_negative_direction_mirrors_positions_limits_and_travel(b):
    await b.put("VAL", 10.0)
    await b.put("HLM", 1000.0)
    await b.put("FOFF", "Frozen")
    await b.put("DIR", "Neg")
    assert (b.get("VAL"), b.get("DVAL"), b.get("HLM"), b.get("LLM")) == (-10.0, 10.0, 2000.0, -1000.0)
    await b.put("VAL", -5.0)
    assert (b.axis.target_um, b.get("TDIR")) == (5.0, 1)


@bench
async def test_direction_with_variable_offset_keeps_val(b):
    await b.put("VAL", 10.0)
    await b.put("DIR", "Neg")
    assert (b.get("VAL"), b.get("OFF")) == (10.0, 20.0)


@bench
async def test_set_redefines_the_position_by_the_offset(b):
    await b.put("VAL", 10.0)
    await b.put("SET", "Set")
    await b.put("VAL", 0.0)
    await b.put("SET", "Use")
    assert (b.get("VAL"), b.get("OFF"), b.get("DVAL"), b.get("HLM")) == (0.0, -10.0, 10.0, 1990.0)
    assert b.axis.target_um == 10.0


@bench
async def test_set_with_frozen_offset_redefines_the_dial(b):
    await b.put("VAL", 10.0)
    await b.put("FOFF", "Frozen")
    await b.put("SET", "Set")
    await b.put("VAL", 0.0)
    await b.put("SET", "Use")
    assert (b.get("VAL"), b.get("OFF"), b.get("DVAL")) == (0.0, 0.0, 0.0)
    await b.put("VAL", 1.0)
    assert b.axis.target_um == 11.0


@bench
async def test_tweak_relative_dial_and_raw_moves(b):
    await b.put("TWV", 2.5)
    await b.put("TWF", 1)
    await b.put("TWR", 1)
    await b.put("TWF", 1)
    assert b.get("VAL") == 2.5
    await b.put("RLV", -1.0)
    assert b.get("VAL") == 1.5
    await b.put("DVAL", 4.0)
    assert b.get("VAL") == 4.0
    await b.put("RVAL", 6000)
    assert b.axis.target_um == 6.0


@bench
async def test_a_hard_stop_sets_switch_and_alarm_and_a_move_away_clears_them(b):
    await b.put("HLM", 1e6)
    await b.put("VAL", TRAVEL_UM + 100.0)
    assert (b.get("HLS"), b.get("LLS")) == (1, 0)
    assert b.get("MSTA") & PLUS_LIMIT
    alarm = b.record.motor.get_field("RBV").alarm
    assert (alarm.status, alarm.severity) == (AlarmStatus.HIGH, AlarmSeverity.MAJOR_ALARM)
    await b.put("VAL", 0.0)
    assert (b.get("HLS"), alarm.severity) == (0, AlarmSeverity.NO_ALARM)


@bench
async def test_the_user_switch_is_the_mirrored_one_in_negative_direction(b):
    await b.put("FOFF", "Frozen")
    await b.put("DIR", "Neg")
    await b.put("LLM", -1e6)
    await b.put("VAL", -TRAVEL_UM - 1.0)
    assert (b.get("HLS"), b.get("LLS")) == (0, 1)


@bench
async def test_a_servo_fault_is_a_major_alarm_and_no_motion(b):
    b.axis.fail()
    await b.record.refresh()
    await b.put("VAL", 5.0)
    alarm = b.record.motor.get_field("RBV").alarm
    assert (alarm.status, alarm.severity) == (AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM)
    assert b.get("RBV") == pytest.approx(0.0, abs=0.0031)
    assert (b.of("DMOV"), b.get("MISS")) == ([0, 1], 0)  # no retries, so none used up
    assert b.get("MSTA") & PROBLEM


@bench
async def test_home_goes_to_the_reference_mark(b):
    await b.put("VAL", 30.0)
    await b.put("HOMF", 1)
    assert (b.axis.target_um, b.get("VAL"), b.get("ATHM"), b.get("HOMF")) == (0.0, 0.0, 1, 0)
    assert b.get("MSTA") & HOMED


@bench
async def test_velocity_of_zero_is_the_controllers_own(b):
    assert b.get("VELO") == 0.0
    start = b.clock.time()
    await b.put("VAL", 250.0)
    assert 1.0 <= b.clock.time() - start < 5.0
    await b.put("VELO", -3.0)
    assert b.get("VELO") == 0.0
    await b.put("VELO", 1e9)
    assert b.get("VELO") == b.get("VMAX")


@bench
async def test_settle_time_delays_dmov(b):
    await b.put("DLY", 2.0)
    start = b.clock.time()
    await b.put("VAL", 1.0)
    assert b.clock.time() - start >= 2.0


@bench
async def test_readback_noise_is_a_few_nanometres_and_repeats(b):
    async def readbacks(bench):
        seen = []
        for target in range(30):
            await bench.put("VAL", float(target))
            seen.append(round(bench.get("RBV") - target, 6))
        return seen

    other = type(b)()
    await other.start()
    first, second = await readbacks(b), await readbacks(other)
    assert first == second
    assert len(set(first)) > 2
    assert max(map(abs, first)) <= 0.0035


@bench
async def test_describes_itself(b):
    fields = b.record.motor.fields
    assert await fields["DESC"].getter(fields["DESC"]) == "Bench"
    assert (b.get("EGU"), b.get("MRES"), b.get("PREC")) == ("um", 0.001, 4)
    await b.put("PREC", 2)
    assert b.record.motor.get_field("RBV").precision == 2
