"""The exposures of one series: ready for the next point, triggered, witnessed, judged, and void when something was."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ophyd.status import DeviceStatus, Status
from ophyd.utils import WaitTimeoutError

from devices.eiger_cam import EigerCam
from devices.exposure import Exposure, Void
from devices.live_result import BOOKING_TIMEOUT_S, LiveResult
from devices.presence import await_presence
from devices.scan_notes import PAUSE_TIMEOUT_S, ScanNotes
from devices.series import ExposureWatch, Series
from devices.shutter import FastShutter
from devices.storage_ring import StorageRing
from devices.waiting import done_status, finish, finished
from devices.witness import Witness

SPOILT_BY = {"cancelled": "paused", "lost": "lost on its way"}
"""What is said of an exposure whose frame is not waited for any more, or has not come."""
STAGE_FIRST_S = 0.003
"""How long an exposure that is over waits before it is judged: what sends the stage on shall not queue behind that."""
SHUTTER_WORD_S = 0.5
"""How late the shutter's word may come that it has opened, which its IOC has confirmed already, wall s."""
HAND_OVER_S = 0.005
"""How long a plan lets the trigger of an exposure that is ready go first, wall s."""
READY_TIMEOUT_S = 60.0
"""How long the shutter stays open for an exposure that nobody triggers, wall s; the stage must be there before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Who takes part in an exposure.

    Attributes
    ----------
    name : str
        Of the detector, for threads and messages.
    cam : EigerCam
    shutter : FastShutter
    ring : StorageRing
    live : LiveResult
    notes : ScanNotes
        What the live service is told.
    new_status : callable
        Returns a status of the detector.
    publish : callable
        Shows an exposure in the detector's own signals.
    on_void : callable
        Is told every void exposure.
    overheads : collections.deque
        Takes what each exposure took beyond its time, s.
    """

    name: str
    cam: EigerCam
    shutter: FastShutter
    ring: StorageRing
    live: LiveResult
    notes: ScanNotes
    new_status: Callable[[], DeviceStatus]
    publish: Callable[[Exposure], None]
    on_void: Callable[[Void], None]
    overheads: deque[float]


class Exposures:
    """The exposures of one series, one after the other, each in a thread of its own.

    Parameters
    ----------
    series : Series
    parties : Parties
    margin_s : float
        Wall seconds beyond the exposure for readout, network and service.
    after : Exposure, optional
        The last one of the series before, which may still be about to close the shutter.
    """

    def __init__(self, series: Series, parties: Parties, margin_s: float, after: Exposure | None) -> None:
        self.series, self._margin_s = series, margin_s
        self._name, self._cam, self._shutter = parties.name, parties.cam, parties.shutter
        self._ring, self._live, self._notes = parties.ring, parties.live, parties.notes
        self._new_status, self._publish, self._on_void = parties.new_status, parties.publish, parties.on_void
        self._overheads = parties.overheads
        self._lock = threading.RLock()
        self._triggered: Exposure | None = None
        self._next: Exposure | None = None  # made ready, not triggered yet
        self.newest = after

    def trigger(self, note: Mapping[str, Any]) -> Exposure:
        """Make an exposure at a point, the one that is ready for it if there is one."""
        with self._lock:
            exposure = self._next
            if exposure is None or not exposure.waits_for(note):
                exposure = self._begin(note, begun=True)
            if self._triggered is not None:
                self._triggered.cancelled.set()
            self._triggered, self._next = exposure, None
            exposure.begun.set()
        if exposure.ready.done:  # it writes its trigger at once; what the plan does next would only hold that up
            exposure.triggered.wait(HAND_OVER_S)
        return exposure

    def make_ready(self, note: Mapping[str, Any], needed_s: float) -> Status:
        """Open the shutter for an exposure at a point and book it, as soon as the exposure before is over.

        Nothing is done when an injection comes within `needed_s`; without a trigger within `READY_TIMEOUT_S` the
        shutter closes again.
        """
        if not self._ring.fits(needed_s):
            return done_status()
        with self._lock:
            self._next = self._begin(note, begun=False)
            return self._next.ready

    def keep(self, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Read, and keep the last exposure if it is complete then: a later pause leaves it alone."""
        with self._lock:
            if self._triggered is not None and self._triggered.complete:
                self._triggered.kept = True
            return read()

    def void_current(self, reason: str) -> None:
        """Void the exposure that is not kept yet, if there is one.

        Raises
        ------
        LiveServiceError
            When the service does not take it in time; it is told with the next point.
        """
        with self._lock:
            self._call_off_next()
            exposure = self._triggered
            if exposure is None or exposure.kept or exposure.void:
                return
            exposure.cancelled.set()
            exposure.void = reason
            self._publish(exposure)
        self._tell_void(exposure, PAUSE_TIMEOUT_S)

    def _begin(self, note: Mapping[str, Any], *, begun: bool) -> Exposure:
        self._call_off_next()
        before = self.newest
        point, x_um, y_um = int(note["point"]), float(note["x_um"]), float(note["y_um"])
        exposure = Exposure(point=point, x_um=x_um, y_um=y_um, judged=self._new_status())
        if begun:
            exposure.begun.set()
        self.newest = exposure
        threading.Thread(
            target=self._run, args=(exposure, before), daemon=True, name=f"{self._name} point {exposure.point}"
        ).start()
        return exposure

    def _call_off_next(self) -> None:
        """Give up the exposure that was only made ready; its thread closes the shutter."""
        if self._next is not None:
            self._next.cancelled.set()
            self._next = None

    def _run(self, exposure: Exposure, before: Exposure | None) -> None:
        problem: Exception | None = None
        try:
            if before is not None:  # also a paused one, which may still be about to close the shutter
                self._await_shut(before)
            self._expose(exposure, before)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits for the exposure
            problem = None if exposure.cancelled.is_set() else error
            with suppress(Exception):  # what went wrong first is told
                self._shutter.close_now()
        with self._lock:  # a trigger comes before it or after it
            exposure.end(problem)

    def _await_shut(self, before: Exposure) -> None:
        """Wait until the shutter has closed after the exposure before, and raise what nobody has been told of that."""
        with suppress(WaitTimeoutError):
            before.shut.wait(self._shutter.timeout_s + 1.0)
        if before.untold is not None:
            untold, before.untold = before.untold, None
            raise untold

    def _expose(self, exposure: Exposure, before: Exposure | None) -> None:
        cancelled = exposure.cancelled.is_set
        patience_s = self.series.plan.exposure_s + self._margin_s
        # One that was not given up waits for its frame itself, while this one is made ready.
        given_up = before is None or before.cancelled.is_set()
        if given_up and not self.series.await_frame_under_way(patience_s, cancelled):
            return
        frame = self.series.next_frame()
        if not await_presence(self._needed(), cancelled=cancelled) or cancelled():
            return
        reason = "paused"
        try:
            opening = self._shutter.set("open")
            self._notes.book(self.series, exposure, frame, patient=True)  # while the blades move
            if finished(opening, cancelled):
                with self.series.watch_exposure() as watch:
                    finish(exposure.ready)
                    if self._is_begun(exposure) and self.series.await_frame_under_way(patience_s, cancelled):
                        with Witness(self._ring, self._shutter) as witness:
                            reason = self._trigger_and_wait(exposure, watch, witness)
        finally:
            # Also after a pause, which may have closed it before this thread opened it.
            await_presence((self._shutter.command, self._shutter.status))
            exposure.shuts_with(self._shutter.set("close"))
            finish(exposure.over)
        self._complete(exposure, reason or self._await_frame(exposure, frame))

    def _is_begun(self, exposure: Exposure) -> bool:
        """Wait for the word to make the exposure; False when it is given up, or nobody gives the word."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not exposure.begun.wait(0.05) and not exposure.cancelled.is_set():
            if time.monotonic() > deadline:
                break
        with self._lock:
            if not exposure.begun.is_set():
                exposure.cancelled.set()
        return not exposure.cancelled.is_set()

    def _needed(self) -> tuple[Any, ...]:
        """What must answer before an exposure can begin."""
        beam = (self._shutter.command, self._shutter.status, self._ring.current, self._ring.countdown)
        detector = (self._cam.armed, self._cam.special_trigger_button)
        return (*beam, *detector, *((self._live.point, self._live.last.frame) if self._notes.told else ()))

    def _trigger_and_wait(self, exposure: Exposure, watch: ExposureWatch, witness: Witness) -> str:
        """Write the trigger and wait for the end of the exposure; returns what spoilt it."""
        exposure_s = self.series.plan.exposure_s
        if not self._shutter.shows_open(SHUTTER_WORD_S):  # somebody has closed it since it was opened
            return "shutter not open"
        witness.opened()
        if not self._ring.fits(exposure_s):
            witness.first_look()
            return witness.verdict() or "no time left before the injection"
        watch.check_at_rest()
        with self._lock:
            if exposure.cancelled.is_set():
                return "paused"
            frame = self.series.trigger(exposure)
        exposure.triggered.set()
        witness.first_look()
        outcome = watch.until_over(frame, exposure_s + self._margin_s, exposure.cancelled.is_set)
        finish(exposure.over)
        if outcome in SPOILT_BY:
            return SPOILT_BY[outcome]
        time.sleep(STAGE_FIRST_S)
        witness.look()
        exposure.elapsed_s = witness.elapsed_s()
        return witness.verdict()

    def _await_frame(self, exposure: Exposure, frame: int) -> str:
        """Wait until the frame of an exposure that nothing has spoilt is seen; returns what spoilt it on its way."""
        exposure_s = self.series.plan.exposure_s
        outcome = self.series.await_frame(frame, exposure_s + self._margin_s, exposure.cancelled.is_set)
        if outcome in SPOILT_BY:
            return SPOILT_BY[outcome]
        self.series.check_alone()
        if math.isfinite(exposure.elapsed_s):  # an injection starts the countdown anew
            self.series.check_duration(frame, exposure.elapsed_s)
            self._overheads.append(max(0.0, exposure.elapsed_s - exposure_s))
        # Its monitor comes before that of the frame's number.
        return "corrupt" if self._notes.told and self._live.last.verdict.get() == "corrupt" else ""

    def _complete(self, exposure: Exposure, reason: str) -> None:
        with self._lock:
            if exposure.cancelled.is_set():
                return
            exposure.void = reason
            exposure.complete = True
            self._publish(exposure)
        if reason:
            self._tell_void(exposure, patient=True)

    def _tell_void(self, exposure: Exposure, timeout_s: float = BOOKING_TIMEOUT_S, *, patient: bool = False) -> None:
        """Book an exposure that used a trigger as void, and expect one more in its place."""
        frame = exposure.frame
        if frame is None:
            return
        void = Void(series=self.series.number, frame=frame, point=exposure.point, reason=exposure.void)
        with self._lock:
            self.series.voids.append(void)
            self._on_void(void)
        self._notes.book(self.series, exposure, frame, timeout_s, void=True, patient=patient)
        self._notes.expect(self.series.expected, timeout_s, patient=patient)
