"""The client's side of one series: which trigger is which frame, and which frames have been seen."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from devices.arrival import Arrivals
from devices.eiger_cam import EigerCam
from devices.errors import DetectorError, FrameTimeoutError
from devices.exposure import Exposure, SeriesPlan, Void
from devices.presence import await_presence, silent
from devices.waiting import Latest, Watch

Outcome = Literal["over", "seen", "cancelled", "lost"]

REST_TIMEOUT_S = 2.0
"""How late the word may come that an exposure is over, wall s."""
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
    arrivals : Arrivals
        Where frames are seen.
    tells : bool
        Whether the driver tells when each exposure begins and ends.
    """

    def __init__(self, number: int, plan: SeriesPlan, cam: EigerCam, arrivals: Arrivals, *, tells: bool) -> None:
        self.number, self.plan, self.tells = number, plan, tells
        self.voids: list[Void] = []
        self._cam, self._arrivals = cam, arrivals
        self._parties = (cam.armed, *arrivals.signals().values())
        self._lock = threading.Lock()
        self._triggered = 0
        self._under_way: int | None = None
        self._confirmed = threading.Event()
        self._disagree = False
        self._exposing, self._exposures = 0, 0
        if tells:
            cam.exposing.subscribe(self._hear_exposing, run=False)

    def end(self) -> None:
        """Hear no more of the driver."""
        if self.tells:
            self._cam.exposing.clear_sub(self._hear_exposing)

    def _hear_exposing(self, *, value: int, **_: object) -> None:
        with self._lock:
            self._exposures += value == 1 and self._exposing != 1
            self._exposing = int(value)

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

    def watch_exposure(self) -> "ExposureWatch":
        """Return what waits for the end of the next exposure; enter it before the trigger."""
        return ExposureWatch(self, self._cam, self._arrivals, self._parties)

    def trigger(self, exposure: Exposure) -> int:
        """Write the trigger of an exposure; returns the number of its frame."""
        confirmed = threading.Event()
        with self._lock:
            exposure.frame = self._under_way = frame = self._triggered
            self._triggered += 1
            self._confirmed = confirmed
            # Nobody waits for the completion; it tells a trigger that was lost from a frame that was.
            self._cam.special_trigger_button.put(1, use_complete=True, callback=lambda **_: confirmed.set())
        return frame

    def has_exposed(self, frame: int) -> bool:
        """Whether the driver has told that the exposure of `frame` is over."""
        with self._lock:  # counted, because words of the exposure before may still be on their way
            return self._exposures > frame and self._exposing == 0

    def is_not_alone(self, what: str) -> DetectorError:
        """Return the error of a detector that somebody else triggers too; which frame is whose, nobody knows then."""
        self._disagree = True
        return DetectorError(
            f"{what}; somebody else triggers this detector, so points and frames no longer agree: start the scan again"
        )

    def check_alone(self) -> None:
        """Refuse to go on when the driver has told of more exposures than have been triggered here.

        Raises
        ------
        DetectorError
            Then.
        """
        with self._lock:
            exposures, triggered = self._exposures, self._triggered
        if exposures > triggered:
            raise self.is_not_alone(
                f"{self._cam.prefix} must have exposed {triggered} frames of series {self.number}, got {exposures}"
            )

    @property
    def frames_made(self) -> int:
        """Frames that have come or should have; not the one that an abort drops now."""
        with self._lock:
            return self._triggered - (self._under_way is not None)

    @property
    def expected(self) -> int | None:
        """Frames to be made: points and repeats, None when the number of points is not known."""
        return None if self.plan.points is None else self.plan.points + len(self.voids)

    def orphans(self) -> list[int]:
        """Return the numbers of frames that have come, or may still come, without a trigger of ours."""
        with Watch(**self._arrivals.signals()) as watch:
            newest = self._arrivals.newest(watch.latest, self.number) + self._disagree
        return list(range(self._triggered, newest + 1))

    def await_frame_under_way(self, timeout_s: float, cancelled: Callable[[], bool]) -> bool:
        """Let a frame that a pause left behind arrive: a trigger during its exposure would be lost."""
        with self._lock:
            frame = self._under_way
        return frame is None or self.await_frame(frame, timeout_s, cancelled) != "cancelled"

    def await_frame(self, frame: int, timeout_s: float, cancelled: Callable[[], bool]) -> Outcome:
        """Wait until a frame has been seen.

        While the detector's IOC or the live service is away, the time stands still, for at most
        `devices.presence.AWAY_TIMEOUT_S`; a frame that has not come `timeout_s` after their return is lost.

        Raises
        ------
        FrameTimeoutError
            When it does not come in time although everybody was there.
        NotConnectedError
            When somebody who went away does not come back.
        DetectorError
            When the detector disarms, frames come that nobody here asked for, or it is not known whether the frame's
            trigger was taken.
        """
        was_away: list[str] = []
        with Watch(armed=self._cam.armed, **self._arrivals.signals()) as watch:
            while True:
                settled = watch.until(
                    lambda now: now["armed"] == 0 or self._arrivals.newest(now, self.number) >= frame,
                    timeout_s,
                    lambda: cancelled() or bool(silent(self._parties)),
                )
                newest = self._arrivals.newest(watch.latest, self.number)
                if newest >= frame:
                    self._seen(frame, newest)
                    return "seen"
                if cancelled():
                    return "cancelled"
                if settled and self._cam.armed.connected:
                    raise DetectorError(
                        f"{self._cam.prefix} must stay armed until frame {frame} of series {self.number} has come, got "
                        f"a detector that was disarmed with message {self._message()!r}; see who else uses it, and "
                        "whether its IOC was restarted"
                    )
                if not (gone := silent(self._parties)):
                    break
                was_away += [name for name in gone if name not in was_away]
                if not await_presence(self._parties, cancelled=cancelled):
                    return "cancelled"
            seen_instead = self._arrivals.describe(watch.latest)
        with self._lock:
            self._under_way = None  # lost, not dropped by an abort that follows: the service shall call it missing
        if not was_away:
            raise FrameTimeoutError(
                f"frame {frame} of series {self.number} must reach the {self._arrivals.name} within {timeout_s:g} s of "
                f"its trigger, got {seen_instead}"
            )
        if not self._confirmed.is_set():
            raise DetectorError(
                f"the trigger of frame {frame} of series {self.number} must be confirmed by the detector's IOC, got "
                f"none before {', '.join(was_away)} went away; points and frames may no longer agree: start the scan "
                "again"
            )
        return "lost"

    def _message(self) -> str:
        """Return the driver's message; an IOC that has just come back may not have it yet."""
        try:
            return str(self._cam.status_message.get())
        except TimeoutError:
            return ""

    def check_duration(self, frame: int, elapsed_s: float) -> None:
        """Refuse a frame that came before its exposure can have ended: it is somebody else's.

        Raises
        ------
        DetectorError
            For such a frame.
        """
        if elapsed_s < self.plan.exposure_s - COUNTDOWN_ROUNDING_S:
            raise self.is_not_alone(
                f"frame {frame} of series {self.number} must take its exposure of {self.plan.exposure_s:g} s, got it "
                f"after {elapsed_s:g} s"
            )

    def _seen(self, frame: int, newest: int) -> None:
        with self._lock:
            triggered = self._triggered
            if self._under_way == frame:
                self._under_way = None
        if newest >= triggered:
            raise self.is_not_alone(
                f"series {self.number} must have had {triggered} triggers, got frame {newest} already"
            )


class ExposureWatch:
    """Wait until an exposure is over, which the driver tells before the frame comes.

    See `devices.eiger_arm.have_exposures_told`; where the driver does not tell, the coming of the frame does.
    """

    def __init__(self, series: Series, cam: EigerCam, arrivals: Arrivals, parties: tuple[Any, ...]) -> None:
        self._series, self._cam, self._arrivals, self._parties = series, cam, arrivals, parties
        self._tells = {"exposing": cam.exposing} if series.tells else {}
        self._watch = Watch(armed=cam.armed, **self._tells, **arrivals.signals())

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._watch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to listen."""
        self._watch.__exit__(kind, error, trace)

    def check_at_rest(self) -> None:
        """Refuse to trigger into an exposure that nobody here has asked for.

        Raises
        ------
        DetectorError
            When one is under way.
        """
        self._series.check_alone()
        # The word of the end of our own last one may still be on its way.
        if self._tells and not self._watch.until(lambda now: now["exposing"] != 1, REST_TIMEOUT_S):
            raise self._series.is_not_alone(
                f"{self._cam.prefix} must be at rest when series {self._series.number} triggers its next frame, got an "
                "exposure that nobody here has asked for"
            )

    def until_over(self, frame: int, timeout_s: float, cancelled: Callable[[], bool]) -> Outcome:
        """Wait for the end of the exposure that makes `frame`.

        Returns
        -------
        {"over", "seen", "cancelled", "lost"}
            `over`: the exposure is over, and `Series.await_frame` waits for its frame; the others are that one's own.

        Raises
        ------
        Exception
            What `Series.await_frame` raises.
        """
        number = self._series.number
        self._watch.until(
            lambda now: self._is_over(now, frame) or now["armed"] == 0 or self._arrivals.newest(now, number) >= frame,
            timeout_s,
            lambda: cancelled() or bool(silent(self._parties)),
        )
        if self._is_over(self._watch.latest, frame) and not cancelled():
            return "over"
        return self._series.await_frame(frame, timeout_s, cancelled)

    def _is_over(self, now: Latest, frame: int) -> bool:
        return now["armed"] == 1 and self._series.has_exposed(frame)
