"""Scans that are paused and suspended anywhere, aborted, or lose an IOC or the service; `make nights` does far more.

Every fifth exposure is upset besides: a lost beam, a flicker of 20 ms, an injection out of turn, NaN.
"""

import pytest
from run_scenarios import run_scenarios
from verdicts import check_one_valid_exposure_a_point, check_safe, contaminated, sum_is_exact, upset_frames

pytestmark = pytest.mark.timeout(400)  # all scenarios run before the first test; a busy machine is slow
PROGRAM = "interruption_scenarios.py"
NAMED_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("interruptions")


@pytest.fixture(scope="module")
def told(folder):
    """All on one simulation, one after the other."""
    return run_scenarios(PROGRAM, folder, "messages:55/", "iocs_return", timeout_s=380)


def check(facts, points, folder):
    assert facts["error"] is None, (facts.get("where"), facts["error"])
    check_one_valid_exposure_a_point(facts, points)
    check_safe(facts)
    assert contaminated(facts, folder / "truth") == []


def test_an_interruption_anywhere_leaves_valid_documents_and_one_valid_exposure_a_point(told, folder):
    interrupted = [facts for facts in told["messages"] if facts["interrupted"]]
    assert len(interrupted) >= 4
    assert {facts["where"].split()[0] for facts in interrupted} == {"pause", "request", "suspend"}
    for facts in told["messages"]:
        check(facts, 9, folder)
    paused = [facts["paused"] for facts in interrupted if facts["paused"]]
    assert all(seen["shutter"] == "Closed" for seen in paused)


def test_no_exposure_that_the_truth_calls_gated_is_summed(told, folder):
    runs = [*told["messages"], *told["iocs_return"]]
    assert sum(upset_frames(facts, folder / "truth") for facts in runs) >= 5
    assert [contaminated(facts, folder / "truth") for facts in runs] == [[]] * len(runs)
    assert sum_is_exact(runs[0], folder / "truth")


def test_a_scan_goes_on_when_the_iocs_are_back(told, folder):
    (facts,) = told["iocs_return"]
    check(facts, 4, folder)
    assert any(point == 1 and "silent" in reason for _, point, reason in facts["voids"]), facts["voids"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_service_or_ioc_and_aborts_leave_a_beamline_that_works(tmp_path):
    told = run_scenarios(PROGRAM, tmp_path, "aborts:3", "service_returns", "sim_killed", timeout_s=580)
    for facts in told["aborts"]:
        check_safe(facts)
        if facts["aborted"]:
            assert facts["exit_status"] == "abort"
        else:
            check(facts, 2, tmp_path)
    (returned,) = told["service_returns"]
    check(returned, 3, tmp_path)
    killed, after = told["sim_killed"]
    assert killed["error"][0] in ("DetectorError", "NotConnectedError")
    assert killed["after_return_s"] < NAMED_WITHIN_S
    check_safe(killed)
    check(after, 2, tmp_path)
