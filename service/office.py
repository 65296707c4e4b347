"""What happens to a series behind the sums: snapshots on disk and images, each in a thread of its own."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from processing.snapshot import SumSnapshot, Window, freeze
from service.books import ErrorLog
from service.imaging import ImagingError, ImagingJob, ImagingResult, run_imaging
from service.imaging_window import imaging_window
from service.series import Series
from service.status import Forecast, ReconstructionStatus
from service.store import SeriesFile, write_series_file

_log = structlog.get_logger()

_LATE_EVERY_S = 5.0
"""How often a file that the disk has refused at the end is tried again."""


def utc_now() -> str:
    """Return this moment as ISO 8601 text in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(slots=True, kw_only=True)
class Folder:
    """The papers of one series.

    Attributes
    ----------
    series : Series
    path : Path
        The result file.
    started : str
        When the series opened, UTC.
    rows_written : int
        Rows of the ledger in the newest result file.
    """

    series: Series
    path: Path
    started: str = field(default_factory=utc_now)
    rows_written: int = 0
    imaging: ImagingResult | None = None
    next_image_at: int = 0
    write_seconds: float = 0.0


class Office:
    """Writes result files and has images made; never in the way of the sums.

    Parameters
    ----------
    lock : threading.RLock
        The one that guards the series; held only while copying.
    errors : ErrorLog
    working_folder : Path
    concluded : callable
        Called with the series and whether its file was written, once a series is final.
    changed : callable
        Called after anything that a status shows has changed.
    complete : callable
        Called with an ended series before its last image and file: fetches what it lacks.
    """

    def __init__(
        self,
        lock: "threading.RLock",
        errors: ErrorLog,
        working_folder: Path,
        concluded: Callable[[Series, bool], None],
        changed: Callable[[], None],
        complete: Callable[[Series], None] = lambda _series: None,
    ) -> None:
        self._complete = complete
        self._lock, self._errors, self._working = lock, errors, working_folder
        self._concluded, self._changed = concluded, changed
        self._stop = threading.Event()
        self._stop_images = threading.Event()
        self._wake = threading.Condition()
        self._finals: deque[Folder] = deque()
        self._unsaved: deque[Folder] = deque()  # final, but the disk has refused
        self._late_at = 0.0
        self._wanted: Folder | None = None
        self._write_lock = threading.Lock()
        self._fresh = True
        self._threads = [
            threading.Thread(target=self._survive, args=(self._image_turn,), name="image", daemon=True),
            threading.Thread(target=self._survive, args=(self._save_turn,), name="save", daemon=True),
        ]
        self.current: Folder | None = None
        self.degraded: dict[str, str] = {}
        self.reconstruction = ReconstructionStatus()
        self.forecast = Forecast()

    def start(self) -> None:
        """Open for business."""
        for thread in self._threads:
            thread.start()

    def open(self, folder: Folder) -> None:
        """Take over the papers of a new series."""
        enabled = folder.series.settings.reconstruction.enabled
        self.current = folder
        self.reconstruction = ReconstructionStatus(state="waiting" if enabled else "off")
        self.forecast = Forecast()
        folder.next_image_at = _next_mark(folder, 0)

    def look(self) -> None:
        """Start an image if the sum has reached the next chosen number of frames; quick, called after each frame."""
        folder = self.current
        if folder is None or folder.series.accepted is None or not folder.next_image_at:
            return
        frames = folder.series.accepted.frames
        if frames >= folder.next_image_at:
            folder.next_image_at = _next_mark(folder, frames)
            self.request_image()

    def request_image(self) -> None:
        """Reconstruct from what is there now."""
        with self._wake:
            self._wanted = self.current
            self._wake.notify_all()

    def finish(self, series: Series) -> None:
        """Make the last image of a series and its final file."""
        folder = self.current
        if folder is None or folder.series is not series:
            return
        with self._wake:
            self._finals.append(folder)
            self._wake.notify_all()

    def busy(self) -> bool:
        """Whether a final file is still to be written."""
        with self._wake:
            return bool(self._finals)

    def hurry(self) -> None:
        """Give up images: the service ends, and files matter more."""
        self._stop_images.set()

    def stop(self, timeout_s: float) -> None:
        """Finish the final files and close."""
        self._stop_images.set()
        deadline = time.monotonic() + timeout_s
        while self.busy() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stop.set()
        with self._wake:
            self._wake.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.1, deadline - time.monotonic()))
        if not self._threads[-1].is_alive():
            self._save_late()

    # -- images ----------------------------------------------------------------------------------------------------

    def _survive(self, turn: Callable[[], None]) -> None:
        """Repeat `turn`; a fault of ours is told and costs one turn, never the thread."""
        while not self._stop.is_set():
            try:
                turn()
            except Exception as error:  # noqa: BLE001 - see above
                self._tell(error)
                self._stop.wait(0.5)

    def _tell(self, error: Exception) -> None:
        _log.exception("fault of the program")
        sentence = f"{type(error).__name__}: {error}; please report it with the service's log"
        self.degraded["program"] = f"files or images may be out of date: {sentence}"
        self._errors.add("fault of the program", sentence)
        self._changed()

    def _image_turn(self) -> None:
        with self._wake:
            if not self._finals and self._wanted is None:
                self._wake.wait(0.5)
                return
            final = self._finals[0] if self._finals else None
            wanted, self._wanted = self._wanted, None
        folder = final or wanted
        try:
            if final is not None:
                self._complete(final.series)
            if folder is not None:
                self._image(folder, final=final is not None)
        finally:
            if final is not None:
                self._close(final)

    def _close(self, final: Folder) -> None:
        """Write the final file of a series and say so, whatever happens."""
        try:
            saved = self.save(final)
            refused = not saved
        except Exception as error:  # noqa: BLE001 - the series must end in a named state
            self._tell(error)
            saved = refused = False
        with self._wake:
            self._finals.popleft()
        self._concluded(final.series, saved)
        if refused:
            self._unsaved.append(final)
        self._changed()

    def _image(self, folder: Folder, *, final: bool) -> None:
        with self._lock:
            job = imaging_job(folder.series)
        if isinstance(job, str):
            state = "off" if not folder.series.settings.reconstruction.enabled else "waiting"
            self.reconstruction = ReconstructionStatus(state=state, message=job)
            return
        if self._stop_images.is_set():
            return
        self.reconstruction = self.reconstruction.model_copy(update={"state": "running"})
        self._changed()
        give_up = self._stop_images.is_set if final else lambda: self._stop_images.is_set() or self.busy()
        series = folder.series.header.series

        def tell(sentence: str) -> None:
            self._errors.add("image tried again", sentence, series=series)
            self._changed()

        try:
            timeout_s = folder.series.settings.reconstruction.timeout_s
            result = run_imaging(job, self._working, timeout_s, give_up, tell)
        except (ImagingError, OSError) as error:
            self.reconstruction = self.reconstruction.model_copy(update={"state": "failed", "message": str(error)})
            if final or not give_up():
                self._errors.add("no image", str(error), series=series)
        else:
            folder.imaging = result
            self.forecast = Forecast(**result.forecast)
            resolution = result.figures.get("resolution_m")
            self.reconstruction = ReconstructionStatus(
                state="done" if result.image is not None else "failed",
                frames=result.frames,
                resolution_m=float(resolution) if resolution is not None else None,
                seconds=round(result.seconds, 2),
                message=result.message,
                warnings=list(result.warnings),
            )
        self._changed()

    # -- files -----------------------------------------------------------------------------------------------------

    def _save_turn(self) -> None:
        if self._stop.wait(1.0 if self._fresh else self._pause_s()):
            return
        folder = self.current
        if folder is None or folder.series.ended or folder.series.accepted is None:
            self._fresh = True
        elif len(folder.series.ledger) > folder.rows_written:
            self.save(folder)
            self._fresh = False
        self._save_late()

    def _save_late(self) -> None:
        """Write the files of ended series that the disk has refused so far, oldest first."""
        if time.monotonic() < self._late_at and not self._stop.is_set():
            return
        self._late_at = time.monotonic() + _LATE_EVERY_S
        while self._unsaved:
            folder = self._unsaved[0]
            if folder.series.ended:  # else a late frame has opened it again, and it will be finished anew
                if not self.save(folder):
                    return
                self._concluded(folder.series, True)
                self._changed()
            self._unsaved.popleft()

    def _pause_s(self) -> float:
        folder = self.current
        if folder is None:
            return 1.0
        return max(folder.series.settings.output.snapshot_every_s, 10 * folder.write_seconds)

    def save(self, folder: Folder) -> bool:
        """Write the result file of a series as it stands; False when the disk refused."""
        with self._write_lock:
            started = time.monotonic()
            with self._lock:
                content = series_file(folder)
                rows = len(folder.series.ledger)
            if content is None:
                return True
            try:
                folder.path.parent.mkdir(parents=True, exist_ok=True)
                write_series_file(folder.path, content)
            except OSError as error:
                why = error.strerror or str(error)
                self.degraded["disk"] = (
                    f"result file {folder.path} cannot be written: {why}; "
                    "summing goes on in memory, make room or rights and it is written again"
                )
                self._errors.add("file not written", self.degraded["disk"], series=folder.series.header.series)
                return False
            finally:
                folder.write_seconds = time.monotonic() - started
            self.degraded.pop("disk", None)
            self.degraded.pop("program", None)
            folder.rows_written = rows
            self._changed()
            return True


def _next_mark(folder: Folder, frames: int) -> int:
    """Return the next number of accepted frames at which an image is wanted, 0 when there is none."""
    part = folder.series.settings.reconstruction
    return next((mark for mark in sorted(part.at_frames) if mark > frames), 0) if part.enabled else 0


def imaging_job(series: Series) -> ImagingJob | str:
    """Copy what an image needs, or say why there cannot be one."""
    settings = series.settings.reconstruction
    if not settings.enabled:
        return "reconstruction.enabled is false"
    if series.accepted is None or series.background is None or series.shape is None or not series.accepted.frames:
        return "no accepted frame yet"
    part, header = series.settings.detector, series.header
    for name in ("wavelength_m", "distance_m", "pixel_size_m"):
        if not (getattr(part, name) or getattr(header, name)):
            return f"the stream's header does not say {name}; give it as detector.{name}"
    wavelength = part.wavelength_m or header.wavelength_m or 0.0
    distance = part.distance_m or header.distance_m or 0.0
    pixel = part.pixel_size_m or header.pixel_size_m or 0.0
    place = imaging_window(
        settings,
        center=series.beam_center,
        shape=series.shape,
        wavelength_m=wavelength,
        distance_m=distance,
        pixel_size_m=pixel,
    )
    even, even_row = _even_part(series, place.window)
    return ImagingJob(
        accepted=freeze(series.accepted, place.window),
        background=freeze(series.background, place.window),
        valid=series.valid[place.window],
        center=place.center,
        origin=place.origin,
        wavelength_m=wavelength,
        distance_m=distance,
        pixel_size_m=pixel,
        settings=settings.model_dump(),
        even=even,
        even_row=even_row,
    )


def _even_part(series: Series, window: Window) -> tuple[SumSnapshot | None, int]:
    """Return the part of the sum of even frames that lies in a window, and its first row there."""
    rows, cols = window
    first, last = max(rows.start, series.even_rows[0]), min(rows.stop, series.even_rows[1])
    if series.even is None or first >= last:
        return None, 0
    inside = slice(first - series.even_rows[0], last - series.even_rows[0])
    return freeze(series.even, (inside, cols)), first - rows.start


def series_file(folder: Folder) -> SeriesFile | None:
    """Copy everything the result file holds; None as long as there is nothing to write."""
    series = folder.series
    if series.accepted is None or series.background is None:
        return None
    timings: dict[str, Any] = {"started": folder.started, "written": utc_now(), "write_s": folder.write_seconds}
    if folder.imaging is not None:
        timings["imaging_s"] = folder.imaging.seconds
    return SeriesFile(
        header=series.header,
        valid=series.valid,
        accepted=freeze(series.accepted),
        background=freeze(series.background),
        ledger=series.ledger.rows(series.announced if series.ended else None),
        beam_center=series.beam_center,
        imaging=folder.imaging,
        configuration=series.settings.model_dump(mode="json"),
        settings_versions=[
            {
                "version": entry.version,
                "from_frame": entry.from_frame,
                "settings": entry.settings.model_dump(mode="json"),
            }
            for entry in series.versions
        ],
        summary={
            "counts": {**series.ledger.counts, "pending": series.ledger.pending},
            "announced": series.announced,
            "purpose": series.purpose,
            "reference_total": series.reference,
            "unresolved_frames": series.unresolved_frames(),
            "complete": series.ended,
            "notes": [{"when": remark.when, "text": remark.text} for remark in series.remarks],
        },
        timings=timings,
    )
