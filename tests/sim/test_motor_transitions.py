"""The motor record held against a table of its documented transitions.

Sources, by their short names in the table:

- manual: epics-modules/motor, docs/motorRecord.html (R7-3), by the name of the field it is said at;
- source: the same repository, motorApp/MotorSrc/motorRecord.cc, by the name of the function.

The quotations are theirs. A row puts fields, one after the other, and says what the record must have posted for a field
from then on (each change, in order) and what it must show at the end.
"""

import asyncio
from dataclasses import dataclass, field

import pytest
from caproto import AlarmSeverity, AlarmStatus

from sim.axis import TRAVEL_UM

DIRECTION, DONE, PLUS_LIMIT, PROBLEM, MOVING, MINUS_LIMIT, HOMED = (1 << bit - 1 for bit in (1, 2, 3, 10, 11, 14, 15))
NEAR_UM = 0.0035
"""Three standard deviations of the readback, and half a step."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One documented transition.

    Attributes
    ----------
    what, source
        For the reader.
    given
        Puts that bring the record to where the transition begins.
    puts
        Puts of the transition; `("begin VAL", 5.0)` does not wait for completion, `("until MOVN", 1)` waits for a
        value, `("axis", "fail")` does something to the hardware.
    posts
        What is posted from then on, by field.
    ends
        What the record shows at the end; MSTA as `(set bits, clear bits)`, floats within `NEAR_UM`.
    alarm
        Of the record at the end.
    """

    what: str
    source: str
    given: tuple = ()
    puts: tuple
    posts: dict = field(default_factory=dict)
    ends: dict = field(default_factory=dict)
    alarm: tuple = (AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM)


TABLE = (
    Row(
        what="a move",
        source="manual, DMOV: 'set to 0 when the motor record begins a motion ... until the motor record has "
        "completely finished that motion'",
        puts=(("VAL", 10.0),),
        posts={"DMOV": [0, 1], "MOVN": [1, 0], "LVIO": []},
        ends={"RBV": 10.0, "DVAL": 10.0, "RVAL": 10_000, "MISS": 0, "MSTA": (DIRECTION | DONE, MOVING | PROBLEM)},
    ),
    Row(
        what="on the way",
        source="manual, MOVN and MSTA: 'MOVING: non-zero velocity present', 'DONE: motion is complete'",
        given=(("VELO", 1.0),),
        puts=(("begin VAL", -50.0), ("until MOVN", 1), ("until TDIR", 0)),
        posts={"DMOV": [0]},
        ends={"MOVN": 1, "TDIR": 0, "MSTA": (MOVING, DONE | DIRECTION)},
    ),
    Row(
        what="a move to where it is",
        source="manual, DMOV: 'guaranteed to execute and post a 1/0/1 pulse ... even if no motion actually occurs'",
        given=(("VAL", 3.0),),
        puts=(("VAL", 3.0),),
        posts={"DMOV": [0, 1]},
        ends={"VAL": 3.0},
    ),
    Row(
        what="a new target on the way",
        source="manual, NTM: 'If NTM is YES, the motor is immediately stopped and given a motion command'; DMOV "
        "stays 0",
        given=(("VELO", 10.0),),
        puts=(("begin VAL", 50.0), ("until MOVN", 1), ("VAL", -1.0)),
        posts={"DMOV": [0, 1]},
        ends={"RBV": -1.0, "TDIR": 0},
    ),
    Row(
        what="STOP on the way",
        source="manual, STOP: 'the record will immediately reset it to 0 ... When the motor has stopped, VAL will "
        "be set equal to RBV, and DVAL will be set equal to DRBV'",
        given=(("VELO", 1.0),),
        puts=(("begin VAL", 50.0), ("until MOVN", 1), ("STOP", 1), ("until DMOV", 1)),
        posts={"DMOV": [0, 1]},
        ends={"STOP": 0, "VAL": "RBV", "DVAL": "DRBV", "MOVN": 0, "MSTA": (DONE, MOVING)},
    ),
    Row(
        what="STOP at rest",
        source="source, do_work: 'Shouldn't be moving, but send a STOP command without changing to the STOP state'",
        given=(("VAL", 4.0),),
        puts=(("STOP", 1),),
        posts={"DMOV": [], "VAL": [], "DVAL": []},
        ends={"VAL": 4.0, "STOP": 0},
    ),
    Row(
        what="SPMG Stop on the way",
        source="manual, SPMG: 'the motor will decelerate to a stop, the VAL field will be set equal to the RBV field'",
        given=(("VELO", 1.0),),
        puts=(("begin VAL", 50.0), ("until MOVN", 1), ("SPMG", "Stop"), ("until DMOV", 1)),
        posts={"DMOV": [0, 1]},
        ends={"VAL": "RBV", "SPMG": "Stop"},
    ),
    Row(
        what="a target under SPMG Stop",
        source="manual, SPMG: 'the motor will not move while SPMG has the value Stop or Pause'; source, special: "
        "'Someone wrote to drive field. Blink .dmov'",
        given=(("SPMG", "Stop"),),
        puts=(("begin VAL", 5.0), ("until DMOV", 0)),
        posts={"DMOV": [0], "MOVN": []},
        ends={"RBV": 0.0},
    ),
    Row(
        what="SPMG Pause keeps the target",
        source="source, do_work: 'PAUSE means stop the motor ... the motor will continue moving to .val'",
        given=(("VELO", 1.0),),
        puts=(("begin VAL", 5.0), ("until MOVN", 1), ("SPMG", "Pause"), ("until MOVN", 0)),
        posts={"DMOV": [0]},
        ends={"VAL": 5.0, "DMOV": 0},
    ),
    Row(
        what="SPMG Go after Pause",
        source="source, do_work: 'GO means Go, and then respond to any field whose change causes .dval to change'",
        given=(("SPMG", "Pause"), ("begin VAL", 5.0), ("until DMOV", 0)),
        puts=(("SPMG", "Go"), ("until DMOV", 1)),
        posts={"DMOV": [1], "MOVN": [1, 0]},
        ends={"RBV": 5.0},
    ),
    Row(
        what="SPMG Move pauses after one motion",
        source="manual, SPMG: 'the motor record will reset SPMG to Pause when a motion completes'",
        given=(("SPMG", "Move"),),
        puts=(("VAL", 2.0),),
        posts={"DMOV": [0, 1]},
        ends={"SPMG": "Pause", "RBV": 2.0},
    ),
    Row(
        what="a target beyond a soft limit",
        source="manual, LVIO: 'this prevents the motor from moving'; source, do_work: VAL, DVAL and RVAL are restored",
        given=(("VAL", 1.0),),
        puts=(("VAL", 2000.5),),
        posts={"LVIO": [1], "MOVN": []},
        ends={"VAL": 1.0, "DVAL": 1.0, "RVAL": 1000, "RBV": 1.0, "DMOV": 1},
    ),
    Row(
        what="an allowed target after a refused one",
        source="source, do_work: LVIO is judged anew with every target",
        given=(("VAL", 2000.5),),
        puts=(("VAL", 2.0),),
        posts={"LVIO": [0], "DMOV": [0, 1]},
        ends={"RBV": 2.0},
    ),
    Row(
        what="back towards the range",
        source="source, do_work: 'LVIO = TRUE, AND, Move request towards valid travel limit range'",
        given=(("VAL", 100.0), ("HLM", 50.0)),
        puts=(("VAL", 80.0),),
        posts={"DMOV": [0, 1]},
        ends={"LVIO": 0, "RBV": 80.0},
    ),
    Row(
        what="limits of 0 and 0",
        source="source, process: 'IF Software travel limits are disabled. Clear Limit violation field.'",
        given=(("HLM", 0.0), ("LLM", 0.0)),
        puts=(("VAL", 2040.0),),
        posts={"LVIO": []},
        ends={"RBV": 2040.0},
    ),
    Row(
        what="crossed limits",
        source="source, do_work: 'At least one limit is violated when DLLM > DHLM'",
        given=(("HLM", -10.0), ("LLM", 10.0)),
        puts=(("VAL", 1.0),),
        posts={"LVIO": [1], "MOVN": []},
        ends={"VAL": 0.0},
    ),
    Row(
        what="user limits follow the dial limits through DIR",
        source="manual, HLM: 'If the DIR field has the value Pos, then HLM will always be consistent with DHLM, "
        "otherwise HLM will always be consistent with DLLM'",
        given=(("HLM", 1000.0), ("FOFF", "Frozen")),
        puts=(("DIR", "Neg"),),
        posts={"DMOV": []},
        ends={"HLM": 2000.0, "LLM": -1000.0, "DHLM": 1000.0, "DLLM": -2000.0},
    ),
    Row(
        what="a hard stop",
        source="manual, MSTA: 'PLUS_LS: plus limit switch has been hit', 'If HLSV is set, then the record is put "
        "into HIGH alarm'; source, maybeRetry: no retry when the switch is on in the direction of the move",
        given=(("HLM", 1e6), ("RTRY", 5)),
        puts=(("VAL", TRAVEL_UM + 100.0),),
        posts={"DMOV": [0, 1], "HLS": [1], "RCNT": []},
        ends={"RBV": TRAVEL_UM, "LLS": 0, "MSTA": (PLUS_LIMIT | DONE, MINUS_LIMIT)},
        alarm=(AlarmStatus.HIGH, AlarmSeverity.MAJOR_ALARM),
    ),
    Row(
        what="away from a hard stop",
        source="manual, HLS: 'If either of these fields is nonzero, then the motor is at the positive-limit switch'",
        given=(("LLM", -1e6), ("VAL", -TRAVEL_UM - 100.0)),
        puts=(("VAL", 0.0),),
        posts={"LLS": [0], "DMOV": [0, 1]},
        ends={"RBV": 0.0, "MSTA": (DONE, MINUS_LIMIT)},
    ),
    Row(
        what="a lost servo, and no retries",
        source="manual, MSTA: 'The record is put into MAJOR STATE alarm if either SLIP_STALL or PROBLEM bits are "
        "detected'",
        given=(("axis", "fail"),),
        puts=(("VAL", 5.0),),
        posts={"DMOV": [0, 1], "RCNT": []},
        ends={"RBV": 0.0, "MISS": 0, "MSTA": (PROBLEM | DONE, MOVING)},
        alarm=(AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM),
    ),
    Row(
        what="retries used up",
        source="manual, RTRY: 'When the retry limit is reached, the motor record will declare the motion finished. "
        "If the desired position was not reached, the field MISS will be set to 1'; source, maybeRetry "
        "counts before it compares",
        given=(("axis", "fail"), ("RTRY", 3)),
        puts=(("VAL", 5.0),),
        posts={"DMOV": [0, 1], "RCNT": [1, 2, 3, 4], "MISS": [1]},
        ends={"RBV": 0.0},
        alarm=(AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM),
    ),
    Row(
        what="a retry that succeeds",
        source="manual, RDBD: 'the motor will try again, as if the user had requested a move from the now current "
        "position'",
        given=(("axis", "fail"), ("RTRY", 10_000), ("begin VAL", 5.0), ("until RCNT", 2)),
        puts=(("axis", "recover"), ("until DMOV", 1)),
        posts={"DMOV": [1], "MISS": []},
        ends={"RBV": 5.0, "MISS": 0},
    ),
    Row(
        what="the count of retries begins anew",
        source="source, do_work: 'reset retry counter if this is not a retry'",
        given=(("axis", "fail"), ("RTRY", 1), ("VAL", 5.0), ("axis", "recover")),
        puts=(("VAL", 6.0),),
        posts={"RCNT": [0], "MISS": [0], "DMOV": [0, 1]},
        ends={"RBV": 6.0},
    ),
    Row(
        what="RMOD In-Position",
        source="manual, RMOD: 'This mode does not send any motion commands to the controller during a retry'",
        given=(("axis", "fail"), ("RTRY", 2), ("RMOD", "In-Position"), ("DLY", 0.1)),
        puts=(("VAL", 5.0),),
        posts={"DMOV": [0, 1], "MOVN": [1, 0], "RCNT": [1, 2, 3], "MISS": [1]},
        ends={"RBV": 0.0},
        alarm=(AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM),
    ),
    Row(
        what="a relative move",
        source="manual, RLV: 'its value will be added to VAL, the field itself will immediately be reset to 0'",
        given=(("VAL", 2.5),),
        puts=(("RLV", -1.0),),
        posts={"DMOV": [0, 1]},
        ends={"VAL": 1.5, "RLV": 0.0, "RBV": 1.5},
    ),
    Row(
        what="a tweak",
        source="manual, TWF: 'the record will immediately reset it to 0, and the motor will move ... by a distance "
        "TWV'",
        given=(("TWV", 2.5),),
        puts=(("TWR", 1),),
        posts={"DMOV": [0, 1]},
        ends={"VAL": -2.5, "TWR": 0, "RBV": -2.5},
    ),
    Row(
        what="SYNC",
        source="manual, SYNC: 'sets the Drive fields (VAL/DVAL/RVAL) to their readback values'",
        given=(("VAL", 3.0),),
        puts=(("SYNC", 1),),
        posts={"DMOV": [], "MOVN": []},
        ends={"VAL": "RBV", "DVAL": "DRBV"},
    ),
    Row(
        what="SET with a variable offset",
        source="manual, SET: 'change the user-coordinate drive field (VAL), and the offset between user and dial "
        "coordinates (the OFF field), with corresponding changes in the user-coordinate limit fields'",
        given=(("VAL", 10.0), ("SET", "Set")),
        puts=(("VAL", 0.0),),
        posts={"MOVN": [], "DMOV": [0, 1]},
        ends={"OFF": -10.0, "DVAL": 10.0, "HLM": 1990.0, "RBV": 0.0},
    ),
    Row(
        what="SET with a frozen offset",
        source="manual, SET: 'When the offset is frozen (FOFF=1), writes to any drive field affect both user and "
        "dial values'",
        given=(("VAL", 10.0), ("FOFF", "Frozen"), ("SET", "Set")),
        puts=(("VAL", 0.0),),
        posts={"MOVN": []},
        ends={"OFF": 0.0, "DVAL": 0.0, "RBV": 0.0},
    ),
    Row(
        what="homing",
        source="manual, HOMF: 'The record sets HOM[F/R] to zero when the homing procedure is either completed or "
        "aborted'; MSTA: 'HOMED: the motor has been homed'",
        given=(("VAL", 30.0),),
        puts=(("HOMF", 1),),
        posts={"DMOV": [0, 1]},
        ends={"HOMF": 0, "ATHM": 1, "VAL": 0.0, "MSTA": (HOMED, PROBLEM)},
    ),
    Row(
        what="a velocity beyond VMAX",
        source="manual, VELO: 'silently forced by the motor record to be within the range set by VMAX'; VMAX 0 is "
        "no limit",
        puts=(("VELO", 1e9),),
        ends={"VELO": "VMAX"},
    ),
)


@pytest.mark.parametrize("row", TABLE, ids=[row.what for row in TABLE])
def test_a_documented_transition(row, motor_bench):
    async def walk():
        bench = motor_bench()
        await bench.start()
        for step in row.given:
            await _do(bench, *step)
        bench.posted.clear()
        for step in row.puts:
            await _do(bench, *step)
        assert {name: bench.of(name) for name in row.posts} == row.posts, row.source
        for name, wanted in row.ends.items():
            _check(bench, name, wanted)
        alarm = bench.record.motor.get_field("RBV").alarm
        assert (alarm.status, alarm.severity) == row.alarm

    asyncio.run(walk())


def test_a_put_completes_when_dmov_has_risen_and_not_before(motor_bench):
    """Source, process: the forward link, and with it the completion of a put, comes only with DMOV at 1."""

    async def walk():
        bench = motor_bench()
        await bench.start()
        await bench.put("VELO", 5.0)
        move = bench.begin("VAL", 20.0)
        await bench.until("MOVN", 1)
        while not move.done():
            assert bench.get("DMOV") == 0
            await asyncio.sleep(0.001)
        assert bench.get("DMOV") == 1

    asyncio.run(walk())


def test_the_settle_time_comes_before_dmov(motor_bench):
    """Manual, DLY: the time between motor controller done and motor record done."""

    async def walk():
        bench = motor_bench()
        await bench.start()
        await bench.put("DLY", 2.0)
        begun = bench.clock.time()
        await bench.put("VAL", 1.0)
        assert bench.clock.time() - begun >= 2.0

    asyncio.run(walk())


async def _do(bench, what, value):
    verb, _, name = what.rpartition(" ")
    if what == "axis":
        getattr(bench.axis, value)()
        await bench.record.refresh()
    elif verb == "begin":
        bench.begin(name, value)
    elif verb == "until":
        await bench.until(name, value)
    else:
        await bench.put(name, value)


def _check(bench, name, wanted):
    shown = bench.get(name)
    if name == "MSTA":
        bits_set, bits_clear = wanted
        assert (shown & bits_set, shown & bits_clear) == (bits_set, 0), f"MSTA {shown:#x}"
    elif isinstance(wanted, str) and name != "SPMG":
        assert shown == bench.get(wanted), f"{name} must be {wanted}"
    else:
        assert shown == (pytest.approx(wanted, abs=NEAR_UM) if isinstance(wanted, float) else wanted), name
