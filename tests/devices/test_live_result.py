"""What the scan tells the service is booked, or refused with a name: Channel Access calls a refused put completed."""

import json

import pytest
from ophyd.signal import ReadTimeoutError
from ophyd.sim import make_fake_device

from devices.errors import LiveServiceError
from devices.live_result import LiveResult

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
