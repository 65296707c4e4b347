"""The live service's result as a device: what has been summed, and what the scan tells the service."""

import json
from collections.abc import Callable
from typing import Any

from ophyd import Component, Device, EpicsSignal, EpicsSignalRO
from ophyd.utils import DisconnectedError

from devices.errors import LiveServiceError
from devices.waiting import put_completed

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
    result = Component(EpicsSignalRO, "Result", string=True, auto_monitor=True, kind="omitted")
    preview = Component(EpicsSignalRO, "Preview", kind="omitted")
    preview_width = Component(EpicsSignalRO, "Preview:Width", auto_monitor=True, kind="omitted")
    preview_height = Component(EpicsSignalRO, "Preview:Height", auto_monitor=True, kind="omitted")
    ends_within = Component(EpicsSignalRO, "EndsWithin", auto_monitor=True, kind="omitted")

    point = Component(EpicsSignal, "Point", string=True, kind="omitted")
    point_error = Component(EpicsSignalRO, "Point:Error", string=True, auto_monitor=True, kind="omitted")
    expected = Component(EpicsSignal, "Expected", kind="omitted")
    paused = Component(EpicsSignal, "Paused", kind="omitted")

    chi2_ratio_max = Component(EpicsSignal, "Chi2RatioMax", kind="config")
    intensity_ratio_min = Component(EpicsSignal, "IntensityRatioMin", kind="config")
    reconstruct = Component(EpicsSignal, "Reconstruct", kind="omitted")

    plotter: Callable[["LiveResult"], Any] | None = None
    """What draws for `plot`; the session gives it."""

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

        Raises
        ------
        LiveServiceError
            When the service refuses it or does not take it in time.
        """
        note = {"series": series, "frame": frame, "point": point, "x_um": x_um, "y_um": y_um, "void": void}
        what = f"point {point} (series {series}, frame {frame})"
        self._tell(self.point, json.dumps(note), what, timeout_s)
        # Channel Access clients in Python report a refused write as completed.
        if reason := self._refusal(what):
            raise LiveServiceError(f"live service must take {what}, got: {reason}")

    def expect(self, frames: int, timeout_s: float = BOOKING_TIMEOUT_S) -> None:
        """Tell the service how many exposures this series shall have.

        Raises
        ------
        LiveServiceError
            When the service does not take it in time.
        """
        self._tell(self.expected, int(frames), f"{frames} expected frames", timeout_s)

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
        except (TimeoutError, DisconnectedError) as error:
            raise LiveServiceError(
                f"live service must say whether it took {what}, but {self.point_error.pvname} could not be read "
                f"({error}); is `xedm live` running?"
            ) from error

    def _tell(self, signal: Any, value: Any, what: str, timeout_s: float) -> None:
        try:
            booked = put_completed(signal, value, timeout_s)
        except (TimeoutError, DisconnectedError, OSError) as error:
            raise LiveServiceError(
                f"live service must take {what}, got {error}; is `xedm live` running, and is {self.prefix} its prefix?"
            ) from error
        if not booked:
            raise LiveServiceError(
                f"live service must take {what} within {timeout_s:g} s, got no completion on {signal.setpoint_pvname}; "
                "see the service's page for errors"
            )
