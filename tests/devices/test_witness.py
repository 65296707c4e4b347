"""What spoils an exposure: injections in both styles, lost beam, a shutter that is not open, silence."""

import math

import pytest
from ophyd.sim import make_fake_device

from devices import witness as witness_module
from devices.exposure import SeriesPlan, Void, VoidedExposure
from devices.severity import INVALID
from devices.shutter import FastShutter
from devices.storage_ring import StorageRing
from devices.witness import Witness


@pytest.fixture
def scene():
    """Give ring and shutter that the test moves."""
    ring = make_fake_device(StorageRing)(current="c", countdown="t", name="ring")
    shutter = make_fake_device(FastShutter)(command="c", status="s", name="shutter")
    ring.current.sim_put(500.0)
    ring.countdown.sim_put(100.0)
    ring.current.alarm_severity = ring.countdown.alarm_severity = 0
    shutter.status.sim_put("Open")
    return ring, shutter


def test_nothing_happened(scene):
    ring, shutter = scene
    with Witness(ring, shutter) as witness:
        witness.first_look()
        for countdown in (90.0, 60.0, 40.0):
            ring.countdown.sim_put(countdown)
        witness.look()
    assert witness.verdict() == ""
    assert witness.elapsed_s() == 60.0


@pytest.mark.parametrize("countdowns", [(20.0, 1.0, 239.0), (20.0, 0.0, 0.0), (20.0, 0.0, 240.0), (20.0, math.nan)])
def test_an_injection_spoils_in_both_styles_of_countdown(scene, countdowns):
    ring, shutter = scene
    with Witness(ring, shutter) as witness:
        for countdown in countdowns:
            ring.countdown.sim_put(countdown)
        witness.look()
    assert witness.verdict() == "injection"


def test_a_first_look_that_came_late_does_not_tell_how_long_the_exposure_was(scene, monkeypatch):
    ring, shutter = scene
    monkeypatch.setattr(witness_module, "LATE_S", -1.0)
    with Witness(ring, shutter) as witness:
        witness.first_look()
        ring.countdown.sim_put(99.0)
        witness.look()
    assert math.isnan(witness.elapsed_s())
    assert witness.verdict() == ""


def test_an_injection_that_no_monitor_told_of_is_seen_by_the_looks(scene):
    ring, shutter = scene
    with Witness(ring, shutter) as witness:
        witness.first_look()
        ring.countdown.clear_sub(witness._hear_countdown, event_type=ring.countdown.SUB_VALUE)
        ring.countdown.sim_put(235.0)
        witness.look()
    assert witness.verdict() == "injection"
    assert math.isnan(witness.elapsed_s())


@pytest.mark.parametrize("dip", [0.0, math.nan, 5.0])
def test_a_dip_of_the_current_between_two_looks_spoils(scene, dip):
    ring, shutter = scene
    with Witness(ring, shutter) as witness:
        ring.current.sim_put(dip)
        ring.current.sim_put(500.0)
        witness.look()
    assert witness.verdict() == "no beam"


def test_an_invalid_countdown_spoils(scene):
    ring, shutter = scene
    with Witness(ring, shutter) as witness:
        ring.countdown.alarm_severity = INVALID
        witness.look()
    assert witness.verdict() == "injection"


def test_a_flicker_of_the_shutter_spoils(scene):
    ring, shutter = scene
    with Witness(ring, shutter) as witness:
        for word in ("Open", "Closing", "Closed", "Opening", "Open"):
            shutter.status.sim_put(word)
        witness.look()
    assert witness.verdict() == "shutter not open"


@pytest.mark.parametrize("heard_before", [(), ("Opening",), ("Opening", "Open")])
def test_a_flicker_spoils_whatever_was_heard_of_the_way_to_open(scene, heard_before):
    ring, shutter = scene
    with Witness(ring, shutter) as witness:
        for word in heard_before:
            shutter.status.sim_put(word)
        witness.opened()
        for word in ("Closing", "Closed", "Opening", "Open"):
            shutter.status.sim_put(word)
        witness.look()
    assert witness.verdict() == "shutter not open"


def test_a_shutter_whose_record_means_nothing_spoils(scene):
    ring, shutter = scene
    with Witness(ring, shutter) as witness:
        witness.opened()
        witness._hear_shutter(value="Open", severity=INVALID)
        witness.look()
    assert witness.verdict() == "shutter not open"


def test_news_from_the_way_to_open_do_not_spoil(scene):
    ring, shutter = scene
    with Witness(ring, shutter) as witness:
        shutter.status.sim_put("Opening")  # sent before the look that found it open, heard after it
        shutter.status.sim_put("Open")
        witness.look()
    assert witness.verdict() == ""


def test_void_exposures_are_shown_one_by_one():
    voided = VoidedExposure(name="voided")
    voided.waiting.append(Void(series=1, frame=3, point=2, reason="injection"))
    voided.waiting.append(Void(series=1, frame=4, point=2, reason="no beam"))
    voided.trigger().wait(1)
    assert [voided.frame.get(), voided.reason.get()] == [3, "injection"]
    voided.trigger().wait(1)
    assert [voided.frame.get(), voided.reason.get()] == [4, "no beam"]


@pytest.mark.parametrize(
    ("changes", "words"), [({"exposure_s": 0.0}, "exposure must be above 0 s"), ({"points": 0}, "at least 1")]
)
def test_a_series_that_no_detector_can_do_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        SeriesPlan(**({"exposure_s": 1.0} | changes))


def test_a_series_has_spare_triggers():
    assert SeriesPlan(exposure_s=1.0, points=400, spare=50).triggers == 450
