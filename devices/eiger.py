"""The Eiger as a step scan uses it: armed once a run, one software trigger a point."""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from ophyd import Component, Device, Signal
from ophyd.device import RedundantStaging, Staged
from ophyd.status import DeviceStatus

from devices.eiger_cam import BITSHUFFLE_LZ4, DATA_SOURCES, HEADER_DETAILS, INTERNAL_SERIES, EigerCam
from devices.errors import DetectorError, FrameTimeoutError
from devices.exposure import Exposure, SeriesPlan, Void, VoidedExposure, Witness
from devices.live_result import LiveResult
from devices.shutter import FastShutter
from devices.storage_ring import StorageRing
from devices.waiting import Watch, finished

logger = logging.getLogger(__name__)

ARM_TIMEOUT_S = 120.0
"""What the driver itself allows the detector for arming."""
HEADER_TIMEOUT_S = 30.0
DISARM_TIMEOUT_S = 15.0
FRAME_MARGIN_S = 10.0
"""Wall seconds beyond the exposure for readout, network and service."""
PAUSE_TIMEOUT_S = 3.0
COUNTDOWN_ROUNDING_S = 2.0
"""How far the elapsed time by the countdown may be off; some facilities show whole seconds."""
DETECTOR_STATE_ERROR = 6


class ScanPoint(Signal):
    """Set it to `{"point": i, "x_um": x, "y_um": y}` before the trigger."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(value={"point": -1, "x_um": float("nan"), "y_um": float("nan")}, **kwargs)


class Eiger(Device):
    """Eiger behind ADEiger, with completion by the frame's arrival at the live service.

    `prepare(SeriesPlan(...))`, then `stage()` arms once; every `trigger()` books the point at the service, opens the
    shutter, writes one Trigger, waits until the service has seen the frame, closes the shutter and judges the exposure:
    one that met an injection, a lost beam, a shutter that was not open or a pause is void, the service is told so, and
    `valid` is 0 so that the plan repeats the point. `unstage()` disarms.

    The number of a frame is the number of triggers written before it in its series; it is never rewound. A pause voids
    the exposure that runs (and one that is complete but that nobody has read yet) and closes the shutter; the detector
    cannot be stopped without ending the series, so that frame still comes and is counted as gated, and the next trigger
    waits for it first. `read()` marks the exposure as kept.

    Parameters
    ----------
    prefix : str
        Of the camera records, `25A:EIG1M:cam1:`.
    shutter : FastShutter
    ring : StorageRing
    live : LiveResult
    data_source : {"none", "filewriter"}
        Who else takes the frames; never the stream, of which it would steal every other frame.
    header_detail : {"all", "basic", "none"}
    generation : {"eiger1", "eiger2"}
        The template of the IOC; the two number the header detail in opposite order.
    """

    cam = Component(EigerCam, "", kind="config")
    point = Component(ScanPoint, kind="omitted")
    series = Component(Signal, value=-1)
    frame = Component(Signal, value=-1, kind="hinted")
    point_index = Component(Signal, value=-1)
    valid = Component(Signal, value=0)
    void_reason = Component(Signal, value="", kind="omitted")
    voided = Component(VoidedExposure, "", kind="omitted")

    def __init__(
        self,
        prefix: str,
        *,
        name: str,
        shutter: FastShutter,
        ring: StorageRing,
        live: LiveResult,
        data_source: Literal["none", "filewriter"] = "none",
        header_detail: Literal["all", "basic", "none"] = "all",
        generation: Literal["eiger1", "eiger2"] = "eiger1",
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.shutter, self.ring, self.live = shutter, ring, live
        self.data_source, self.header_detail, self.generation = data_source, header_detail, generation
        self.frame_margin_s = FRAME_MARGIN_S
        self.plan: SeriesPlan | None = None
        self.voids: list[Void] = []
        self._overheads: deque[float] = deque(maxlen=8)
        self._lock = threading.RLock()
        self._series: int | None = None
        self._triggered = 0
        self._in_flight: int | None = None
        self._exposure: Exposure | None = None
        self._worker: threading.Thread | None = None

    # -- before and after a series ---------------------------------------------------------------------------------

    def prepare(self, value: SeriesPlan) -> DeviceStatus:
        """Say what the next series shall be; `stage` arms for it."""
        self.plan = value
        status = DeviceStatus(self)
        status.set_finished()
        return status

    def stage(self) -> list[Any]:
        """Configure and arm; on any failure the detector is left disarmed.

        Raises
        ------
        DetectorError
            When a setting is refused or the detector does not arm.
        LiveServiceError
            When the live service does not see the series.
        """
        if self._staged != Staged.no:
            raise RedundantStaging(f"{self.name} must be unstaged before it is staged, got a second stage")
        try:
            self._configure()
            self._arm()
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

    def _configure(self) -> None:
        cam = self.cam
        if cam.acquire.get() or cam.armed.get():
            self._disarm(DISARM_TIMEOUT_S)
        plan = self.plan
        if plan is None:
            plan = self.plan = SeriesPlan(exposure_s=float(cam.acquire_time.get()))
        cam.write(cam.trigger_mode, INTERNAL_SERIES)
        cam.write(cam.num_images, 1)
        cam.write(cam.acquire_time, plan.exposure_s)
        cam.write(cam.acquire_period, plan.exposure_s + float(cam.dead_time.get()))
        cam.write(cam.num_triggers, plan.triggers)
        cam.write(cam.manual_trigger, 1)
        cam.write(cam.shutter_mode, 0)  # the driver must not move the shutter as well
        if self.data_source == "filewriter":
            cam.write(cam.fw_enable, 1)
        cam.write(cam.data_source, DATA_SOURCES[self.data_source])
        cam.write(cam.stream_enable, 1)
        cam.write(cam.stream_hdr_detail, HEADER_DETAILS[self.generation][self.header_detail])
        cam.write(cam.compression_algo, BITSHUFFLE_LZ4)

    def _arm(self) -> None:
        cam = self.cam
        with Watch(armed=cam.armed, state=cam.detector_state) as watch:
            before = watch.updates("state")

            def failed() -> bool:
                return watch.updates("state") > before and watch.latest["state"] == DETECTOR_STATE_ERROR

            cam.acquire.put(1)
            if not watch.until(lambda now: now["armed"] == 1, ARM_TIMEOUT_S, cancelled=failed):
                raise DetectorError(
                    f"{self.name} must arm within {ARM_TIMEOUT_S:g} s, got state {cam.detector_state.get()} with "
                    f"message {cam.status_message.get()!r}; see the detector's screen"
                )
        with self._lock:
            self._series = int(cam.sequence_id.get(use_monitor=False))
            self._triggered, self._in_flight, self._exposure = 0, None, None
            self.voids.clear()
            self.voided.waiting.clear()
        self.series.put(self._series)
        self._await_header(self._series)
        if self.plan is not None and self.plan.points is not None:
            self.live.expect(self.plan.points)

    def _await_header(self, series: int) -> None:
        with Watch(series=self.live.series, frame=self.live.last.frame) as watch:
            # A frame number left over from the last series must not pass for one of this series.
            if not watch.until(lambda now: now["series"] == series and now["frame"] == -1, HEADER_TIMEOUT_S):
                raise DetectorError(
                    f"header of series {series} must reach the live service within {HEADER_TIMEOUT_S:g} s, got series "
                    f"{watch.latest['series']} there; is it connected to this detector's stream?"
                )

    # -- one exposure ----------------------------------------------------------------------------------------------

    def trigger(self) -> DeviceStatus:
        """Make one exposure; the status is done when it has been judged, or fails with a named error."""
        if self._series is None:
            raise DetectorError(f"{self.name} must be staged before it is triggered; use a plan that stages it")
        note = self.point.get()
        exposure = Exposure(point=int(note["point"]), x_um=float(note["x_um"]), y_um=float(note["y_um"]))
        status = DeviceStatus(self)
        with self._lock:
            if self._exposure is not None:
                self._exposure.cancelled.set()
            self._exposure, before = exposure, self._worker
            self._worker = threading.Thread(
                target=self._run, args=(exposure, status, before), daemon=True, name=f"{self.name} {exposure.point}"
            )
            self._worker.start()
        return status

    def read(self) -> dict[str, Any]:
        """Read the last exposure and keep it: a later pause leaves it alone."""
        with self._lock:
            if self._exposure is not None and self._exposure.complete:
                self._exposure.kept = True
            reading: dict[str, Any] = super().read()
        return reading

    def _run(self, exposure: Exposure, status: DeviceStatus, before: threading.Thread | None) -> None:
        try:
            if before is not None:  # a paused exposure may still be about to close the shutter
                before.join(self.shutter.timeout_s)
            self._expose(exposure)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits for the status
            self._quietly(self.shutter.close_now)
            if not exposure.cancelled.is_set():
                status.set_exception(error)
                return
        status.set_finished()

    def _expose(self, exposure: Exposure) -> None:
        cancelled = exposure.cancelled.is_set
        if not self._await_frame_in_flight(cancelled):
            return
        series, frame = self._next_frame()
        self._book(series, frame, exposure)
        try:
            if not finished(self.shutter.set("open"), cancelled):
                return
            with Witness(self.ring, self.shutter) as witness:
                reason = self._trigger_and_wait(exposure, frame, witness)
        finally:
            # Also after a pause, which may have closed it before this thread opened it.
            closing = self.shutter.set("close")
        finished(closing, cancelled)
        self._complete(exposure, reason)

    def _next_frame(self) -> tuple[int, int]:
        with self._lock:
            series, frame, plan = self._series, self._triggered, self.plan
        if series is None or plan is None:
            raise DetectorError(f"{self.name} must be staged while it exposes, got a detector that was disarmed")
        if frame >= plan.triggers:
            raise DetectorError(
                f"series {series} must do with its {plan.triggers} triggers, got a request for one more; arm with more "
                "spare ones, or see why so many exposures were void"
            )
        return series, frame

    def _trigger_and_wait(self, exposure: Exposure, frame: int, witness: Witness) -> str:
        """Write the trigger and wait for the frame; returns what spoilt the exposure."""
        if not witness.fits(self._exposure_s):
            return "no time left before the injection"
        with self._lock:
            if exposure.cancelled.is_set():
                return "paused"
            exposure.frame = self._in_flight = frame
            self._triggered = frame + 1
            self.cam.special_trigger_button.put(1)
        if not self._await_frame(frame, exposure.cancelled.is_set):
            return "paused"
        witness.look()
        if math.isfinite(elapsed := witness.elapsed_s()):
            self._check_duration(frame, elapsed)
            self._overheads.append(max(0.0, elapsed - self._exposure_s))
        spoilt = witness.verdict()
        if not spoilt and self.live.last.verdict.get(use_monitor=False) == "corrupt":
            spoilt = "corrupt"
        return spoilt

    def _complete(self, exposure: Exposure, reason: str) -> None:
        with self._lock:
            if exposure.cancelled.is_set():
                return
            exposure.void = reason
            exposure.complete = True
            self._publish(exposure)
        if reason and exposure.frame is not None:
            self._tell_void(exposure)

    def _publish(self, exposure: Exposure) -> None:
        self.frame.put(-1 if exposure.frame is None else exposure.frame)
        self.point_index.put(exposure.point)
        self.void_reason.put(exposure.void)
        self.valid.put(0 if exposure.void else 1)

    # -- the frame's way -------------------------------------------------------------------------------------------

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

    @property
    def _exposure_s(self) -> float:
        return self.plan.exposure_s if self.plan is not None else float(self.cam.acquire_time.get())

    def _await_frame_in_flight(self, cancelled: Callable[[], bool]) -> bool:
        """Let a frame that a pause left behind arrive: a trigger during its exposure would be lost."""
        with self._lock:
            frame = self._in_flight
        return frame is None or self._await_frame(frame, cancelled)

    def _await_frame(self, frame: int, cancelled: Callable[[], bool]) -> bool:
        """Wait until the live service has seen a frame of this series; False when cancelled.

        Raises
        ------
        FrameTimeoutError
            When it does not come within the exposure and a margin.
        DetectorError
            When the detector disarms, or frames come that nobody here asked for.
        """
        series, deadline = self._series, self._exposure_s + self.frame_margin_s
        with Watch(series=self.live.series, frame=self.live.last.frame, armed=self.cam.armed) as watch:
            seen = watch.until(
                lambda now: now["armed"] == 0 or (now["series"] == series and now["frame"] >= frame),
                deadline,
                cancelled,
            )
            now = watch.latest
        if now["series"] == series and now["frame"] >= frame:
            self._check_count(int(now["frame"]))
            with self._lock:
                if self._in_flight == frame:
                    self._in_flight = None
            return True
        if cancelled():
            return False
        if seen:
            raise DetectorError(
                f"{self.name} must stay armed until frame {frame} of series {series} has come, got a detector that was "
                f"disarmed with message {self.cam.status_message.get()!r}; see who else uses it"
            )
        with self._lock:
            self._in_flight = None  # lost, not dropped by the abort that follows: the service shall call it missing
        raise FrameTimeoutError(
            f"frame {frame} of series {series} must reach the live service within {deadline:g} s of its trigger, got "
            f"frame {now['frame']} of series {now['series']} as the newest; see the service's page and the network"
        )

    def _check_duration(self, frame: int, elapsed_s: float) -> None:
        """A frame that comes before its exposure can have ended is somebody else's."""
        if elapsed_s < self._exposure_s - COUNTDOWN_ROUNDING_S:
            raise DetectorError(
                f"frame {frame} of series {self._series} must take its exposure of {self._exposure_s:g} s, got it after "
                f"{elapsed_s:g} s; somebody else triggers this detector, so points and frames no longer agree: start "
                "the scan again"
            )

    def _check_count(self, newest: int) -> None:
        if newest >= self._triggered:
            raise DetectorError(
                f"series {self._series} must have had {self._triggered} triggers, got frame {newest} already; somebody "
                "else triggers this detector, so points and frames no longer agree: start the scan again"
            )

    def _book(self, series: int, frame: int, exposure: Exposure, timeout_s: float | None = None) -> None:
        extra = {} if timeout_s is None else {"timeout_s": timeout_s}
        self.live.book(
            series=series,
            frame=frame,
            point=exposure.point,
            x_um=exposure.x_um,
            y_um=exposure.y_um,
            void=bool(exposure.void),
            **extra,
        )

    def _tell_void(self, exposure: Exposure, timeout_s: float | None = None) -> None:
        """Book an exposure that used a trigger as void, and expect one more in its place."""
        series, frame = self._series, exposure.frame
        if series is None or frame is None:
            return
        void = Void(series=series, frame=frame, point=exposure.point, reason=exposure.void)
        with self._lock:
            self.voids.append(void)
            self.voided.waiting.append(void)
        self._book(series, frame, exposure, timeout_s)
        if self.plan is not None and self.plan.points is not None:
            self.live.expect(self.plan.points + len(self.voids))

    # -- pause, resume, end ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Close the shutter and void the exposure that runs, or that nobody has read yet (the RunEngine calls this)."""
        self._quietly(self.shutter.close_now)
        exposure = self._void_current("paused")
        if exposure is not None and exposure.frame is not None:
            self._quietly(lambda: self._tell_void(exposure, PAUSE_TIMEOUT_S))
        self._quietly(lambda: self.live.pausing(True, PAUSE_TIMEOUT_S))
        self._quietly(lambda: self.shutter.set("close").wait(self.shutter.timeout_s + 1.0))

    def resume(self) -> None:
        """Tell the service that the scan goes on; the RunEngine then repeats what was not kept."""
        self._quietly(lambda: self.live.pausing(False, PAUSE_TIMEOUT_S))

    def make_safe(self) -> list[str]:
        """Close the shutter, void what runs, disarm; never raises.

        Returns
        -------
        list of str
            What did not work.
        """
        exposure = self._void_current("aborted")
        steps: list[Callable[[], object]] = [self.shutter.close_now]
        if exposure is not None and exposure.frame is not None:
            steps.append(lambda: self._tell_void(exposure, PAUSE_TIMEOUT_S))
        if self._series is not None:
            # Told before the series ends: a frame that the abort drops was never to come.
            steps.append(lambda: self.live.expect(self._frames_made(), PAUSE_TIMEOUT_S))
        steps.append(lambda: self._disarm(DISARM_TIMEOUT_S))
        steps.append(lambda: self.shutter.set("close").wait(self.shutter.timeout_s + 1.0))
        if self._series is not None:
            steps.append(lambda: self.live.pausing(False, PAUSE_TIMEOUT_S))
        problems = [problem for step in steps if (problem := self._quietly(step))]
        with self._lock:
            self._series = self._in_flight = self._exposure = None
        return problems

    def _void_current(self, reason: str) -> Exposure | None:
        """Void the exposure that is not kept yet; None when there is nothing to void."""
        with self._lock:
            exposure = self._exposure
            if exposure is None or exposure.kept or exposure.void:
                return None
            exposure.cancelled.set()
            exposure.void = reason
            self._publish(exposure)
            return exposure

    def _frames_made(self) -> int:
        with self._lock:
            dropped = 0 if self._in_flight is None else 1
            return self._triggered - dropped

    def _disarm(self, timeout_s: float) -> None:
        cam = self.cam
        with Watch(armed=cam.armed, acquire=cam.acquire) as watch:
            cam.acquire.put(0)
            if not watch.until(lambda now: now["armed"] == 0 and now["acquire"] == 0, timeout_s):
                raise DetectorError(
                    f"{self.name} must disarm within {timeout_s:g} s, got Armed {watch.latest['armed']} and Acquire "
                    f"{watch.latest['acquire']}; press Stop on the detector's screen"
                )

    def _quietly(self, step: Callable[[], object]) -> str:
        """Do a step of a clean-up that must go on; returns what went wrong, empty when nothing did."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the next step of a clean-up matters more than any error
            logger.warning("%s: %s", self.name, error)
            return str(error)
        return ""
