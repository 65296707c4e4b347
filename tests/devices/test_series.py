"""Which frame belongs to which trigger, and what becomes of a frame when somebody goes away."""

import threading
import time
from types import SimpleNamespace

import pytest
from ophyd import Signal

from devices import presence, series
from devices.errors import DetectorError, FrameTimeoutError, NotConnectedError
from devices.exposure import Exposure, SeriesPlan
from devices.series import Series

PATIENCE_S = 20.0
SOON_S = 0.1


class Line(Signal):
    """A signal that may be away."""

    def __init__(self, name, value):
        super().__init__(name=name, value=value)
        self.up = True

    @property
    def connected(self):
        return self.up


class Scene:
    """A series whose frames and confirmations the test decides about."""

    name = "place of arrival"

    def __init__(self, *, confirms=True, tells=True):
        self.armed, self.frame = Line("C:Armed", 1), Line("L:Frame", -1)
        self.exposing = Line("C:ShutterControlEPICS", 0)
        self.confirms = confirms
        self.cam = SimpleNamespace(
            prefix="C:",
            armed=self.armed,
            exposing=self.exposing,
            special_trigger_button=SimpleNamespace(put=self.put),
            status_message=SimpleNamespace(get=lambda: "Ready"),
        )
        self.series = Series(7, SeriesPlan(exposure_s=10.0, points=3), self.cam, self, tells=tells)

    def put(self, _value, *, use_complete, callback):
        assert use_complete
        if self.confirms:
            callback()

    def signals(self):
        return {"frame": self.frame}

    def newest(self, now, number):
        assert number == 7
        return now["frame"]

    def describe(self, now):
        return f"frame {now['frame']}"

    def trigger(self):
        return self.series.trigger(Exposure(point=0, x_um=0.0, y_um=0.0))

    def wait(self, frame=0, timeout_s=PATIENCE_S, cancelled=lambda: False):
        return self.series.await_frame(frame, timeout_s, cancelled)

    def expose(self, *course, timeout_s=PATIENCE_S, cancelled=lambda: False):
        """Trigger and wait for the end; meanwhile signals are put, one (signal, value) after the other."""

        def play():
            for signal, value in course:
                time.sleep(SOON_S)
                signal.put(value)

        with self.series.watch_exposure() as watch:
            frame = self.trigger()
            threading.Thread(target=play, daemon=True).start()
            return watch.until_over(frame, timeout_s, cancelled)

    def goes_away_for_a_while(self):
        """Be away at first; the frame has not come when everybody is back."""
        self.frame.up = False
        threading.Timer(SOON_S, setattr, (self.frame, "up", True)).start()


def test_frames_are_numbered_by_triggers():
    scene = Scene()
    assert [scene.series.next_frame(), scene.trigger(), scene.series.next_frame(), scene.trigger()] == [0, 0, 1, 1]


def test_a_frame_that_comes_is_seen():
    scene = Scene()
    scene.trigger()
    threading.Timer(SOON_S, scene.frame.put, [0]).start()
    assert scene.wait() == "seen"
    assert scene.series.frames_made == 1
    assert scene.series.orphans() == []


def test_an_exposure_is_over_when_the_driver_says_so():
    scene = Scene()
    assert scene.expose((scene.exposing, 1), (scene.exposing, 0)) == "over"
    assert scene.series.frames_made == 0  # its frame is still to come


@pytest.mark.parametrize("late", [(0,), (1, 0)])
def test_late_words_of_the_exposure_before_are_not_of_this_one(late):
    scene = Scene()
    scene.trigger()
    if late == (0,):
        scene.exposing.put(1)
    scene.frame.put(0)  # seen before the driver's words of it are heard
    words = [(scene.exposing, word) for word in (*late, 1)]
    assert scene.expose(*words, (scene.frame, 1)) == "seen"
    assert scene.expose((scene.exposing, 0), (scene.exposing, 1), (scene.exposing, 0)) == "over"


def test_where_the_driver_does_not_tell_the_frame_does():
    assert (scene := Scene()).expose((scene.frame, 0)) == "seen"
    scene = Scene(tells=False)
    assert scene.expose((scene.exposing, 1), (scene.exposing, 0), (scene.frame, 0)) == "seen"


def test_an_exposure_that_does_not_end_is_not_triggered_into(monkeypatch):
    monkeypatch.setattr(series, "REST_TIMEOUT_S", SOON_S)
    scene = Scene()
    scene.trigger()
    scene.exposing.put(1)
    with (
        pytest.raises(DetectorError, match=r"C: must be at rest when series 7 .* somebody else triggers this detector"),
        scene.series.watch_exposure() as watch,
    ):
        watch.check_at_rest()
    assert scene.series.orphans() == []  # this frame is ours


def test_an_exposure_more_than_was_triggered_is_told_however_short_it_was():
    scene = Scene()
    assert scene.expose((scene.exposing, 1), (scene.exposing, 0)) == "over"
    scene.series.check_alone()
    scene.exposing.put(1)
    scene.exposing.put(0)
    with (
        pytest.raises(DetectorError, match=r"C: must have exposed 1 frames of series 7, got 2; somebody else triggers"),
        scene.series.watch_exposure() as watch,
    ):
        watch.check_at_rest()


def test_an_exposure_whose_word_comes_twice_counts_once():
    scene = Scene()
    scene.trigger()
    for value in (1, 1, 0, 0):
        scene.exposing.put(value)
    scene.series.check_alone()
    scene.series.end()
    scene.exposing.put(1)
    scene.series.check_alone()


@pytest.mark.parametrize("tells", [True, False])
def test_the_word_of_an_exposure_that_is_over_may_come_late(tells, monkeypatch):
    monkeypatch.setattr(series, "REST_TIMEOUT_S", PATIENCE_S if tells else 0.0)
    scene = Scene(tells=tells)
    scene.trigger()
    scene.exposing.put(1)
    threading.Timer(SOON_S, scene.exposing.put, [0]).start()
    with scene.series.watch_exposure() as watch:
        watch.check_at_rest()


def test_an_exposure_that_a_disarmed_detector_ends_is_not_over():
    scene = Scene()
    with pytest.raises(DetectorError, match="C: must stay armed until frame 0"):
        scene.expose((scene.exposing, 1), (scene.armed, 0), (scene.exposing, 0))


def test_an_exposure_that_nobody_needs_ends():
    scene = Scene()
    assert scene.expose((scene.exposing, 1), (scene.exposing, 0), cancelled=lambda: True) == "cancelled"


def test_a_frame_that_nobody_asked_for_is_told_and_it_and_the_next_are_orphans():
    scene = Scene()
    scene.trigger()
    scene.frame.put(1)
    with pytest.raises(DetectorError, match="series 7 must have had 1 triggers, got frame 1 already; somebody else"):
        scene.wait()
    assert scene.series.orphans() == [1, 2]


def test_a_frame_that_comes_too_early_is_somebody_elses():
    scene = Scene()
    scene.trigger()
    scene.series.check_duration(0, 9.0)
    with pytest.raises(DetectorError, match=r"frame 0 of series 7 must take its exposure of 10 s, got it after 3 s"):
        scene.series.check_duration(0, 3.0)


def test_a_frame_that_does_not_come_although_all_are_there_is_an_error():
    scene = Scene()
    scene.trigger()
    with pytest.raises(
        FrameTimeoutError,
        match=r"frame 0 of series 7 must reach the place of arrival within 0.1 s of its trigger, got frame -1",
    ):
        scene.wait(timeout_s=0.1)
    assert scene.series.frames_made == 1  # missing, not never made


def test_a_detector_that_disarms_is_an_error():
    scene = Scene()
    scene.trigger()
    scene.armed.put(0)
    with pytest.raises(DetectorError, match=r"C: must stay armed until frame 0 of series 7 has come, got .* 'Ready'"):
        scene.wait()


def test_a_wait_that_nobody_needs_ends():
    scene = Scene()
    scene.trigger()
    assert scene.wait(cancelled=lambda: True) == "cancelled"


def test_the_time_stands_still_while_somebody_is_away():
    scene = Scene()
    scene.trigger()
    scene.frame.up = False

    def come_back():
        scene.frame.put(0)
        scene.frame.up = True

    threading.Timer(3 * SOON_S, come_back).start()
    assert scene.wait(timeout_s=SOON_S) == "seen"


def test_a_frame_that_has_not_come_after_a_return_is_lost():
    scene = Scene()
    scene.trigger()
    scene.goes_away_for_a_while()
    assert scene.wait(timeout_s=SOON_S) == "lost"
    assert scene.series.frames_made == 1
    assert scene.series.next_frame() == 1


def test_a_trigger_that_may_have_been_lost_ends_the_series():
    scene = Scene(confirms=False)
    scene.trigger()
    scene.goes_away_for_a_while()
    with pytest.raises(
        DetectorError, match=r"the trigger of frame 0 of series 7 must be confirmed .* before L:Frame went away"
    ):
        scene.wait(timeout_s=SOON_S)


def test_who_stays_away_is_named(monkeypatch):
    monkeypatch.setattr(presence, "AWAY_TIMEOUT_S", SOON_S)
    scene = Scene()
    scene.trigger()
    scene.armed.up = False
    with pytest.raises(NotConnectedError, match=r"C:Armed must answer again within 0.1 s, got silence"):
        scene.wait()


def test_a_series_ends_with_its_triggers():
    scene = Scene()
    scene.series.plan = SeriesPlan(exposure_s=10.0, points=1, spare=0)
    scene.trigger()
    with pytest.raises(DetectorError, match="series 7 must do with its 1 triggers, got a request for one more"):
        scene.series.next_frame()
