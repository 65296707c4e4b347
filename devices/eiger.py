"""The Eiger as a step scan uses it: armed once a run, one software trigger a point."""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ophyd import Component, Device, Signal
from ophyd.device import RedundantStaging, Staged
from ophyd.status import DeviceStatus, Status

from devices.arrival import Arrivals, AtService, InFiles
from devices.eiger_arm import DataSource, HeaderDetail, arm, await_header, configure, disarm
from devices.eiger_cam import EigerCam
from devices.errors import DetectorError
from devices.exposure import Exposure, ExposureOver, MadeReady, SeriesPlan, Void, VoidedExposure
from devices.exposures import Exposures, Parties
from devices.live_result import BOOKING_TIMEOUT_S, LiveResult
from devices.presence import ReturnGuard, silent
from devices.scan_notes import PAUSE_TIMEOUT_S, ScanNotes
from devices.series import Series
from devices.shutter import FastShutter
from devices.storage_ring import StorageRing
from devices.waiting import done_status

logger = logging.getLogger(__name__)

FRAME_MARGIN_S = 10.0
"""Wall seconds beyond the exposure for readout, network and service."""
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
        self.frame_margin_s = FRAME_MARGIN_S  # of the next series
        self.plan: SeriesPlan | None = None
        self.voids: list[Void] = []
        self._overheads: deque[float] = deque(maxlen=8)
        self._exposures: Exposures | None = None
        self._last: Exposure | None = None
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
        told = self.live.is_there(LIVE_TIMEOUT_S)
        self._notes = ScanNotes(self.live, told=told, owed=self._notes.owed)
        if told:  # before arming: the service still has the series that it is owed for
            self._quietly(lambda: self._notes.tell_owed(PAUSE_TIMEOUT_S))
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
        parties = Parties(
            name=self.name,
            cam=self.cam,
            shutter=self.shutter,
            ring=self.ring,
            live=self.live,
            notes=self._notes,
            new_status=lambda: DeviceStatus(self),
            publish=self._publish,
            on_void=self.voided.waiting.append,
            overheads=self._overheads,
        )
        self.voids = series.voids
        self.voided.waiting.clear()
        self._exposures = Exposures(series, parties, self.frame_margin_s, self._last)
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
        return self._exposures is not None

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
        exposure = self._staged_exposures().trigger(self.point.get())
        self.over.exposure = exposure
        return exposure.judged

    def make_ready(self, note: Mapping[str, Any], needed_s: float) -> Status:
        """Be ready for an exposure at a point; `trigger` for that point makes it (see `Exposures.make_ready`)."""
        return self._staged_exposures().make_ready(note, needed_s)

    def _staged_exposures(self) -> Exposures:
        if self._exposures is None:
            raise DetectorError(f"{self.name} must be staged before it is triggered; use a plan that stages it")
        return self._exposures

    def read(self) -> dict[str, Any]:
        """Read the last exposure and keep it: a later pause leaves it alone."""
        return super().read() if self._exposures is None else self._exposures.keep(super().read)

    def _publish(self, exposure: Exposure) -> None:
        self.frame.put(-1 if exposure.frame is None else exposure.frame)
        self.point_index.put(exposure.point)
        self.void_reason.put(exposure.void)
        self.valid.put(0 if exposure.void else 1)

    # -- pause, resume, end ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Close the shutter and void the exposure that runs, or that nobody has read yet (the RunEngine calls this)."""
        self._quietly(self.shutter.close_now)
        if (exposures := self._exposures) is not None:
            self._quietly(lambda: exposures.void_current("paused"))
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
        exposures = self._exposures
        problems = [self._quietly(self.shutter.close_now)]
        if exposures is not None:
            series = exposures.series
            problems.append(self._quietly(lambda: exposures.void_current("aborted")))
            problems.append(self._quietly(lambda: self._notes.tell_owed(PAUSE_TIMEOUT_S)))
            problems.append(self._quietly(lambda: self._notes.void_orphans(series)))
            # Told before the series ends: a frame that the abort drops was never to come.
            problems.append(self._quietly(lambda: self._notes.expect(series.frames_made, PAUSE_TIMEOUT_S)))
        unsafe = [
            self._quietly(lambda: disarm(self.cam)),
            self._quietly(lambda: self.shutter.set("close").wait(self.shutter.timeout_s + 1.0)),
        ]
        if exposures is not None:
            problems.append(self._say_pausing(False))
            exposures.series.end()
            self._last, self._exposures = exposures.newest, None
        self._tell_owed_on_return()
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

    def _tell_owed_on_return(self) -> None:
        """Have somebody tell a service that is away, when it is back, which frames must not be summed."""
        notes = self._notes
        if notes.owed and silent((self.live.point,)):
            ReturnGuard((self.live.point,), lambda: notes.tell_owed(BOOKING_TIMEOUT_S))

    def _quietly(self, step: Callable[[], object]) -> str:
        """Do a step of a clean-up that must go on; returns what went wrong, empty when nothing did."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the next step of a clean-up matters more than any error
            logger.warning("%s: %s", self.name, error)
            return str(error)
        return ""
