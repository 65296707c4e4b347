# ruff: noqa: ARG001 - the running simulation is all that is wanted of its fixture
"""The Eiger's records on the simulated IOC: all connect, and what is refused is named."""

import pytest
from ophyd.status import DeviceStatus

from devices import eiger, eiger_arm
from devices.beamline import build_beamline
from devices.eiger_cam import EigerCam
from devices.errors import DetectorError, FrameTimeoutError, NotConnectedError, ShutterError
from devices.exposure import SeriesPlan

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


def test_a_live_service_that_is_connected_elsewhere_leaves_the_detector_disarmed(beamline, monkeypatch):
    monkeypatch.setattr(eiger_arm, "HEADER_TIMEOUT_S", 0.5)
    detector = beamline.detector
    monkeypatch.setattr(detector.live, "is_there", lambda _: True)
    with pytest.raises(DetectorError, match=r"header of series \d+ must reach the live service within 0.5 s"):
        detector.stage()
    assert not detector.armed_here
    assert detector.cam.armed.get(use_monitor=False) == 0
    assert detector.shutter.is_closed


def expose(beamline, point, exposure_s=5.0):
    """One exposure between two injections."""
    detector = beamline.detector
    beamline.ring.gate.set(exposure_s + 30.0).wait(30)
    detector.point.set({"point": point, "x_um": 1.0, "y_um": 2.0}).wait(10)
    detector.trigger().wait(60)
    reading = detector.read()
    return [reading[f"eig1m_{name}"]["value"] for name in ("valid", "point_index", "frame")]


def test_without_the_service_the_detectors_files_complete_exposures(beamline, xedm_beamline, monkeypatch, caplog):
    monkeypatch.setattr(eiger, "LIVE_TIMEOUT_S", 0.1)
    detector, cam = beamline.detector, beamline.detector.cam
    cam.write(cam.fw_num_images_per_file, 7)
    detector.prepare(SeriesPlan(exposure_s=5.0, points=20))
    detector.stage()
    try:
        assert detector.seen_by.get() == "files of the detector"
        assert "no live service answers at NOWHERE:" in caplog.text
        taken = []
        while sum(valid for valid, *_ in taken) < 3:
            assert len(taken) < 15, taken
            taken.append(expose(beamline, len(taken)))
        assert [taken_one[1:] for taken_one in taken] == [[n, n] for n in range(len(taken))]
    finally:
        detector.unstage()
    assert detector.shutter.is_closed
    assert cam.armed.get(use_monitor=False) == 0
    assert cam.fw_num_images_per_file.get(use_monitor=False) == 7
    series = int(detector.series.get())
    files = sorted(path.name for path in xedm_beamline.files.glob(f"series_{series}_data_*.h5"))
    assert files == [f"series_{series}_data_{n + 1:06d}.h5" for n in range(len(taken))]


def test_a_shutter_that_did_not_close_is_told_by_the_next_exposure(beamline, monkeypatch):
    monkeypatch.setattr(eiger, "LIVE_TIMEOUT_S", 0.1)
    detector = beamline.detector
    detector.prepare(SeriesPlan(exposure_s=5.0, points=20))
    detector.stage()
    move = detector.shutter.set

    def stuck(word):
        status = move(word)
        if word == "open":
            return status
        failed = DeviceStatus(detector.shutter)
        failed.set_exception(ShutterError("shutter must become Closed within 5 s, got Open"))
        return failed

    try:
        monkeypatch.setattr(detector.shutter, "set", stuck)
        expose(beamline, 0)
        monkeypatch.setattr(detector.shutter, "set", move)
        with pytest.raises(ShutterError, match="must become Closed within 5 s, got Open"):
            expose(beamline, 1)
        assert expose(beamline, 1)[1] == 1
    finally:
        detector.unstage()
    assert detector.shutter.is_closed


def test_a_frame_that_no_file_counts_is_named(beamline, monkeypatch):
    monkeypatch.setattr(eiger, "LIVE_TIMEOUT_S", 0.1)
    detector, cam = beamline.detector, beamline.detector.cam
    detector.prepare(SeriesPlan(exposure_s=5.0, points=20))
    detector.stage()
    monkeypatch.setattr(detector, "frame_margin_s", -4.5)
    monkeypatch.setattr(cam.special_trigger_button, "put", lambda *_, **__: None)
    try:
        with pytest.raises(
            FrameTimeoutError,
            match=r"frame 0 of series \d+ must reach the files of the detector within 0.5 s of its trigger, got 0 in "
            "25A:EIG1M:cam1:NumImagesCounter_RBV; see the detector's screen",
        ):
            expose(beamline, 0)
    finally:
        detector.unstage()
    assert detector.shutter.is_closed


def test_a_trigger_without_a_stage_is_refused(beamline):
    with pytest.raises(DetectorError, match="eig1m must be staged before it is triggered"):
        beamline.detector.trigger()


def test_missing_names_are_told():
    with pytest.raises(ValueError, match="got none for stage_x, attenuator"):
        build_beamline({name: pv for name, pv in NAMES.items() if name not in ("stage_x", "attenuator")})
