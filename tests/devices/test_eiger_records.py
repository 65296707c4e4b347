# ruff: noqa: ARG001 - the running simulation is all that is wanted of its fixture
"""The Eiger's records on the simulated IOC and on a C IOC, in the releases there are; what is refused is named."""

import pytest
from ophyd import do_not_wait_for_lazy_connection
from ophyd.sim import make_fake_device

from devices import eiger_arm, waiting
from devices.beamline import CAMERA_SIGNALS, NAMES, build_beamline
from devices.eiger_cam import EigerCam
from devices.errors import DetectorError, LiveServiceError, NotConnectedError
from devices.exposure import SeriesPlan

CONNECT_S = 20.0


@pytest.fixture(scope="module")
def beamline(place, request):
    """Give the devices; there is no live service."""
    return build_beamline(place.names | {"detector": f"{place.prefix}EIG1M:cam1:"})


@pytest.fixture(scope="module")
def connected(camera):
    """Give the camera with the records of its release connected."""
    with do_not_wait_for_lazy_connection(camera):
        signals = [getattr(camera, name) for name in CAMERA_SIGNALS]
    for signal in signals:
        signal.wait_for_connection(CONNECT_S)
    camera.leave_out_absent()
    return camera


def test_what_a_release_lacks_is_left_out_of_the_configuration(connected):
    absent = connected.leave_out_absent(0.1)
    if connected.name == "R2-7":
        assert absent == ("bit_depth", "auto_summation", "pixel_mask_applied", "countrate_corr_applied")
    else:
        assert absent == ()
    assert (f"{connected.name}_bit_depth" in connected.read_configuration()) == (not absent)
    assert connected.describe_configuration().keys() == connected.read_configuration().keys()


def test_every_signal_of_the_class_connects_to_the_newest_release(xedm_beamline, c_ioc):
    for prefix in (xedm_beamline.prefix, c_ioc.prefix):
        cam = EigerCam(f"{prefix}EIG1M:cam1:", name="cam")
        cam.wait_for_connection(all_signals=True, timeout=CONNECT_S)
        assert cam.model.get() == "Dectris Eiger 1M"


def test_a_scan_sets_the_detector_up_whatever_the_order_of_the_states(connected):
    plan = SeriesPlan(exposure_s=12.5, points=4, spare=3)
    eiger_arm.configure(connected, plan, "none", "all")
    shown = {
        name: getattr(connected, name).get(as_string=True)
        for name in ("trigger_mode", "data_source", "stream_hdr_detail", "compression_algo", "shutter_mode")
    }
    assert shown["trigger_mode"] == "Internal Series"
    assert (shown["data_source"], shown["stream_hdr_detail"], shown["shutter_mode"]) == ("None", "All", "None")
    assert shown["compression_algo"].replace(" ", "") == "BSLZ4"
    assert connected.acquire_time.get() == pytest.approx(12.5)
    assert (connected.num_triggers.get(), connected.num_images.get()) == (7, 1)
    assert (connected.manual_trigger.get(), connected.stream_enable.get()) == (1, 1)
    eiger_arm.configure(connected, plan, "filewriter", "basic")
    assert connected.stream_hdr_detail.get(as_string=True) == "Basic"
    assert connected.data_source.get(as_string=True) == "FileWriter"
    eiger_arm.configure(connected, plan, "none", "all")


def test_a_clamped_setting_is_named(connected):
    with pytest.raises(DetectorError, match=rf"{connected.prefix}NumTriggers must become -5 within 0.5 s, got 1;"):
        connected.write(connected.num_triggers, -5, timeout_s=0.5)


def test_a_state_that_no_release_has_is_named_with_those_there_are(connected):
    with pytest.raises(
        DetectorError, match=rf"{connected.prefix}DataSource must have a state 'Disk', got 'None', 'File"
    ):
        connected.choose(connected.data_source, "Disk")


def test_arming_begins_a_series_and_disarming_ends_it(connected):
    eiger_arm.configure(connected, SeriesPlan(exposure_s=1.0, points=2), "none", "none")
    first = eiger_arm.arm(connected)
    assert connected.armed.get(use_monitor=False) == 1
    eiger_arm.disarm(connected)
    assert (connected.armed.get(use_monitor=False), connected.acquire.get(use_monitor=False)) == (0, 0)
    second = eiger_arm.arm(connected)
    eiger_arm.disarm(connected)
    assert second == first + 1


def test_a_record_that_is_no_enum_is_named():
    cam = make_fake_device(EigerCam)("C:", name="cam")
    with do_not_wait_for_lazy_connection(cam):
        signal = cam.data_source
    signal.setpoint_pvname = "C:DataSource"
    with pytest.raises(DetectorError, match=r"C:DataSource must have a state 'none', got no enum; is this an ADEiger"):
        cam.choose(signal, "none")


def test_without_the_live_service_the_names_of_what_is_silent_are_told(beamline):
    with pytest.raises(NotConnectedError, match=r"PVs must answer within 1 s, got nothing from live: NOWHERE:"):
        beamline.connect(1.0)


def test_a_beamline_that_is_not_there_is_told_in_a_sentence(xedm_beamline):
    nowhere = build_beamline({name: f"NOWHERE:{name}:" for name in NAMES})
    with pytest.raises(
        NotConnectedError,
        match=r"all \d+ PVs must answer within 0.5 s, got nothing from stage: NOWHERE:.* and \d+ more; ",
    ):
        nowhere.connect(0.5)


def test_arming_without_the_live_service_leaves_the_detector_disarmed(beamline, monkeypatch):
    monkeypatch.setattr(eiger_arm, "HEADER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(waiting, "FIRST_VALUE_TIMEOUT_S", 0.2)
    detector = beamline.detector
    with pytest.raises((DetectorError, LiveServiceError), match="live service"):
        detector.stage()
    assert not detector.armed_here
    assert detector.cam.armed.get(use_monitor=False) == 0
    assert detector.shutter.is_closed


def test_a_trigger_without_a_stage_is_refused(beamline):
    with pytest.raises(DetectorError, match="eig1m must be staged before it is triggered"):
        beamline.detector.trigger()


def test_missing_names_are_told():
    with pytest.raises(ValueError, match="got none for stage_x, attenuator"):
        build_beamline({name: name for name in NAMES if name not in ("stage_x", "attenuator")})
