"""After a scan its client waits for the end of the series, for as long as the service may take to it."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.cli import scan
from service.demo import Demo, DemoOptions
from service.errors import NotReachedError

SILENCE_S = 0.6


class Signal:
    """A PV whose value is asked for anew each time."""

    def __init__(self, value):
        self.value = value

    def get(self, **_):
        return self.value()


@pytest.fixture
def service():
    """Give a service whose series got no end message: it closes after some silence."""
    begun = time.monotonic()
    return lambda: "complete" if time.monotonic() - begun > SILENCE_S else "receiving"


def live_of(state, ends_within_s=SILENCE_S):
    names = ("received", "accepted")
    frames = SimpleNamespace(component_names=names, **{name: Signal(lambda: 5) for name in names})
    return SimpleNamespace(state=Signal(state), ends_within=Signal(lambda: ends_within_s), frames=frames)


def test_a_scan_outlasts_the_silence_after_which_a_series_ends(service, monkeypatch):
    monkeypatch.setattr(scan, "WRITING_TIMEOUT_S", 0.5)
    outcome = scan._outcome(live_of(service), 3)
    assert outcome == {"series": 3, "state": "complete", "counts": {"received": 5, "accepted": 5}}


def test_a_scan_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(scan, "WRITING_TIMEOUT_S", 0.1)
    with pytest.raises(NotReachedError, match=r"must close series 3 within 0.2 s, got state receiving"):
        scan._outcome(live_of(lambda: "receiving", 0.1), 3)


def test_a_series_that_ended_before_its_first_frame_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(scan, "WRITING_TIMEOUT_S", 0.1)
    assert scan._outcome(live_of(lambda: "idle", 0.1), 3) == {"series": 3, "state": "idle", "counts": {}}


def demo_of(state, ends_within_s, monkeypatch):
    process = SimpleNamespace(log=Path("live.log"))
    demo = Demo(options=DemoOptions(), folder=Path(), sim=process, live=process)
    monkeypatch.setattr(Demo, "status", lambda _: {"state": state(), "ends_within_s": ends_within_s})
    return demo


def test_a_demo_outlasts_it_too(service, monkeypatch):
    demo = demo_of(service, SILENCE_S, monkeypatch)
    assert demo.wait_until_ended(lambda _: None, writing_s=0.5)["state"] == "complete"
    demo = demo_of(lambda: "receiving", 0.1, monkeypatch)
    with pytest.raises(NotReachedError, match=r"must end within 0.2 s after its last frame, it is still receiving"):
        demo.wait_until_ended(lambda _: None, writing_s=0.1)
