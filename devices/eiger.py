"""The Eiger as a step scan uses it: armed once a run, one software trigger a point."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ophyd import Component, Device, Signal
from ophyd.device import RedundantStaging, Staged
from ophyd.status import DeviceStatus, Status
from ophyd.utils import WaitTimeoutError

from devices.arrival import Arrivals, AtService, InFiles
from devices.eiger_arm import DataSource, HeaderDetail, arm, await_header, configure, disarm
from devices.eiger_cam import EigerCam
from devices.errors import DetectorError
from devices.exposure import (
    Exposure,
    ExposureOver,
    MadeReady,
    SeriesPlan,
    Void,
    VoidedExposure,
)
from devices.live_result import BOOKING_TIMEOUT_S, LiveResult
from devices.presence import ReturnGuard, await_presence, silent
from devices.scan_notes import PAUSE_TIMEOUT_S, ScanNotes
from devices.series import ExposureWatch, Series
from devices.shutter import FastShutter
from devices.storage_ring import StorageRing
from devices.waiting import done_status, finish, finished
from devices.witness import Witness

logger = logging.getLogger(__name__)

FRAME_MARGIN_S = 10.0
"""Wall seconds beyond the exposure for readout, network and service."""
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
LIVE_TIMEOUT_S = 5.0
"""How long a scan waits at its start for a live service before it does without, wall s."""


class ScanPoint(Signal):
    """Set it to `{"point": i, "x_um": x, "y_um": y}` before the trigger."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(value={"point": -1, "x_um": 0.0, "y_um": 0.0}, **kwargs)


class Eiger(Device):
    """Eiger behind ADEiger, with completion by the frame's arrival at the live service.

    `prepare(SeriesPlan(...))`, then `stage()` arms once; every `trigger()` opens the shutter, books the point at the
    service, writes one Trigger, waits until the exposure is over, judges it, closes the shutter and waits until the
    service has seen the frame. An exposure that met an injection, a lost beam, a shutter that was not open or a pause
    is void, the service is told so, and `valid` is 0 so that the plan repeats the point. `over` tells when the stage
    may move. A plan may set `ready` to the point it goes to next: the shutter opens and the point is booked on the way.
    `unstage()` disarms.

    A pause voids the exposure that runs (and one that is complete but that nobody has read yet) and closes the shutter;
    the detector cannot be stopped without ending the series, so that frame still comes and is counted as gated, and the
    next trigger waits for it first. `read()` marks the exposure as kept.

    An IOC or a live service that goes away is waited for (`devices.presence.AWAY_TIMEOUT_S`); what it spoilt or lost is
    void. Without a live service at the start, every frame goes into a file of the detector, and its file counter
    completes the exposure; `seen_by` says which it is.

    Parameters
    ----------
    prefix : str
        Of the camera records, `25A:EIG1M:cam1:`.
    shutter : FastShutter
    ring : StorageRing
    live : LiveResult
    data_source, header_detail
        See `devices.eiger_arm.configure`.
    """

    cam = Component(EigerCam, "", kind="config")
    point = Component(ScanPoint, kind="omitted")
    series = Component(Signal, value=-1)
    frame = Component(Signal, value=-1, kind="hinted")
    point_index = Component(Signal, value=-1)
    valid = Component(Signal, value=0)
    seen_by = Component(Signal, value="", kind="config")
    void_reason = Component(Signal, value="", kind="omitted")
    voided = Component(VoidedExposure, "", kind="omitted")
    over = Component(ExposureOver, "", kind="omitted")
    ready = Component(MadeReady, "", kind="omitted")

    def __init__(
        self,
        prefix: str,
        *,
        name: str,
        shutter: FastShutter,
        ring: StorageRing,
        live: LiveResult,
        data_source: DataSource = "none",
        header_detail: HeaderDetail = "all",
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.shutter, self.ring, self.live = shutter, ring, live
        self.data_source: DataSource = data_source
        self.header_detail: HeaderDetail = header_detail
        self.frame_margin_s = FRAME_MARGIN_S
        self.plan: SeriesPlan | None = None
        self.voids: list[Void] = []
        self._overheads: deque[float] = deque(maxlen=8)
        self._lock = threading.RLock()
        self._series: Series | None = None
        self._exposure: Exposure | None = None
        self._next: Exposure | None = None  # made ready, not triggered yet
        self._newest: Exposure | None = None
        self._guard: ReturnGuard | None = None
        self._notes = ScanNotes(live)
        self._images_per_file: int | None = None

    # -- before and after a series ---------------------------------------------------------------------------------

    def prepare(self, value: SeriesPlan) -> Status:
        """Say what the next series shall be; `stage` arms for it."""
        self.plan = value
        return done_status()

    def stage(self) -> list[Any]:
        """Configure and arm; on any failure the detector is left disarmed.

        Raises
        ------
        DetectorError
            When a setting is refused, the detector does not arm, or its header does not reach the live service.
        LiveServiceError
            When the live service does not take the number of exposures.
        """
        if self._staged != Staged.no:
            raise RedundantStaging(f"{self.name} must be unstaged before it is staged, got a second stage")
        if self._guard is not None:
            self._guard.dismiss()
        self._notes = ScanNotes(self.live, told=self.live.is_there(LIVE_TIMEOUT_S))
        arrivals: Arrivals = AtService(self.live) if self._notes.told else InFiles(self.cam)
        try:
            plan = self.plan or SeriesPlan(exposure_s=float(self.cam.acquire_time.get()))
            if not self._notes.told:
                self._do_without_live()
            tells = configure(self.cam, plan, self.data_source, self.header_detail, to_files=not self._notes.told)
            self._begin(Series(arm(self.cam), plan, self.cam, arrivals, tells=tells), arrivals)
            staged: list[Any] = super().stage()
        except BaseException:
            self.make_safe()
            raise
        return staged

    def unstage(self) -> list[Any]:
        """Close the shutter and disarm, whatever has happened.

        Raises
        ------
        DetectorError
            When shutter or detector do not confirm; everything else has been done then.
        """
        problems = self.make_safe()
        unstaged: list[Any] = super().unstage()
        if problems:
            raise DetectorError(f"{self.name} must be disarmed with its shutter closed, but {'; '.join(problems)}")
        return unstaged

    def stop(self, *, success: bool = False) -> None:
        """Close the shutter and disarm."""
        del success
        self.make_safe()

    def _begin(self, series: Series, arrivals: Arrivals) -> None:
        with self._lock:
            self._series, self._exposure, self.voids = series, None, series.voids
            self.voided.waiting.clear()
        self.series.put(series.number)
        self.seen_by.put(arrivals.name)
        if not self._notes.told:
            return
        await_header(self.live, series.number)
        self._notes.expect(series.expected)

    def _do_without_live(self) -> None:
        logger.warning(
            "%s: no live service answers at %s, so nothing is summed; every frame goes into a file of the detector, "
            "and the documents tell its point. Start `xedm live` first to sum", self.name, self.live.prefix,
        )  # fmt: skip
        self._images_per_file = int(self.cam.fw_num_images_per_file.get())

    @property
    def armed_here(self) -> bool:
        """Whether this session has armed the detector and not disarmed it yet."""
        return self._series is not None

    @property
    def overhead_s(self) -> float:
        """Time from trigger to frame beyond the exposure, as the injection countdown counts it, s.

        The upper quartile of the last eight exposures; 0 before the first. A gate that adds it wastes no exposure on
        an injection that comes before the frame has been seen.
        """
        known = sorted(self._overheads)
        return known[(3 * len(known)) // 4] if known else 0.0

    # -- one exposure ----------------------------------------------------------------------------------------------

    def trigger(self) -> DeviceStatus:
        """Make one exposure; the status is done when it has been judged, or fails with a named error."""
        with self._lock:
            note = self.point.get()
            exposure = self._next
            if exposure is None or not exposure.waits_for(note):
                exposure = self._begin_exposure(note, begun=True)
            if self._exposure is not None:
                self._exposure.cancelled.set()
            self._exposure, self._next = exposure, None
            self.over.exposure = exposure
            exposure.begun.set()
        if exposure.ready.done:  # it writes its trigger at once; what the plan does next would only hold that up
            exposure.triggered.wait(HAND_OVER_S)
        return exposure.judged

    def make_ready(self, note: Mapping[str, Any], needed_s: float) -> Status:
        """Open the shutter for an exposure at a point and book it, as soon as the exposure before is over.

        `trigger` for that point makes the exposure. Nothing is done when an injection comes within `needed_s`; without
        a trigger within `READY_TIMEOUT_S` the shutter closes again.
        """
        with self._lock:
            if not self.ring.fits(needed_s):
                return done_status()
            self._next = self._begin_exposure(note, begun=False)
            return self._next.ready

    def _begin_exposure(self, note: Mapping[str, Any], *, begun: bool) -> Exposure:
        series, before = self._series, self._newest
        if series is None:
            raise DetectorError(f"{self.name} must be staged before it is triggered; use a plan that stages it")
        self._call_off_next()
        exposure = Exposure(
            point=int(note["point"]), x_um=float(note["x_um"]), y_um=float(note["y_um"]), judged=DeviceStatus(self)
        )
        if begun:
            exposure.begun.set()
        self._newest = exposure
        thread = threading.Thread(
            target=self._run, args=(series, exposure, before), daemon=True, name=f"{self.name} point {exposure.point}"
        )
        thread.start()
        return exposure

    def _call_off_next(self) -> None:
        """Give up the exposure that was only made ready; its thread closes the shutter."""
        if self._next is not None:
            self._next.cancelled.set()
            self._next = None

    def read(self) -> dict[str, Any]:
        """Read the last exposure and keep it: a later pause leaves it alone."""
        with self._lock:
            if self._exposure is not None and self._exposure.complete:
                self._exposure.kept = True
            reading: dict[str, Any] = super().read()
        return reading

    def _run(self, series: Series, exposure: Exposure, before: Exposure | None) -> None:
        problem: Exception | None = None
        try:
            if before is not None:  # also a paused one, which may still be about to close the shutter
                self._await_shut(before)
            self._expose(series, exposure, before)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits for the exposure
            self._quietly(self.shutter.close_now)
            problem = None if exposure.cancelled.is_set() else error
        with self._lock:  # a trigger comes before it or after it
            exposure.end(problem)

    def _await_shut(self, before: Exposure) -> None:
        """Wait until the shutter has closed after the exposure before, and raise what nobody has been told of that."""
        with suppress(WaitTimeoutError):
            before.shut.wait(self.shutter.timeout_s + 1.0)

    def _expose(self, series: Series, exposure: Exposure, before: Exposure | None) -> None:
        cancelled = exposure.cancelled.is_set
        patience_s = series.plan.exposure_s + self.frame_margin_s
        # One that was not given up waits for its frame itself, while this one is made ready.
        given_up = before is None or before.cancelled.is_set()
        if given_up and not series.await_frame_under_way(patience_s, cancelled):
            return
        frame = series.next_frame()
        if not await_presence(self._needed(), cancelled=cancelled) or cancelled():
            return
        reason = "paused"
        try:
            opening = self.shutter.set("open")
            self._notes.book(series, exposure, frame, patient=True)  # while the blades move
            if finished(opening, cancelled):
                with series.watch_exposure() as watch:
                    finish(exposure.ready)
                    if self._is_begun(exposure) and series.await_frame_under_way(patience_s, cancelled):
                        with Witness(self.ring, self.shutter) as witness:
                            reason = self._trigger_and_wait(series, exposure, watch, witness)
        finally:
            # Also after a pause, which may have closed it before this thread opened it.
            await_presence((self.shutter.command, self.shutter.status))
            exposure.shuts_with(self.shutter.set("close"))
            finish(exposure.over)
        self._complete(series, exposure, reason or self._await_frame(series, exposure, frame))

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
        beam = (self.shutter.command, self.shutter.status, self.ring.current, self.ring.countdown)
        detector = (self.cam.armed, self.cam.special_trigger_button)
        return (*beam, *detector, *((self.live.point, self.live.last.frame) if self._notes.told else ()))

    def _trigger_and_wait(self, series: Series, exposure: Exposure, watch: ExposureWatch, witness: Witness) -> str:
        """Write the trigger and wait for the end of the exposure; returns what spoilt it."""
        exposure_s = series.plan.exposure_s
        if not self.shutter.shows_open(SHUTTER_WORD_S):  # somebody has closed it since it was opened
            return "shutter not open"
        witness.opened()
        if not self.ring.fits(exposure_s):
            witness.first_look()
            return witness.verdict() or "no time left before the injection"
        watch.check_at_rest()
        with self._lock:
            if exposure.cancelled.is_set():
                return "paused"
            frame = series.trigger(exposure)
        exposure.triggered.set()
        witness.first_look()
        outcome = watch.until_over(frame, exposure_s + self.frame_margin_s, exposure.cancelled.is_set)
        finish(exposure.over)
        if outcome in SPOILT_BY:
            return SPOILT_BY[outcome]
        time.sleep(STAGE_FIRST_S)
        witness.look()
        exposure.elapsed_s = witness.elapsed_s()
        return witness.verdict()

    def _await_frame(self, series: Series, exposure: Exposure, frame: int) -> str:
        """Wait until the frame of an exposure that nothing has spoilt is seen; returns what spoilt it on its way."""
        exposure_s = series.plan.exposure_s
        outcome = series.await_frame(frame, exposure_s + self.frame_margin_s, exposure.cancelled.is_set)
        if outcome in SPOILT_BY:
            return SPOILT_BY[outcome]
        series.check_alone()
        if math.isfinite(exposure.elapsed_s):  # an injection starts the countdown anew
            series.check_duration(frame, exposure.elapsed_s)
            self._overheads.append(max(0.0, exposure.elapsed_s - exposure_s))
        # Its monitor comes before that of the frame's number.
        return "corrupt" if self._notes.told and self.live.last.verdict.get() == "corrupt" else ""

    def _complete(self, series: Series, exposure: Exposure, reason: str) -> None:
        with self._lock:
            if exposure.cancelled.is_set():
                return
            exposure.void = reason
            exposure.complete = True
            self._publish(exposure)
        if reason:
            self._tell_void(series, exposure, patient=True)

    def _publish(self, exposure: Exposure) -> None:
        self.frame.put(-1 if exposure.frame is None else exposure.frame)
        self.point_index.put(exposure.point)
        self.void_reason.put(exposure.void)
        self.valid.put(0 if exposure.void else 1)

    def _tell_void(
        self, series: Series, exposure: Exposure, timeout_s: float = BOOKING_TIMEOUT_S, *, patient: bool = False
    ) -> None:
        """Book an exposure that used a trigger as void, and expect one more in its place."""
        frame = exposure.frame
        if frame is None:
            return
        void = Void(series=series.number, frame=frame, point=exposure.point, reason=exposure.void)
        with self._lock:
            series.voids.append(void)
            self.voided.waiting.append(void)
        self._notes.book(series, exposure, frame, timeout_s, patient=patient)
        self._notes.expect(series.expected, timeout_s, patient=patient)

    # -- pause, resume, end ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Close the shutter and void the exposure that runs, or that nobody has read yet (the RunEngine calls this)."""
        self._quietly(self.shutter.close_now)
        self._void_current("paused")
        self._say_pausing(True)
        self._quietly(lambda: self.shutter.set("close").wait(self.shutter.timeout_s + 1.0))

    def resume(self) -> None:
        """Tell the service that the scan goes on; the RunEngine then repeats what was not kept."""
        self._say_pausing(False)

    def _say_pausing(self, paused: bool) -> str:
        return self._quietly(lambda: self._notes.pausing(paused))

    def make_safe(self) -> list[str]:
        """Close the shutter, void what runs, disarm; never raises.

        Returns
        -------
        list of str
            What did not work.
        """
        series = self._series
        problems = [self._quietly(self.shutter.close_now), self._void_current("aborted")]
        if series is not None:
            problems.append(self._quietly(lambda: self._notes.tell_owed(PAUSE_TIMEOUT_S)))
            problems.append(self._quietly(lambda: self._notes.void_orphans(series)))
            # Told before the series ends: a frame that the abort drops was never to come.
            problems.append(self._quietly(lambda: self._notes.expect(series.frames_made, PAUSE_TIMEOUT_S)))
        unsafe = [
            self._quietly(lambda: disarm(self.cam)),
            self._quietly(lambda: self.shutter.set("close").wait(self.shutter.timeout_s + 1.0)),
        ]
        if series is not None:
            problems.append(self._say_pausing(False))
            series.end()
        with self._lock:
            self._series = self._exposure = None
        if any(unsafe):
            self._make_safe_on_return()
        elif self._images_per_file is not None:
            kept, self._images_per_file = self._images_per_file, None
            problems.append(self._quietly(lambda: self.cam.write(self.cam.fw_num_images_per_file, kept)))
        return [problem for problem in problems + unsafe if problem]

    def _make_safe_on_return(self) -> None:
        """Have somebody disarm the detector and close the shutter when their IOCs are back; a new scan takes over."""
        signals = (self.cam.acquire, self.cam.armed, self.shutter.command, self.shutter.status)
        if not silent(signals):
            return

        def act() -> None:
            self.shutter.close_now()
            disarm(self.cam)
            logger.warning("%s: disarmed and its shutter closed, now that their IOCs are back", self.name)

        self._guard = ReturnGuard(signals, act)

    def _void_current(self, reason: str) -> str:
        """Void the exposure that is not kept yet, if there is one; returns what did not work."""
        with self._lock:
            self._call_off_next()
            series, exposure = self._series, self._exposure
            if series is None or exposure is None or exposure.kept or exposure.void:
                return ""
            exposure.cancelled.set()
            exposure.void = reason
            self._publish(exposure)
        return self._quietly(lambda: self._tell_void(series, exposure, PAUSE_TIMEOUT_S))

    def _quietly(self, step: Callable[[], object]) -> str:
        """Do a step of a clean-up that must go on; returns what went wrong, empty when nothing did."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the next step of a clean-up matters more than any error
            logger.warning("%s: %s", self.name, error)
            return str(error)
        return ""
