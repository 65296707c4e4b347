"""The ensemble scan on the simulated beamline with the live service, left alone and disturbed."""

import pytest
from run_scenarios import run_scenarios
from verdicts import check_one_valid_exposure_a_point, check_safe, primary

pytestmark = pytest.mark.timeout(400)  # all scenarios run before the first test; a busy machine is slow
QUICK = (
    "plain",
    "pause",
    "abort",
    "dump",
    "injected",
    "shutter",
    "hopeless",
    "disarmed",
    "moved",
    "somebody_triggers",
    "corrupt",
    "refused",
    "lost",
    "service_dies",
)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Give what was seen in each quick scenario; all run one after the other on one simulation."""
    return run_scenarios("scan_scenarios.py", tmp_path_factory.mktemp("scans"), *QUICK, timeout_s=380)


def test_a_scan_left_alone_takes_each_point_once_in_a_snake(told):
    (facts,) = told["plain"]
    check_one_valid_exposure_a_point(facts, 9)
    check_safe(facts)
    x = [0.0, 10.0, 20.0, 20.0, 10.0, 0.0, 0.0, 10.0, 20.0]
    y = [0.0] * 3 + [10.0] * 3 + [20.0] * 3
    assert primary(facts, "stage_x_user_setpoint", "stage_y_user_setpoint") == [
        list(pair) for pair in zip(x, y, strict=True)
    ]
    assert [row[3:] for row in facts["ledger"]] == [list(pair) for pair in zip(x, y, strict=True)]
    for name, wanted in (("stage_x", x), ("stage_y", y)):
        assert [event[0] for event in primary(facts, name)] == pytest.approx(wanted, abs=0.2)


def test_the_start_document_says_what_was_asked(told):
    start = told["plain"][0]["start"]
    assert start["plan_name"] == "ensemble_scan"
    assert start["shape"] == [3, 3]
    assert start["extents"] == [[0.0, 20.0], [0.0, 20.0]]
    assert start["num_points"] == 9
    assert start["sample"] == "au-sio2"
    assert start["exposure_s"] == 10.0
    assert start["plan_args"]["step"] == [10.0, 10.0]


def test_a_pause_closes_the_shutter_and_voids_the_exposure_and_resume_repeats_it(told):
    (facts,) = told["pause"]
    assert facts["paused"] == {"shutter": "Closed", "armed": 1, "acquire": 1, "paused": 1}
    assert facts["voids"] == [[1, 1, "paused"]]
    assert facts["end"]["paused"] == 0
    check_one_valid_exposure_a_point(facts, 2)
    check_safe(facts)


def test_an_abort_in_a_long_exposure_disarms_and_the_next_scan_works(told):
    first, second, after = told["abort"]
    for facts in (first, second):
        assert facts["exit_status"] == "abort"
        assert facts["paused"]["armed"] == 1
        # The exposure that the abort dropped was never announced: nothing is missing.
        assert facts["counts"] == {"received": 1, "gated": 0, "missing": 0}
        check_safe(facts)
    check_one_valid_exposure_a_point(after, 2)


def test_an_exposure_that_lost_the_beam_is_void_and_repeated_when_it_is_back(told):
    (facts,) = told["dump"]
    assert facts["voids"] == [[2, 2, "no beam"]]
    check_one_valid_exposure_a_point(facts, 4)


def test_an_exposure_that_met_an_injection_out_of_turn_is_void_and_repeated(told):
    (facts,) = told["injected"]
    assert facts["voids"] == [[1, 1, "injection"]]
    check_one_valid_exposure_a_point(facts, 4)


def test_an_exposure_with_the_shutter_closed_is_void_and_repeated(told):
    (facts,) = told["shutter"]
    assert facts["voids"] == [[1, 1, "shutter not open"]]
    check_one_valid_exposure_a_point(facts, 4)


def test_a_point_that_never_succeeds_ends_the_scan_with_the_reasons(told):
    (facts,) = told["hopeless"]
    name, text = facts["error"]
    assert name == "PointError"
    assert "point 0 at (0, 0) um must have a valid exposure within 2 repeats, got shutter not open, shutter" in text
    assert facts["exit_status"] == "fail"
    assert len(facts["voids"]) == 3
    assert facts["counts"]["gated"] in (2, 3)  # nobody waits for the last frame, and the abort may drop it
    check_safe(facts)


def test_a_detector_that_somebody_else_stops_is_named(told):
    (facts,) = told["disarmed"]
    assert facts["error"][0] == "DetectorError"
    assert "25A:EIG1M:cam1: must stay armed until frame 1 of series" in facts["error"][1]
    check_safe(facts)


def test_a_stage_that_somebody_else_stops_is_named(told):
    (facts,) = told["moved"]
    assert facts["error"][0] == "StageError"
    assert "stage_x must be within 0.2 um of its target 1900 um, got" in facts["error"][1]
    assert len(primary(facts, "seq_num")) == 1
    check_safe(facts)


def test_a_detector_that_somebody_else_triggers_is_named(told):
    (facts,) = told["somebody_triggers"]
    assert facts["error"][0] == "DetectorError"
    assert "somebody else triggers this detector" in facts["error"][1]
    # Which of the frames from there on belongs to which point, nobody knows: none is summed.
    frames = {frame: (verdict, point) for frame, verdict, point, *_ in facts["ledger"]}
    assert all(frames[frame] == ("gated", -1) for frame in frames if frame >= facts["voids"][0][0])
    check_safe(facts)


def test_a_frame_that_arrives_corrupt_is_void_and_its_point_repeated(told):
    (facts,) = told["corrupt"]
    ((point, reason),) = [void[1:] for void in facts["voids"] if void[0] == 15]
    assert reason == "corrupt"
    assert primary(facts, "eig1m_point_index") == [[n] for n in range(16)]
    assert [row[:2] for row in facts["ledger"] if row[1] == "corrupt"] == [[15, "corrupt"]]
    assert [row[0] for row in facts["ledger"] if row[2] == point] == [16]
    assert facts["exit_status"] == "success"
    assert facts["counts"]["missing"] == 0
    assert facts["state"] == "incomplete"


def test_a_point_that_the_service_refuses_is_named_and_the_next_one_is_taken(told):
    (facts,) = told["refused"]
    assert facts["told"][0].startswith(
        "live service must take point 0 (series 1, frame 4294967296), got: frame must be"
    )
    assert facts["told"][1] == ""


def test_a_frame_that_does_not_come_ends_the_scan_with_its_number(told):
    (facts,) = told["lost"]
    assert facts["error"][0] == "FrameTimeoutError"
    assert "frame 1 of series" in facts["error"][1]
    assert "must reach the live service within 1 s of its trigger, got frame 0 of series" in facts["error"][1]
    assert facts["counts"]["missing"] == 1
    check_safe(facts)


def test_a_service_that_does_not_come_back_ends_the_scan_with_what_is_silent(told):
    (facts,) = told["service_dies"]
    assert facts["error"][0] == "NotConnectedError"
    assert "XEDM:Series and 1 more must answer again within 1 s, got silence" in facts["error"][1]
    check_safe(facts)
