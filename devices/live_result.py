"""The live service's result as a device: what has been summed, and what the scan tells the service."""

import json
import math
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ophyd import Component, Device, EpicsSignal, EpicsSignalRO
from ophyd.status import Status
from ophyd.utils import ReadOnlyError

from devices.errors import LiveServiceError, NotConnectedError, NoteRefusedError
from devices.presence import await_presence
from devices.severity import NO_ANSWER
from devices.waiting import put_completed

Told = TypeVar("Told")
BOOKING_TIMEOUT_S = 10.0
FRAME_COUNTS = (
    "received",
    "accepted",
    "low_intensity",
    "streak",
    "background",
    "gated",
    "corrupt",
    "duplicate",
    "foreign",
    "missing",
)


class Threshold(EpicsSignal):
    """A threshold of the screening; setting it ends in success only when the service has it in force."""

    def set(
        self, value: float, *, timeout: float | None = BOOKING_TIMEOUT_S, settle_time: float | None = None
    ) -> Status:
        """Put a threshold in force; the status fails with `LiveServiceError` when the service refuses.

        Parameters
        ----------
        value : float
        timeout : float
            Wall seconds.
        settle_time : float, optional
            Seconds to wait after success.
        """
        status = Status(self, settle_time=settle_time)
        seconds = BOOKING_TIMEOUT_S if timeout is None else timeout
        arguments = (float(value), seconds, status)
        threading.Thread(target=self._steer, args=arguments, daemon=True, name=f"{self.name} set").start()
        return status

    def _steer(self, value: float, timeout_s: float, status: Status) -> None:
        try:
            completed = put_completed(self, value, timeout_s)
            now = float(self.get(use_monitor=False))
        except ReadOnlyError:
            problem = "a service that lets nobody steer; start it with pvs.steering = true, or use its page"
        except (*NO_ANSWER, OSError, TypeError, ValueError) as error:
            problem = f"{error}; is `xedm live` running?"
        else:
            # Channel Access clients in Python report a refused write as completed.
            if completed and math.isclose(now, value, rel_tol=1e-6):
                status.set_finished()
                return
            problem = f"{now:g}; the service's page has the reason" if completed else "no completion"
        status.set_exception(
            LiveServiceError(f"{self.setpoint_pvname} must become {value:g} within {timeout_s:g} s, got {problem}")
        )


class FrameCounts(Device):
    """How many frames are in which category."""

    received = Component(EpicsSignalRO, "Received", auto_monitor=True)
    accepted = Component(EpicsSignalRO, "Accepted", auto_monitor=True, kind="hinted")
    low_intensity = Component(EpicsSignalRO, "LowIntensity", auto_monitor=True)
    streak = Component(EpicsSignalRO, "Streak", auto_monitor=True)
    background = Component(EpicsSignalRO, "Background", auto_monitor=True)
    gated = Component(EpicsSignalRO, "Gated", auto_monitor=True)
    corrupt = Component(EpicsSignalRO, "Corrupt", auto_monitor=True)
    duplicate = Component(EpicsSignalRO, "Duplicate", auto_monitor=True)
    foreign = Component(EpicsSignalRO, "Foreign", auto_monitor=True)
    missing = Component(EpicsSignalRO, "Missing", auto_monitor=True)


class LastFrame(Device):
    """Scores of the newest frame of the series."""

    frame = Component(EpicsSignalRO, "Frame", auto_monitor=True)
    total = Component(EpicsSignalRO, "Total", auto_monitor=True, kind="hinted")
    chi2 = Component(EpicsSignalRO, "Chi2", auto_monitor=True)
    verdict = Component(EpicsSignalRO, "Verdict", string=True, auto_monitor=True)


class DirectBeamSpot(Device):
    """The brightest spot of the newest frame of an alignment."""

    row = Component(EpicsSignalRO, "Row", auto_monitor=True)
    column = Component(EpicsSignalRO, "Column", auto_monitor=True)
    peak = Component(EpicsSignalRO, "Peak", auto_monitor=True)
    photons = Component(EpicsSignalRO, "Photons", auto_monitor=True)


class LiveResult(Device):
    """PVs of the live service: the books, the newest frame, the resolution; and the scan's side of the conversation.

    Parameters
    ----------
    prefix : str
        Of the service, `XEDM:` in the simulation.
    """

    state = Component(EpicsSignalRO, "State", string=True, auto_monitor=True)
    degraded = Component(EpicsSignalRO, "Degraded", string=True, auto_monitor=True, kind="omitted")
    series = Component(EpicsSignalRO, "Series", auto_monitor=True)
    announced = Component(EpicsSignalRO, "Announced", auto_monitor=True)
    balanced = Component(EpicsSignalRO, "Balanced", auto_monitor=True)
    rate = Component(EpicsSignalRO, "Rate", auto_monitor=True)
    behind = Component(EpicsSignalRO, "Behind", auto_monitor=True)
    pending = Component(EpicsSignalRO, "Pending", auto_monitor=True)
    frames = Component(FrameCounts, "Frames:")
    last = Component(LastFrame, "Last:")
    resolution = Component(EpicsSignalRO, "Resolution", auto_monitor=True)
    direct_beam = Component(DirectBeamSpot, "DirectBeam:", kind="omitted")
    result = Component(EpicsSignalRO, "Result", string=True, auto_monitor=True, kind="omitted")
    preview = Component(EpicsSignalRO, "Preview", kind="omitted")
    preview_width = Component(EpicsSignalRO, "Preview:Width", auto_monitor=True, kind="omitted")
    preview_height = Component(EpicsSignalRO, "Preview:Height", auto_monitor=True, kind="omitted")
    ends_within = Component(EpicsSignalRO, "EndsWithin", auto_monitor=True, kind="omitted")

    point = Component(EpicsSignal, "Point", string=True, kind="omitted")
    point_error = Component(EpicsSignalRO, "Point:Error", string=True, auto_monitor=True, kind="omitted")
    expected = Component(EpicsSignal, "Expected", kind="omitted")
    paused = Component(EpicsSignal, "Paused", kind="omitted")
    purpose = Component(EpicsSignal, "Purpose", string=True, kind="omitted")

    chi2_ratio_max = Component(Threshold, "Chi2RatioMax", kind="config")
    intensity_ratio_min = Component(Threshold, "IntensityRatioMin", kind="config")
    reconstruct = Component(EpicsSignal, "Reconstruct", kind="omitted")

    plotter: Callable[["LiveResult"], Any] | None = None
    """What draws for `plot`; the session gives it."""

    def __init__(self, prefix: str = "", **kwargs: Any) -> None:
        super().__init__(prefix, **kwargs)
        # Of two points booked at a time, one would read why the other was refused.
        self._one_books = threading.Lock()

    def plot(self) -> Any:
        """Draw the sum so far (logarithmic, with rings of q) and the counts; returns the figure.

        Raises
        ------
        LiveServiceError
            Where there is nothing to draw yet, or nobody to draw it.
        """
        if self.plotter is None:
            raise LiveServiceError(f"{self.name}.plot() must be called in an xedm session, got none; open the page")
        return self.plotter(self)

    def book(
        self,
        *,
        series: int,
        frame: int,
        point: int,
        x_um: float,
        y_um: float,
        void: bool = False,
        timeout_s: float = BOOKING_TIMEOUT_S,
        patient: bool = False,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Tell the service which scan point a frame belongs to; returns when it is booked.

        Parameters
        ----------
        series, frame : int
            The frame's series and its number in it, from 0.
        point : int
            Index of the scan point.
        x_um, y_um : float
            Stage position.
        void : bool
            The frame must not be summed.
        timeout_s : float
            Wall seconds.
        patient : bool
            Wait for a service that is away, and tell it again what it may have missed; a note may be told twice.
        cancelled : callable
            Nothing is told any more when it returns true.

        Raises
        ------
        NoteRefusedError
            When the service refuses it.
        LiveServiceError
            When the service does not take it in time.
        NotConnectedError
            When a service that is away does not come back.
        """
        note = {"series": series, "frame": frame, "point": point, "x_um": x_um, "y_um": y_um, "void": void}
        what = f"point {point} (series {series}, frame {frame})"

        def tell() -> str:
            if not self._one_books.acquire(timeout=timeout_s):
                raise LiveServiceError(
                    f"live service must take {what} within {timeout_s:g} s, got another point that it has not taken; "
                    "see the service's page for errors"
                )
            try:
                if cancelled():  # here, so that no note of the one that comes next is overtaken
                    return ""
                self._tell(self.point, json.dumps(note), what, timeout_s)
                # Channel Access clients in Python report a refused write as completed.
                return self._refusal(what)
            finally:
                self._one_books.release()

        if reason := _told(self.point, tell, patient, cancelled):
            raise NoteRefusedError(f"live service must take {what}, got: {reason}")

    def expect(self, frames: int, timeout_s: float = BOOKING_TIMEOUT_S, *, patient: bool = False) -> None:
        """Tell the service how many exposures this series shall have.

        Raises
        ------
        LiveServiceError
            When the service does not take it in time.
        """
        what = f"{frames} expected frames"

        def tell() -> None:
            self._tell(self.expected, int(frames), what, timeout_s)

        _told(self.expected, tell, patient)

    def pausing(self, paused: bool, timeout_s: float = BOOKING_TIMEOUT_S) -> None:
        """Tell the service that the scan rests, or goes on.

        Raises
        ------
        LiveServiceError
            When the service does not take it in time.
        """
        self._tell(self.paused, int(paused), "pause" if paused else "resume", timeout_s)

    def _refusal(self, what: str) -> str:
        """Why the last `Point` was refused, empty when it was booked or the service does not say."""
        if not self.point_error.connected:
            return ""
        try:
            return str(self.point_error.get(use_monitor=False) or "")
        except NO_ANSWER as error:
            raise LiveServiceError(
                f"live service must say whether it took {what}, but {self.point_error.pvname} could not be read "
                f"({error}); is `xedm live` running?"
            ) from error

    def is_there(self, timeout_s: float) -> bool:
        """Whether the service answers, at the latest after `timeout_s` wall seconds."""
        try:
            return await_presence((self.series, self.last.frame, self.point, self.expected), timeout_s)
        except NotConnectedError:
            return False

    def _tell(self, signal: Any, value: Any, what: str, timeout_s: float) -> None:
        try:
            booked = put_completed(signal, value, timeout_s)
        except (*NO_ANSWER, OSError) as error:
            raise LiveServiceError(
                f"live service must take {what}, got {error}; is `xedm live` running, and is {self.prefix} its prefix?"
            ) from error
        if not booked:
            raise LiveServiceError(
                f"live service must take {what} within {timeout_s:g} s, got no completion on {signal.setpoint_pvname}; "
                "see the service's page for errors"
            )


def _told(signal: Any, tell: Callable[[], Told], patient: bool, cancelled: Callable[[], bool] = lambda: False) -> Told:
    """Tell the service something; patiently is when it is there, and once more when it went away meanwhile."""
    if not patient:
        return tell()
    await_presence((signal,), cancelled=cancelled)
    try:
        return tell()
    except LiveServiceError:
        await_presence((signal,), cancelled=cancelled)
        return tell()
