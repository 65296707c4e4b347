# ruff: noqa: ARG001 - the running simulation is all that is wanted of its fixture
"""The Eiger's records on the simulated IOC: all connect, and what is refused is named."""

import pytest

from devices import eiger_arm
from devices.beamline import build_beamline
from devices.eiger_cam import EigerCam
from devices.errors import DetectorError, LiveServiceError, NotConnectedError

NAMES = {
    "stage_x": "25A:PIEZO:X",
    "stage_y": "25A:PIEZO:Y",
    "stage_z": "25A:PIEZO:Z",
    "detector": "25A:EIG1M:cam1:",
    "shutter_command": "25A:FS:Cmd",
    "shutter_status": "25A:FS:Sts",
    "attenuator": "25A:ATT:Transmission",
    "attenuator_moving": "25A:ATT:Moving",
    "beam_stop": "25A:BS:Cmd",
    "beam_stop_status": "25A:BS:Sts",
    "ring_current": "SR-DI-DCCT:BeamCurrent",
    "ring_countdown": "TPS:TimeToNextInjSec",
    "live_prefix": "NOWHERE:",
}


@pytest.fixture(scope="module")
def cam(xedm_beamline):
    """Give the camera records."""
    return EigerCam("25A:EIG1M:cam1:", name="cam")


@pytest.fixture(scope="module")
def beamline(xedm_beamline):
    """Give the devices; there is no live service."""
    return build_beamline(NAMES)


def test_every_signal_of_the_class_connects(cam):
    cam.wait_for_connection(all_signals=True, timeout=30)
    assert cam.model.get()
    cam.read_configuration()
    cam.describe_configuration()


def test_a_setting_is_written_when_the_readback_agrees(cam):
    cam.write(cam.acquire_time, 12.5)
    assert cam.acquire_time.get() == pytest.approx(12.5)


def test_a_clamped_setting_is_named(cam):
    with pytest.raises(DetectorError, match=r"25A:EIG1M:cam1:NumTriggers must become -5 within 0.5 s, got"):
        cam.write(cam.num_triggers, -5, timeout_s=0.5)


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
        build_beamline({name: pv for name, pv in NAMES.items() if name not in ("stage_x", "attenuator")})
