"""The plan looked at without running it: limits, summary, refusals before anything moves."""

import ast
import inspect
import json

import pytest
from bluesky.simulators import check_limits, summarize_plan
from bluesky.utils import FailedStatus, Msg
from ophyd.status import Status
from ophyd.utils import LimitError

from devices.errors import StageError
from plans.adaptive_scan import adaptive_scan
from plans.background_scan import background_scan
from plans.direct_beam import find_direct_beam
from plans.ensemble_scan import ensemble_scan
from plans.series_run import named_failures
from plans.survey import survey


def scan(beamline, *stops, step=10.0, exposure=60.0):
    return ensemble_scan([beamline.detector, beamline.live], beamline.stage, *stops, step, exposure)


@pytest.mark.usefixtures("engine")
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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda b: (b.detector, b.stage),
            r"detectors must be a list with one Eiger, got eig1m; for example \[eig1m, live",
        ),
        (
            lambda b: ([b.detector, b.live], b.stage.x),
            r"stage must be the sample stage with its axes, got stage_x; for",
        ),
    ],
)
def test_what_is_given_in_the_wrong_place_is_named(beamline, given, message):
    with pytest.raises(ValueError, match=message):
        next(ensemble_scan(*given(beamline), 0.0, 10.0, 0.0, 10.0, 10.0, 60.0))


def every_plan(beamline):
    """Each plan with an area of nine points or fewer; what it says is left out."""
    devices, quiet = ([beamline.detector, beamline.live], beamline.stage), {"tell": lambda _: None}
    square = (0.0, 20.0, 0.0, 20.0)
    return {
        "rectangle": lambda: ensemble_scan(*devices, *square, 10.0, 57.0, **quiet),
        "polygon": lambda: ensemble_scan(*devices, polygon=[(0, 0), (20, 0), (0, 20)], step=10, exposure=57.0, **quiet),
        "list": lambda: ensemble_scan(*devices, points=[(0, 0), (50, 7)], exposure=57.0, **quiet),
        "default step": lambda: ensemble_scan(*devices, 0, 12, 0, 18, exposure=57.0, **quiet),
        "exposures by point": lambda: ensemble_scan(
            *devices, *square, 10.0, lambda x, _: 57.0 if x < 15 else 20.0, **quiet
        ),
        "survey": lambda: survey(*devices, *square, 10.0, **quiet),
        "adaptive": lambda: adaptive_scan(*devices, square, 10.0, 57.0, frames=5, **quiet),
        "background": lambda: background_scan(*devices, [(0, 0), (5, 5)], 57.0, 3, **quiet),
        "direct beam": lambda: find_direct_beam([beamline.detector], beamline.attenuator, beamline.beam_stop, **quiet),
    }


EXPOSURES = {
    "rectangle": 9, "polygon": 6, "list": 2, "default step": 6, "exposures by point": 9, "survey": 9, "adaptive": 9,
    "background": 6, "direct beam": 1,
}  # fmt: skip


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", EXPOSURES)
def test_every_plan_can_be_summarized_and_its_limits_checked(beamline, capsys, name):
    check_limits(every_plan(beamline)[name]())
    summarize_plan(every_plan(beamline)[name]())
    text = capsys.readouterr().out
    assert text.count("Read [") == EXPOSURES[name]
    messages = list(every_plan(beamline)[name]())
    triggers = [msg for msg in messages if msg.command == "trigger" and msg.obj is beamline.detector]
    assert len(triggers) == EXPOSURES[name]
    assert [msg.command for msg in messages].count("open_run") == (2 if name == "exposures by point" else 1)


@pytest.mark.usefixtures("engine")
def test_check_limits_finds_the_place_that_cannot_be_reached(beamline):
    with pytest.raises(LimitError, match="stage_x must be sent between its soft limits -2000 and 2000 um, got 2500"):
        check_limits(
            ensemble_scan(
                [beamline.detector, beamline.live], beamline.stage, points=[(0, 0), (2500, 0)], exposure=1.0,
                tell=lambda _: None,
            )
        )  # fmt: skip


def test_the_attenuator_goes_in_first_and_out_last(beamline):
    plan = find_direct_beam([beamline.detector], beamline.attenuator, beamline.beam_stop, tell=lambda _: None)
    watched = {beamline.attenuator: "attenuator", beamline.beam_stop: "stop", beamline.shutter: "shutter"}
    moves = [(watched[msg.obj], msg.args[0]) for msg in plan if msg.command == "set" and msg.obj in watched]
    assert [device for device, _ in moves] == ["shutter", "attenuator", "stop", "shutter", "stop", "attenuator"]
    assert [value for device, value in moves if device == "stop"] == ["out", "in"]


def test_points_that_are_skipped_or_done_are_left_out_and_the_others_keep_their_numbers(beamline):
    plan = ensemble_scan(
        [beamline.detector, beamline.live], beamline.stage, 0, 20, 0, 20, 10, 57.0, skip=[0, 8],
        done=[(20.0, 0.0), (10.05, 10.0), (77.0, 0.0)], tell=lambda _: None,
    )  # fmt: skip
    messages = list(plan)
    points = [msg.args[0]["point"] for msg in messages if msg.command == "set" and msg.obj is beamline.detector.point]
    assert points == [1, 3, 5, 6, 7]
    (start,) = [msg.kwargs for msg in messages if msg.command == "open_run"]
    assert (start["num_points"], start["points_left_out"], start["shape"]) == (5, 4, [3, 3])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "the area must be one of a rectangle .*, polygon and points, got none of them"),
        ({"points": [(0, 0)], "polygon": [(0, 0), (1, 0), (0, 1)]}, "got polygon and points"),
        ({"x_start": 0.0, "x_stop": 1.0}, "a rectangle must have x_start, x_stop, y_start and y_stop in um, got"),
        ({"points": [(0, 0)], "exposure": None}, "exposure must be given in s; for example exposure=60"),
        ({"points": [(0, 0)], "skip": [1]}, r"skip must hold indices of points, from 0 to 0, got \[1\]"),
        ({"points": [(0, 0)], "done": [(0, 0)]}, "points must be left to expose, got 1 of which all are skipped or"),
    ],
)
def test_areas_that_cannot_be_are_refused_before_the_first_message(beamline, options, words):
    with pytest.raises(ValueError, match=words):
        next(ensemble_scan([beamline.detector], beamline.stage, **{"step": 10.0, "exposure": 57.0, **options}))


def test_a_failed_device_is_told_in_its_own_words():
    def plan():
        yield Msg("null")
        failure = FailedStatus(Status())
        raise failure from StageError("stage_x must be there, got elsewhere")

    with pytest.raises(StageError, match="must be there, got elsewhere"):
        list(named_failures(plan()))


@pytest.mark.parametrize("plan", [ensemble_scan, survey, adaptive_scan, background_scan, find_direct_beam])
def test_a_queue_can_hold_every_plan(plan):
    """Queueservers read defaults as literals and check arguments, which come as JSON, by their annotations."""
    for parameter in inspect.signature(plan).parameters.values():
        if parameter.default is not inspect.Parameter.empty:
            ast.literal_eval(repr(parameter.default))
        assert "Collection[" not in str(parameter.annotation)
        assert "Iterable[" not in str(parameter.annotation)


def test_numbers_may_come_as_lists_as_json_has_them(beamline):
    devices, quiet = ([beamline.detector, beamline.live], beamline.stage), {"tell": lambda _: None}
    for plan in (
        ensemble_scan(*devices, 0, 12, 0, 18, [6, 18], [57.0] * 6, beam=[6, 18], **quiet),
        ensemble_scan(*devices, polygon=[[0, 0], [20, 0], [0, 20]], step=[10, 10], exposure=57, done=[[0, 0]], **quiet),
        adaptive_scan(*devices, [0, 20, 0, 20], [10, 10], 57, **quiet),
        adaptive_scan(*devices, [[0, 0], [20, 0], [0, 20]], 10, 57, **quiet),
        background_scan(*devices, [[0, 0]], 57, **quiet),
    ):
        start = next(msg for msg in plan if msg.command == "open_run").kwargs
        json.dumps(start)
