"""The client's side of one series: which trigger is which frame, and which frames have been seen."""

import threading
from collections.abc import Callable

from devices.eiger_cam import EigerCam
from devices.errors import DetectorError, FrameTimeoutError
from devices.exposure import Exposure, SeriesPlan, Void
from devices.live_result import LiveResult
from devices.waiting import Watch

COUNTDOWN_ROUNDING_S = 2.0
"""How far the elapsed time by the countdown may be off; some facilities show whole seconds."""


class Series:
    """Frames of one armed series.

    The number of a frame is the number of triggers written before it; nothing rewinds it. At most one trigger is under
    way at a time, because the driver does not queue them.

    Parameters
    ----------
    number : int
        Of the series, as the detector counts.
    plan : SeriesPlan
    cam : EigerCam
    live : LiveResult
    """

    def __init__(self, number: int, plan: SeriesPlan, cam: EigerCam, live: LiveResult) -> None:
        self.number, self.plan = number, plan
        self.voids: list[Void] = []
        self._cam, self._live = cam, live
        self._lock = threading.Lock()
        self._triggered = 0
        self._under_way: int | None = None

    def next_frame(self) -> int:
        """Number of the frame that the next trigger makes.

        Raises
        ------
        DetectorError
            When the series has no trigger left.
        """
        with self._lock:
            frame = self._triggered
        if frame >= self.plan.triggers:
            raise DetectorError(
                f"series {self.number} must do with its {self.plan.triggers} triggers, got a request for one more; arm "
                "with more spare ones, or see why so many exposures were void"
            )
        return frame

    def trigger(self, exposure: Exposure) -> int:
        """Write the trigger of an exposure; returns the number of its frame."""
        with self._lock:
            exposure.frame = self._under_way = frame = self._triggered
            self._triggered += 1
            self._cam.special_trigger_button.put(1)
        return frame

    @property
    def frames_made(self) -> int:
        """Frames that have come or should have; not the one that an abort drops now."""
        with self._lock:
            return self._triggered - (self._under_way is not None)

    @property
    def expected(self) -> int | None:
        """Frames to be made: points and repeats, None when the number of points is not known."""
        return None if self.plan.points is None else self.plan.points + len(self.voids)

    def await_frame_under_way(self, timeout_s: float, cancelled: Callable[[], bool]) -> bool:
        """Let a frame that a pause left behind arrive: a trigger during its exposure would be lost."""
        with self._lock:
            frame = self._under_way
        return frame is None or self.await_frame(frame, timeout_s, cancelled)

    def await_frame(self, frame: int, timeout_s: float, cancelled: Callable[[], bool]) -> bool:
        """Wait until the live service has seen a frame; False when cancelled.

        Raises
        ------
        FrameTimeoutError
            When it does not come in time.
        DetectorError
            When the detector disarms, or frames come that nobody here asked for.
        """
        with Watch(series=self._live.series, frame=self._live.last.frame, armed=self._cam.armed) as watch:
            watch.until(
                lambda now: now["armed"] == 0 or (now["series"] == self.number and now["frame"] >= frame),
                timeout_s,
                cancelled,
            )
            now = watch.latest
        if now["series"] == self.number and now["frame"] >= frame:
            self._seen(frame, int(now["frame"]))
            return True
        if cancelled():
            return False
        if now["armed"] == 0:
            raise DetectorError(
                f"{self._cam.prefix} must stay armed until frame {frame} of series {self.number} has come, got a "
                f"detector that was disarmed with message {self._cam.status_message.get()!r}; see who else uses it"
            )
        with self._lock:
            self._under_way = None  # lost, not dropped by the abort that follows: the service shall call it missing
        raise FrameTimeoutError(
            f"frame {frame} of series {self.number} must reach the live service within {timeout_s:g} s of its trigger, "
            f"got frame {now['frame']} of series {now['series']} as the newest; see the service's page and the network"
        )

    def check_duration(self, frame: int, elapsed_s: float) -> None:
        """Refuse a frame that came before its exposure can have ended: it is somebody else's.

        Raises
        ------
        DetectorError
            For such a frame.
        """
        if elapsed_s < self.plan.exposure_s - COUNTDOWN_ROUNDING_S:
            raise DetectorError(
                f"frame {frame} of series {self.number} must take its exposure of {self.plan.exposure_s:g} s, got it "
                f"after {elapsed_s:g} s; somebody else triggers this detector, so points and frames no longer agree: "
                "start the scan again"
            )

    def _seen(self, frame: int, newest: int) -> None:
        with self._lock:
            triggered = self._triggered
            if self._under_way == frame:
                self._under_way = None
        if newest >= triggered:
            raise DetectorError(
                f"series {self.number} must have had {triggered} triggers, got frame {newest} already; somebody else "
                "triggers this detector, so points and frames no longer agree: start the scan again"
            )
