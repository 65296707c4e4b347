# ruff: noqa: ARG001 - the running simulation is all that is wanted of its fixture
"""The Eiger's records on the simulated IOC and on a C IOC, in the releases there are; what is refused is named."""

import epics
import pytest
from ophyd import do_not_wait_for_lazy_connection
from ophyd.sim import make_fake_device
from ophyd.status import DeviceStatus, Status

from devices import eiger, eiger_arm, exposures, waiting
from devices.beamline import CAMERA_SIGNALS, NAMES, build_beamline
from devices.eiger_cam import EigerCam
from devices.errors import DetectorError, FrameTimeoutError, NotConnectedError, ShutterError
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


def test_a_shutter_that_is_linked_to_the_driver_stays_the_scans_own(c_ioc):
    cam = EigerCam(f"{c_ioc.prefix}EIG1M:cam1:", name="cam")
    cam.wait_for_connection(all_signals=True, timeout=CONNECT_S)
    assert eiger_arm.have_exposures_told(cam)
    link = cam.shutter_open_link.pvname
    epics.caput(link, f"{c_ioc.prefix}SIM:ShutterFault NPP NMS", wait=True, timeout=5)
    try:
        assert "ShutterFault" in str(cam.shutter_open_link.get(use_monitor=False))
        assert not eiger_arm.have_exposures_told(cam)
        assert cam.shutter_mode.get(as_string=True) == "None"
    finally:
        epics.caput(link, "", wait=True, timeout=5)
    assert eiger_arm.have_exposures_told(cam)


def test_a_scan_sets_the_detector_up_whatever_the_order_of_the_states(connected):
    plan = SeriesPlan(exposure_s=12.5, points=4, spare=3)
    eiger_arm.configure(connected, plan, "none", "all")
    shown = {
        name: getattr(connected, name).get(as_string=True)
        for name in ("trigger_mode", "data_source", "stream_hdr_detail", "compression_algo", "shutter_mode")
    }
    assert shown["trigger_mode"] == "Internal Series"
    assert (shown["data_source"], shown["stream_hdr_detail"], shown["shutter_mode"]) == ("None", "All", "EPICS PV")
    assert shown["compression_algo"].replace(" ", "") == "BSLZ4"
    assert connected.acquire_time.get() == pytest.approx(12.5)
    assert (connected.num_triggers.get(), connected.num_images.get()) == (7, 1)
    assert (connected.manual_trigger.get(), connected.stream_enable.get()) == (1, 1)
    assert (connected.shutter_open_delay.get(), connected.shutter_close_delay.get()) == (0.0, 0.0)
    eiger_arm.configure(connected, plan, "filewriter", "basic")
    assert connected.stream_hdr_detail.get(as_string=True) == "Basic"
    assert connected.data_source.get(as_string=True) == "FileWriter"
    eiger_arm.configure(connected, plan, "none", "all")


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ("TriggerMode", "mbbo"),
        ("TriggerMode_RBV", "mbbi"),
        ("NumTriggers", "longout"),
        ("NumTriggers_RBV", "longin"),
        ("AcquireTime", "ao"),
        ("AcquireTime_RBV", "ai"),
        ("ManualTrigger", "bo"),
        ("Trigger", "ao"),
        ("Armed", "bi"),
        ("SequenceId", "longin"),
        ("DetectorState_RBV", "mbbi"),
        ("StatusMessage_RBV", "waveform"),
    ],
)
def test_both_servers_have_the_kinds_of_records_that_adeiger_has(connected, record, kind):
    assert epics.caget(f"{connected.prefix}{record}.RTYP", timeout=5) == kind


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


def test_a_live_service_that_is_connected_elsewhere_leaves_the_detector_disarmed(beamline, monkeypatch):
    monkeypatch.setattr(eiger_arm, "HEADER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(eiger, "PAUSE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(waiting, "FIRST_VALUE_TIMEOUT_S", 0.2)
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


def test_without_the_live_service_the_detectors_files_complete_the_exposures(
    beamline, place, xedm_beamline, monkeypatch, caplog
):
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
    if place.name == "c ioc":  # it has counters, and no files
        return
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
        with waiting.Watch(armed=detector.cam.armed) as watch:  # whatever fails leaves it safe
            assert watch.until(lambda now: now["armed"] == 0, 10.0)
    finally:
        detector.unstage()
    assert detector.shutter.is_closed


@pytest.fixture
def staged(beamline, monkeypatch):
    """Give an armed detector; afterwards it is disarmed with its shutter closed."""
    monkeypatch.setattr(eiger, "LIVE_TIMEOUT_S", 0.1)
    detector = beamline.detector
    detector.prepare(SeriesPlan(exposure_s=5.0, points=20))
    detector.stage()
    yield detector
    detector.unstage()
    assert detector.shutter.is_closed


def make_ready(beamline, point, needed_s=35.0):
    beamline.ring.gate.set(40.0).wait(30)
    beamline.detector.ready.set({"point": point, "x_um": 1.0, "y_um": 2.0, "needed_s": needed_s}).wait(10)


def words_of(shutter):
    words = []
    shutter.status.subscribe(lambda value, **_: words.append(value), run=False)
    return words


def closes(shutter):
    with waiting.Watch(status=shutter.status) as watch:
        return watch.until(lambda now: now["status"] == "Closed", 5.0)


def test_what_was_made_ready_on_the_way_is_exposed_without_opening_again(beamline, staged):
    words = words_of(staged.shutter)
    make_ready(beamline, 4)
    assert staged.shutter.is_open
    assert staged.frame.get() != 0 or staged.point_index.get() != 4  # nothing has been exposed
    before = len(words)
    assert expose(beamline, 4)[1:] == [4, 0]
    assert "Opening" in words[:before]
    assert "Opening" not in words[before:]
    assert closes(staged.shutter)


def test_what_was_made_ready_for_another_point_is_called_off(beamline, staged):
    make_ready(beamline, 4)
    assert expose(beamline, 5)[1:] == [5, 0]
    assert expose(beamline, 4)[1:] == [4, 1]


def test_what_was_made_ready_and_is_not_exposed_does_not_leave_the_shutter_open(beamline, staged, monkeypatch):
    monkeypatch.setattr(exposures, "READY_TIMEOUT_S", 0.1)
    make_ready(beamline, 4)
    assert closes(staged.shutter)
    assert expose(beamline, 4)[1:] == [4, 0]


def test_nothing_is_made_ready_when_an_injection_is_near(beamline, staged):
    words = words_of(staged.shutter)
    make_ready(beamline, 4, needed_s=1000.0)
    assert not words
    assert expose(beamline, 4)[1:] == [4, 0]


def test_a_pause_closes_what_was_made_ready(beamline, staged):
    expose(beamline, 3)
    make_ready(beamline, 4)
    staged.pause()
    assert staged.shutter.is_closed
    staged.resume()
    assert expose(beamline, 4)[1:] == [4, 1]


def test_an_end_closes_what_was_made_ready(beamline, staged):
    make_ready(beamline, 4)
    assert not staged.make_safe()
    assert staged.shutter.is_closed


def test_a_shutter_that_somebody_closed_meanwhile_costs_no_trigger(beamline, staged):
    make_ready(beamline, 4)
    staged.shutter.close_now()
    assert closes(staged.shutter)
    staged.point.set({"point": 4, "x_um": 1.0, "y_um": 2.0}).wait(10)
    staged.trigger().wait(10)
    assert [staged.valid.get(), staged.void_reason.get(), staged.frame.get()] == [0, "shutter not open", -1]
    assert expose(beamline, 4)[1:] == [4, 0]


def test_what_goes_wrong_on_the_way_is_told_by_the_exposure(beamline, staged, monkeypatch):
    expose(beamline, 3)
    problem = ShutterError("shutter must become Closed within 5 s, got Open")
    shut = Status()
    shut.set_exception(problem)
    staged._exposures.newest.shut = shut
    make_ready(beamline, 4)  # what is under way meanwhile, such as the frame of the point before, is not spoilt
    assert staged.armed_here
    with pytest.raises(ShutterError, match="must become Closed within 5 s, got Open"):
        expose(beamline, 4)


def test_without_time_before_the_injection_no_trigger_is_written(beamline, staged, monkeypatch):
    monkeypatch.setattr(beamline.ring, "fits", lambda _: False)
    staged.point.set({"point": 4, "x_um": 1.0, "y_um": 2.0}).wait(10)
    staged.trigger().wait(10)
    assert [staged.void_reason.get(), staged.frame.get()] == ["no time left before the injection", -1]


def test_a_frame_that_no_file_counts_is_named(beamline, monkeypatch):
    monkeypatch.setattr(eiger, "LIVE_TIMEOUT_S", 0.1)
    detector, cam = beamline.detector, beamline.detector.cam
    detector.prepare(SeriesPlan(exposure_s=5.0, points=20))
    monkeypatch.setattr(detector, "frame_margin_s", -4.5)
    detector.stage()
    monkeypatch.setattr(cam.special_trigger_button, "put", lambda *_, **__: None)
    try:
        with pytest.raises(
            FrameTimeoutError,
            match=r"frame 0 of series \d+ must reach the files of the detector within 0.5 s of its trigger, got 0 in "
            r"\w+:EIG1M:cam1:NumImagesCounter_RBV; see the detector's screen",
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
        build_beamline({name: name for name in NAMES if name not in ("stage_x", "attenuator")})
