"""What the scan tells the service is booked, or refused with a name: Channel Access calls a refused put completed."""

import json
import threading
from functools import partial

import pytest
from ophyd.signal import ReadTimeoutError
from ophyd.sim import make_fake_device
from ophyd.utils import ReadOnlyError

from devices.errors import LiveServiceError, NoteRefusedError
from devices.live_result import LiveResult, Threshold

POINT = {"series": 1, "frame": 4, "point": 3, "x_um": 10.0, "y_um": -5.0}
REASON = "frame must be at most 2147483647, got 4294967296; take the detector's number"


@pytest.fixture
def live():
    """Give the service's PVs without a service; every put is completed, as libca says."""
    live = make_fake_device(LiveResult)("XEDM:", name="live")
    live.told = []

    def put(value, *, callback, **_):
        live.told.append(json.loads(value))
        callback()

    live.point.put = put
    live.point_error.pvname = "XEDM:Point:Error"
    live.point_error.sim_put("")
    return live


def test_a_point_that_is_booked_is_told_as_the_service_reads_it(live):
    live.book(**POINT)
    assert live.told == [{**POINT, "void": False}]


def test_a_refused_point_is_an_error_although_its_put_has_completed(live):
    live.point_error.sim_put(REASON)
    with pytest.raises(LiveServiceError, match=r"must take point 3 \(series 1, frame 4\), got: frame must be at most"):
        live.book(**POINT)


def test_a_service_that_does_not_say_whether_it_took_a_point_is_named(live, monkeypatch):
    def get(**_):
        raise ReadTimeoutError("no answer")

    monkeypatch.setattr(live.point_error, "get", get)
    with pytest.raises(LiveServiceError, match=r"must say whether it took point 3 .* XEDM:Point:Error could not be"):
        live.book(**POINT)


def test_of_two_points_booked_at_a_time_each_hears_its_own_refusal(live):
    def put(value, *, callback, **_):
        frame = json.loads(value)["frame"]
        live.point_error.sim_put(REASON if frame == 5 else "")
        if frame == 5:  # the other one would come in between
            other.start()
            other.join(0.2)
        callback()

    def book_other():
        live.book(**POINT)
        booked.append(4)

    booked = []
    other = threading.Thread(target=book_other)
    live.point.put = put
    with pytest.raises(NoteRefusedError, match=r"must take point 3 \(series 1, frame 5\), got: frame must be"):
        live.book(**POINT | {"frame": 5})
    other.join(10.0)
    assert booked == [4]


def test_a_point_that_waits_for_another_one_is_named(live):
    def put(_value, *, callback, **_):
        with pytest.raises(LiveServiceError, match=r"must take point 3 .* within 0\.05 s, got another point"):
            live.book(**POINT, timeout_s=0.05)
        callback()

    live.point.put = put
    live.book(**POINT)


def test_a_point_that_is_given_up_is_not_booked(live):
    live.book(**POINT, cancelled=lambda: True)
    assert live.told == []


@pytest.fixture
def threshold(live):
    """Give a threshold that the service takes, or does not; the test says what stands after the put."""
    signal = live.chi2_ratio_max
    signal.setpoint_pvname = "XEDM:Chi2RatioMax"
    signal.sim_put(1.6)

    def serve(takes):
        def put(value, *, callback, **_):
            if takes:
                signal.sim_put(value)
            callback()

        signal.put = put
        return _ThresholdOn(signal)

    return serve


class _ThresholdOn:
    """The real `set` of a threshold, on a signal without an IOC."""

    def __init__(self, signal):
        self.set = partial(Threshold.set, signal)
        signal._steer = partial(Threshold._steer, signal)


def test_a_threshold_is_set_when_it_is_in_force(threshold, live):
    threshold(takes=True).set(1.8).wait(2)
    assert live.chi2_ratio_max.get() == 1.8


def test_a_threshold_that_the_service_refuses_is_an_error_and_no_wait_for_ever(threshold):
    with pytest.raises(LiveServiceError, match=r"XEDM:Chi2RatioMax must become 1.8 within 2 s, got 1.6; the service's"):
        threshold(takes=False).set(1.8, timeout=2.0).wait(5)


def test_a_service_that_lets_nobody_steer_says_how_it_would(live, threshold):
    steered = threshold(takes=False)

    def refuse(*_, **__):
        raise ReadOnlyError("No write access to underlying EPICS PV")

    live.chi2_ratio_max.put = refuse
    with pytest.raises(LiveServiceError, match=r"a service that lets nobody steer; start it with pvs.steering = true"):
        steered.set(1.8).wait(5)
