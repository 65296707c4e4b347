"""The plan looked at without running it: limits, summary, refusals before anything moves."""

import pytest
from bluesky import RunEngine
from bluesky.simulators import check_limits, summarize_plan
from bluesky.utils import FailedStatus, Msg
from ophyd.status import Status
from ophyd.utils import LimitError

from devices.errors import StageError
from plans.ensemble_scan import ensemble_scan
from plans.series_run import named_failures


def scan(beamline, *stops, step=10.0, exposure=60.0):
    return ensemble_scan([beamline.detector, beamline.live], beamline.stage, *stops, step, exposure)


@pytest.fixture
def event_loop_of_bluesky():
    """Start the loop in which bluesky looks at limits, and end it."""
    engine = RunEngine({})
    yield
    engine.loop.call_soon_threadsafe(engine.loop.stop)


@pytest.mark.usefixtures("event_loop_of_bluesky")
def test_check_limits_accepts_a_raster_within_reach(beamline):
    check_limits(scan(beamline, 0.0, 50.0, 0.0, 50.0))


def test_summarize_plan_shows_every_point(beamline, capsys):
    summarize_plan(scan(beamline, 0.0, 20.0, 0.0, 10.0, step=(10.0, 5.0)))
    text = capsys.readouterr().out
    assert text.count("Read [") == 9
    assert text.index("stage_x -> 20.0") < text.index("stage_y -> 5.0") < text.index("stage_y -> 10.0")


def test_a_corner_out_of_reach_is_refused_before_the_first_message(beamline):
    with pytest.raises(
        LimitError, match=r"stage_y must be sent between its soft limits -2000 and 2000 um, got 3000 um"
    ):
        next(scan(beamline, 0.0, 10.0, 0.0, 3000.0, step=(10.0, 1000.0)))


def test_an_exposure_that_never_fits_is_refused_before_the_first_message(beamline):
    with pytest.raises(ValueError, match=r"must be above 0 and below 235 s to fit between two injections, got 243 s"):
        next(scan(beamline, 0.0, 10.0, 0.0, 10.0, exposure=240.0))


def test_exactly_one_detector_exposes(beamline):
    with pytest.raises(
        ValueError, match=r"detectors must hold exactly one Eiger, got live; for example \[eig1m, live\]"
    ):
        next(ensemble_scan([beamline.live], beamline.stage, 0.0, 10.0, 0.0, 10.0, 10.0, 60.0))


def test_a_failed_device_is_told_in_its_own_words():
    def plan():
        yield Msg("null")
        failure = FailedStatus(Status())
        raise failure from StageError("stage_x must be there, got elsewhere")

    with pytest.raises(StageError, match="must be there, got elsewhere"):
        list(named_failures(plan()))
