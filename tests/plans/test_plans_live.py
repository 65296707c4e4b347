"""Direct beam, survey, adaptive scan, background and resume on the simulated beamline with the live service."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sim.detector import GEOMETRIES
from sim.sample import experiment
from sim.scene import Scene

PROGRAM = Path(__file__).with_name("plan_scenarios.py")
SAFE = {"shutter": "Closed", "armed": 0, "acquire": 0}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Give what was seen in each scenario; all run one after the other on one simulation."""
    folder = tmp_path_factory.mktemp("plans")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), str(folder)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {name: [line for line in lines if line["scenario"] == name] for name in {line["scenario"] for line in lines}}


def events(facts, *names):
    return [[event[name] for name in names] for event in facts["events"]["primary"]]


def check_safe(facts):
    assert facts["error"] is None
    assert facts["exit_status"] == "success"
    assert {name: facts["end"][name] for name in SAFE} == SAFE


def test_the_direct_beam_is_found_where_it_truly_hits_and_its_frame_is_not_summed(told):
    (facts,) = told["direct_beam"]
    check_safe(facts)
    truth = GEOMETRIES["eig1m"]
    ((row, column, header_row, header_column, rate, stop),) = events(
        facts, "direct_beam_row", "direct_beam_column", "direct_beam_header_row", "direct_beam_header_column",
        "direct_beam_peak_rate_per_s", "beam_stop_status",
    )  # fmt: skip
    assert (row, column) == pytest.approx((truth.true_row, truth.true_col), abs=0.1)
    assert (header_row, header_column) == (truth.header_row, truth.header_col)
    assert 0 < rate < 1e5
    assert stop == "Out"
    assert facts["stop"] == "In"
    assert facts["transmission"] == [1.0, 1.0]
    assert facts["purpose"] == "alignment"
    assert {verdict for _, verdict, *_ in facts["ledger"]} == {"gated"}


def test_a_survey_maps_the_chip_and_the_adaptive_scan_goes_by_it(told):
    survey, scan = told["surveyed"]
    for facts in (survey, scan):
        check_safe(facts)
    scene = Scene(experiment("au-sio2"), 0)
    kinds = {"accepted": "sample", "low_intensity": "silicon", "streak": "edge", "background": "empty"}
    truth = [[kinds[scene.at(x, y).label] for x in (-60.0, -40.0, -20.0, 0.0)] for y in (0.0, 20.0)]
    # The first frames come before the service can tell a streak.
    seen = zip(sum(truth, []), sum(scan["kinds"], []), strict=True)  # noqa: RUF017 - eight words
    assert all(told == true or true == "edge" for true, told in seen)
    assert [reason for *_, reason in scan["voids"]].count("paused") == 1
    points = [index for (index,) in events(scan, "eig1m_point_index")]
    assert len(points) == len(set(points))
    assert scan["accepted"] == 8
    assert "8 frames accepted" in scan["said"]
    places = events(scan, "stage_x_user_setpoint", "stage_y_user_setpoint")
    assert len(places) <= 11
    met = [scene.at(x, y).label for x, y in places]
    assert met.count("accepted") == 8


def test_a_background_scan_is_summed_as_background(told):
    (facts,) = told["background"]
    check_safe(facts)
    assert facts["background"] == 6
    assert [verdict for _, verdict, *_ in facts["ledger"]] == ["background"] * 6


def test_a_scan_that_was_aborted_is_taken_up_where_it_was(told):
    first, rest = told["resumed"]
    assert first["exit_status"] == "abort"
    taken = [index for (index,) in events(first, "eig1m_point_index")]
    assert taken == [0, 1, 2]
    assert rest["done"] == [[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]]
    check_safe(rest)
    assert [index for (index,) in events(rest, "eig1m_point_index")] == [3, 4, 5]
    assert rest["start"]["points_left_out"] == 3
