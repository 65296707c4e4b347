import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.attenuator import LOWEST, achievable
from sim.beamline import Beamline
from sim.clock import SimClock
from sim.settings import SimSettings


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def beamline(now):
    return Beamline(SimSettings(), SimClock(1.0, lambda: now[0]))


def test_starts_dark_and_protected(beamline):
    conditions = beamline.conditions(1.0, 61.0)
    assert (conditions.open_s, conditions.injection_s) == (0.0, 0.0)
    assert (conditions.transmission, conditions.beam_stop_in, conditions.moving) == (1.0, True, False)


@given(start=st.floats(0.02, 1e5), exposure_ms=st.integers(1, 100_000))
def test_an_open_shutter_gives_exactly_the_exposure(start, exposure_ms):
    now = [0.0]
    beamline = Beamline(SimSettings(), SimClock(1.0, lambda: now[0]))
    beamline.shutter.command(to_open=True)
    exposure = exposure_ms / 1000.0
    assert beamline.conditions(start, start + exposure).open_s == exposure


def test_an_opening_shutter_gives_part_of_it(beamline, now):
    now[0] = 9.5
    there = beamline.shutter.command(to_open=True)
    assert beamline.shutter.state(9.5) == "Opening"
    assert beamline.shutter.state(there) == "Open"
    assert beamline.conditions(9.0, 10.0).open_s == pytest.approx(10.0 - there)


def test_a_closing_shutter_cuts_the_beam_at_once(beamline, now):
    beamline.shutter.command(to_open=True)
    now[0] = 5.0
    beamline.shutter.command(to_open=False)
    assert beamline.shutter.state(5.0) == "Closing"
    assert beamline.conditions(4.0, 6.0).open_s == pytest.approx(1.0)


def test_injections_count_only_while_the_shutter_is_open(beamline, now):
    beamline.shutter.command(to_open=True)
    assert beamline.conditions(230.0, 290.0).injection_s == 4.0
    assert beamline.conditions(238.0, 241.0).injection_s == 1.0
    assert beamline.conditions(180.0, 240.0).injection_s == 0.0
    now[0] = 241.0
    beamline.shutter.command(to_open=False)
    assert beamline.conditions(230.0, 290.0).injection_s == 1.0


def test_a_dump_means_no_photons(beamline, now):
    beamline.shutter.command(to_open=True)
    now[0] = 30.0
    beamline.ring.dump()
    assert beamline.conditions(10.0, 70.0).open_s == 20.0
    assert beamline.conditions(235.0, 250.0).injection_s == 0.0


def test_position_is_exactly_the_target_at_rest(beamline, now):
    now[0] = 1.0
    beamline.stage.x.move(0.1 + 0.2)
    beamline.stage.y.move(-7.3)
    rest = max(axis.rest_from for axis in beamline.stage.axes)
    conditions = beamline.conditions(rest, rest + 60.0)
    assert (conditions.x_um, conditions.y_um, conditions.z_um, conditions.moving) == (0.1 + 0.2, -7.3, 0.0, False)
    assert beamline.conditions(0.9, 1.01).moving


def test_attenuator_reports_what_it_can_do(beamline):
    beamline.attenuator.request(1e-3 * 1.2)
    assert beamline.attenuator.moving(0.1)
    assert beamline.conditions(1.0, 2.0).transmission == pytest.approx(1e-3)
    half = beamline.conditions(0.25, 0.75).transmission
    assert half == pytest.approx(0.5 * (1.0 + 1e-3))


@pytest.mark.parametrize(("wanted", "achieved"), [(1.0, 1.0), (0.4, 10**-0.5), (1e-7, 1e-7), (1e-12, LOWEST)])
def test_foils_come_in_half_decades(wanted, achieved):
    assert achievable(wanted) == pytest.approx(achieved)


@pytest.mark.parametrize("wanted", [0.0, -1.0, 1.1, float("nan")])
def test_no_foil_makes_that(wanted):
    with pytest.raises(ValueError, match="transmission must be above 0 and at most 1"):
        achievable(wanted)


def test_the_beam_stop_protects_only_when_fully_in(beamline, now):
    there = beamline.beam_stop.command(to_in=False)
    assert beamline.beam_stop.state(1.0) == "Moving"
    assert beamline.beam_stop.state(there) == "Out"
    assert not beamline.conditions(0.5, 1.0).beam_stop_in
    now[0] = 10.0
    there = beamline.beam_stop.command(to_in=True)
    assert not beamline.conditions(there - 0.1, there + 0.1).beam_stop_in
    assert beamline.conditions(there, there + 1.0).beam_stop_in


def test_an_exposure_needs_a_length(beamline):
    with pytest.raises(ValueError, match="the end of an exposure must be after its start"):
        beamline.conditions(5.0, 5.0)
