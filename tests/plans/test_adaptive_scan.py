"""Survey and adaptive scan over the simulated sample, and the plain raster beside them."""

import dataclasses

import numpy as np
import pytest

import sim.scene
from plans.adaptive_scan import ALIKE_STEPS, Guide, adaptive_scan
from plans.ensemble_scan import ensemble_scan
from plans.sample_map import SampleMap
from plans.series_run import PointOutcome
from plans.shapes import within
from plans.survey import STEP_UM, last_survey, survey
from plans.survey_map import map_of, reference_total
from plans.trajectory import snake_raster
from sim.sample import experiment
from sim.scene import Scene

SQUARE = (-80.0, 110.0, 0.0, 190.0)
STEP = 10.0
TOTALS = {"accepted": 1000, "low_intensity": 100, "streak": 1300, "background": 450}


@pytest.fixture
def wide_ribs(monkeypatch):
    """A chip with silicon ribs so wide that two places in five are silicon or empty membrane."""
    monkeypatch.setattr(sim.scene, "RIB_UM", 80.0)
    return Scene(experiment("au-sio2"), 0)


def labels(scene, points):
    return [scene.at(point.x_um, point.y_um).label for point in points]


def quiet(_):
    """Hear and forget."""


def test_survey_and_adaptive_scan_spend_30_percent_fewer_exposures_than_the_raster(simulated, engine, wide_ribs):
    raster = list(snake_raster((*SQUARE[:2], STEP), (*SQUARE[2:], STEP)))
    met = labels(wide_ribs, raster)
    silicon_or_empty = (met.count("low_intensity") + met.count("background")) / len(met)
    assert 0.38 <= silicon_or_empty <= 0.43
    wanted = met.count("accepted")  # every accepted frame that the raster gives
    beamline = simulated.beamline(wide_ribs)
    said = []
    engine(survey(beamline.detectors, beamline.stage, *SQUARE, tell=quiet))
    engine(adaptive_scan(beamline.detectors, beamline.stage, step=STEP, exposure=57.0, frames=wanted, tell=said.append))
    assert beamline.live.frames.accepted.get() == wanted
    assert beamline.detector.made <= 0.7 * len(raster)
    assert f"{wanted} frames accepted" in said[-1]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_chips_are_as_cheap(wide_ribs, seed):
    """The two plans' own choices on other chips, without a RunEngine."""
    del wide_ribs  # only its silicon is wanted
    scene = Scene(experiment("au-sio2"), seed)

    def meet(point):
        label = scene.at(point.x_um, point.y_um).label
        return PointOutcome(point=point, verdict=label, total=TOTALS[label], accepted=0, resolution_m=float("nan"))

    raster, coarse = (snake_raster((*SQUARE[:2], step), (*SQUARE[2:], step)) for step in (STEP, STEP_UM))
    wanted = labels(scene, raster).count("accepted")
    guide = Guide(list(raster), length_um=ALIKE_STEPS * STEP, frames=wanted, resolution_m=None)
    map_of(SQUARE, coarse, [meet(point) for point in coarse]).teach(guide.seen)
    accepted = 0
    for point in guide.points():
        met = meet(point)
        accepted += met.verdict == "accepted"
        guide.learn(dataclasses.replace(met, accepted=accepted))
    assert accepted == wanted
    assert len(coarse) + len(guide.taken) <= 0.7 * len(raster)


def test_a_gated_exposure_is_made_again_and_ends_up_once_in_the_documents(simulated, engine, wide_ribs):
    beamline = simulated.beamline(wide_ribs)
    beamline.detector.spoil = {3, 4, 9}
    events = []
    engine.subscribe(lambda name, doc: events.append(doc["data"]) if name == "event" else None)
    engine(adaptive_scan(beamline.detectors, beamline.stage, (0, 40, 0, 20), STEP, 57.0, frames=8, tell=quiet))
    kept = [data["eig1m_point_index"] for data in events if "eig1m_point_index" in data]
    assert len(kept) == len(set(kept))
    assert len([data for data in events if "eig1m_voided_frame" in data]) == 3
    assert beamline.live.frames.accepted.get() == 8


def test_what_the_service_alone_has_vetoed_is_made_again_too(simulated, engine, wide_ribs, monkeypatch):
    beamline = simulated.beamline(wide_ribs)
    show, shown = beamline.detector._show, []

    def veto_the_third(label):
        shown.append(label)
        show("gated" if len(shown) == 3 else label)

    monkeypatch.setattr(beamline.detector, "_show", veto_the_third)
    events = []
    engine.subscribe(lambda name, doc: events.append(doc["data"]) if name == "event" else None)
    engine(ensemble_scan(beamline.detectors, beamline.stage, 0, 40, 0, 0, STEP, 57.0, tell=quiet))
    assert beamline.detector.made == 6
    assert [(data["eig1m_point_index"], data["eig1m_frame"]) for data in events] == [
        (0, 0), (1, 1), (2, 3), (3, 4), (4, 5),
    ]  # fmt: skip


def test_it_ends_when_the_image_is_sharp_enough(simulated, engine, wide_ribs):
    beamline = simulated.beamline(wide_ribs)
    beamline.live.frames.accepted.subscribe(
        lambda value, **_: beamline.live.resolution.sim_put(4e-9 if value >= 12 else 9e-9), run=False
    )
    said = []
    engine(
        adaptive_scan(
            beamline.detectors, beamline.stage, (0, 40, 0, 190), STEP, 57.0, resolution=5e-9, tell=said.append
        )
    )
    assert beamline.live.frames.accepted.get() == 12
    assert "resolution 4.00 nm" in said[-1]


def test_it_says_when_what_was_wanted_cannot_be_had(simulated, engine, wide_ribs):
    beamline = simulated.beamline(wide_ribs)
    said = []
    engine(
        adaptive_scan(beamline.detectors, beamline.stage, (-110, -90, 0, 50), STEP, 57.0, frames=99, tell=said.append)
    )
    assert "0 frames accepted" in said[-1]
    assert "no point is left that promises sample: scan another area" in said[-1]
    assert beamline.detector.made < 18


def test_the_areas_of_a_survey_hold_the_windows_and_little_else(simulated, engine, wide_ribs):
    beamline = simulated.beamline(wide_ribs)
    said = []
    engine(survey(beamline.detectors, beamline.stage, -120, 240, 0, 240, 40, tell=said.append))
    found = last_survey()
    assert said[-1] == str(found)
    areas = found.areas
    fine = list(snake_raster((-120, 240, 10), (0, 240, 10)))
    places = np.array([(point.x_um, point.y_um) for point in fine])
    proposed = np.any([within(places, np.array(area), 1e-6) for area in areas], axis=0)
    met = np.array(labels(wide_ribs, fine))
    assert proposed[met == "accepted"].mean() > 0.9
    assert proposed[met == "low_intensity"].mean() < 0.15
    assert len(areas) >= 2
    width = max(x for x, _ in areas[0]) - min(x for x, _ in areas[0])
    assert 100 < width < 160  # a membrane of 120 um, on a slant


def outcome(point, total, verdict=""):
    return PointOutcome(point=point, verdict=verdict, total=total, accepted=0, resolution_m=float("nan"))


def test_a_survey_map_reads_like_the_chip():
    raster = snake_raster((0, 20, 10), (0, 10, 10))
    totals = {(0, 0): 100, (1, 0): 1000, (2, 0): 1020, (2, 1): 990, (1, 1): 450, (0, 1): 1300}
    outcomes = [
        outcome(point, totals[point.column, point.row], "streak" if (point.column, point.row) == (0, 1) else "")
        for point in raster
    ]
    text = str(map_of((0, 20, 0, 10), raster, outcomes))
    assert text.splitlines()[:3] == [
        "      10  / . #",
        "       0  x # #",
        "    y/um  x from 0 to 20 um; # sample 3, . empty 1, x silicon 1, / edge 1",
    ]
    assert "area 0:" in text


def test_a_given_reference_tells_a_chip_without_sample():
    raster = snake_raster((0, 20, 10), (0, 0, 10))
    outcomes = [outcome(point, 100) for point in raster]
    assert map_of((0, 20, 0, 0), raster, outcomes).counts() == {"sample": 3}
    silicon = map_of((0, 20, 0, 0), raster, outcomes, reference=1000.0)
    assert silicon.counts() == {"silicon": 3}
    assert silicon.areas == ()
    assert "no place with sample" in str(silicon)


def test_the_reference_is_not_a_few_bright_frames():
    assert reference_total([100] * 30 + [1000] * 10 + [1010] * 10 + [5000]) == pytest.approx(1000, abs=10)
    assert np.isnan(reference_total([]))


def test_a_map_that_knows_nothing_promises_everything_and_learns():
    seen = SampleMap(length_um=40.0)
    assert seen.promise(0, 0) == 1.0
    for x in range(0, 100, 10):
        seen.learn(x, 0, 1.0 if x < 50 else 0.0)
    promises = [seen.promise(x, 10) for x in range(0, 100, 10)]
    assert min(promises[:4]) > 0.7
    assert max(promises[6:]) < 0.3
    assert promises[3:7] == sorted(promises[3:7], reverse=True)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"resolution": 4.0}, "resolution must be above 0 and below 1e-6 m, got 4.0; 4 nm is 4e-9"),
        ({"exposure": None}, "exposure must be given in s"),
    ],
)
def test_wishes_that_cannot_be_are_refused_before_anything_moves(simulated, wide_ribs, wishes, words):
    beamline = simulated.beamline(wide_ribs)
    wishes = {"exposure": 57.0, "step": STEP, **wishes}
    with pytest.raises(ValueError, match=words):
        next(adaptive_scan(beamline.detectors, beamline.stage, (0, 40, 0, 20), **wishes))
