"""The running service as the live page sees it: arrays, ledger rows and curves, taken without delaying the sums."""

import math
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from processing.decode import decode
from processing.frame import CATEGORY_NAMES, Category, EncodedFrame, Refusal
from service.documents import plain
from service.imaging import ImagingResult
from service.ledger import PENDING
from service.office import Office
from service.page_source import NowhereError, Rows, Sight, SightName
from service.pipeline import Pipeline
from service.pooled_sums import FORGET_AFTER_S, READ_EVERY_S, PooledSums, SumName
from service.preview import step_of, window_of_object
from service.series import Series

_Find = Callable[[Series, int], EncodedFrame | None]


@dataclass(slots=True)
class _Kept:
    """What was looked at last, for those who look at the same."""

    series: Series
    sight: Sight
    values: object
    at: float


class Views:
    """A `PageSource` of pipeline and office.

    Parameters
    ----------
    pipeline : Pipeline
    office : Office
    sums : PooledSums
    find : callable
        Gives the bytes of a frame of a series from spool or files, None when nobody has them; may wait for a disk.
    """

    def __init__(self, pipeline: Pipeline, office: Office, sums: PooledSums, find: _Find) -> None:
        self._pipeline, self._office, self._sums, self._find = pipeline, office, sums, find
        self._kept: dict[str, _Kept] = {}
        self._guard = threading.Lock()
        self._version = 0

    # -- arrays ----------------------------------------------------------------------------------------------------

    def look(self, what: SightName, frame: int | None = None, side: int | None = None) -> Sight | None:
        """Return an array, None before there is one; sums of which all is wanted at most `side` long are pooled.

        Raises
        ------
        NowhereError
            When the bytes of a frame are nowhere any more.
        """
        self.forget()
        match what:
            case "sum" | "background":
                return self._sum(what) if side is None else self._pooled(what, side)
            case "last":
                return self._last()
            case "frame":
                return self._frame(frame)
            case "prepared" | "reconstruction":
                return self._image(what)

    def forget(self) -> None:
        """Let go of arrays that nobody has looked at for a while: a sum of 16M takes 145 MB."""
        with self._guard:
            now = time.monotonic()
            self._kept = {name: kept for name, kept in self._kept.items() if now - kept.at < FORGET_AFTER_S}

    def _known(self, name: str, series: Series, values: object = None) -> Sight | None:
        """Return what was looked at before: these very values or, without them, what was read a moment ago."""
        with self._guard:
            kept = self._kept.get(name)
            if kept is None or kept.series is not series:
                return None
            now = time.monotonic()
            if values is not None and not _same(kept.values, values):
                return None
            if values is None and now - kept.at >= READ_EVERY_S:
                return None
            kept.at = kept.at if values is None else now
            return kept.sight

    def _keep(self, name: str, series: Series, sight: Sight, values: object) -> Sight:
        with self._guard:
            self._version += 1
            sight = replace(sight, version=self._version)
            self._kept[name] = _Kept(series, sight, values, time.monotonic())
        return sight

    def _sum(self, what: SightName) -> Sight | None:
        with self._pipeline.lock:
            series = self._pipeline.series
            if series is None or series.accepted is None or series.background is None:
                return None
            running = series.accepted if what == "sum" else series.background
            if not running.frames:
                return None
            known = self._known(what, series)
            if known is not None:
                return known
            values, frames = running.data, running.frames
        known = self._known(what, series, values)
        if known is not None:
            return known
        return self._keep(what, series, Sight(values=values, valid=series.valid, frames=frames), values)

    def _pooled(self, what: SumName, side: int) -> Sight | None:
        series = self._pipeline.series
        if series is None or series.shape is None:
            return None
        step = step_of(series.shape, side)
        if step == 1:  # to be read to the last digit
            return self._sum(what)
        pooled = self._sums.get(what, step)
        if pooled is None:
            return None
        name = f"{what} at most {side}"
        known = self._known(name, series, pooled.pixels)
        if known is not None:
            return known
        sight = Sight(values=pooled.pixels, valid=None, frames=pooled.frames, step=pooled.step, shape=pooled.shape)
        return self._keep(name, series, sight, pooled.pixels)

    def _last(self) -> Sight | None:
        with self._pipeline.lock:
            series, frame = self._pipeline.series, self._pipeline.last_frame
            if series is None or frame is None:
                return None
            verdict = _verdict(series, frame.frame)
        known = self._known("last", series) or self._known("last", series, frame)
        return known or self._keep("last", series, _decoded(series, frame, verdict), frame)

    def _frame(self, number: int | None) -> Sight | None:
        with self._pipeline.lock:
            series = self._pipeline.series
            if series is None or number is None:
                return None
            verdict, held = _verdict(series, number), series.held(number)
        if not verdict:
            raise NowhereError(f"frame {number} of series {series.header.series} has not come")
        known = self._known("frame", series, (number, verdict))
        if known is not None:
            return known
        if verdict == Category.CORRUPT.label:
            raise NowhereError(f"frame {number} came damaged; its pixels cannot be shown")
        found = held or self._find(series, number)
        if found is None:
            raise NowhereError(
                f"the bytes of frame {number} are nowhere any more; with spool.enabled every frame can be shown, "
                "with spool.detector_files those that the detector has written"
            )
        return self._keep("frame", series, _decoded(series, found, verdict), (number, verdict))

    def _image(self, what: SightName) -> Sight | None:
        folder = self._office.current
        result = folder.imaging if folder else None
        if folder is None or result is None or (what == "reconstruction" and result.image is None):
            return None
        known = self._known(what, folder.series, result)
        return known or self._keep(what, folder.series, _image_sight(what, result), result)

    # -- rows ------------------------------------------------------------------------------------------------------

    def rows(self, first: int, most: int) -> Rows | None:
        """Return at most `most` rows of the ledger from `first` on, None before there is a series."""
        with self._pipeline.lock:
            series = self._pipeline.series
            if series is None:
                return None
            ledger = series.ledger
            some = slice(first, first + most)
            frame, total, chi2, dof = (ledger.column(name)[some].copy() for name in ("frame", "total", "chi2", "dof"))
            verdict = ledger.column("verdict").copy()
            facts = {
                "series": series.header.series,
                "reference_total": series.reference,
                "parameters": series.version,
                "categories": CATEGORY_NAMES,
            }
        notes = [ledger.notes.get(number) for number in frame.tolist()]
        place = [(math.nan, math.nan) if note is None else (note.x_um, note.y_um) for note in notes]
        x, y = np.array(place, np.float32).reshape(-1, 2).T
        ratio = np.where(dof > 0, chi2 / np.maximum(dof, 1), np.nan).astype(np.float32)
        columns = {"total": total.astype(np.float64), "frame": frame, "ratio": ratio, "x": x, "y": y}
        return Rows(first=first, total=len(verdict), columns={**columns, "verdict": verdict}, facts=facts)

    # -- curves and facts ------------------------------------------------------------------------------------------

    def curves(self) -> dict[str, Any]:
        """Return PRTF, signal to noise and figures of the newest image; empty before there is one."""
        folder = self._office.current
        result = folder.imaging if folder else None
        if result is None:
            return {}
        curves: dict[str, Any] = {
            "frames": result.frames,
            "q_per_m": plain(result.q_per_m),
            "prtf": plain(result.prtf),
            "snr": plain(result.snr),
            "figures": plain(result.figures),
            "message": result.message,
            "warnings": list(result.warnings),
        }
        if result.guided_prtf is not None:
            curves["guided_prtf"] = plain(result.guided_prtf)
        return curves

    def facts(self) -> dict[str, Any]:
        """Return the geometry of the series, the disk, and what the newest result file holds."""
        folder = self._office.current
        with self._pipeline.lock:
            series = self._pipeline.series
            if series is None or series.shape is None:
                return {"disk": self._disk()}
            header, part = series.header, series.settings.detector
            row, col = series.beam_center
            facts: dict[str, Any] = {
                "series": header.series,
                "shape": series.shape,
                "center": [row, col],
                "wavelength_m": part.wavelength_m or header.wavelength_m,
                "distance_m": part.distance_m or header.distance_m,
                "pixel_size_m": part.pixel_size_m or header.pixel_size_m,
                "ring_px": [series.settings.screening.ring_inner_px, series.settings.screening.ring_outer_px],
                "central_px": series.settings.reconstruction.central_px,
                "can_show": self._can_show(series),
                "notes": [{"when": remark.when, "text": remark.text} for remark in series.remarks],
            }
        if folder is not None and folder.series is series:
            facts["saved"] = self.saved()
            found = folder.imaging.prepared if folder.imaging is not None else {}
            if "center_row" in found:
                facts["center"] = [found["center_row"], found["center_col"]]
        return facts | {"disk": self._disk()}

    def saved(self) -> dict[str, Any] | None:
        """Return the newest result file and how many rows of the ledger it holds, None before there is one."""
        folder = self._office.current
        if folder is None or not folder.rows_written:
            return None
        return {"series": folder.series.header.series, "result": str(folder.path), "rows": folder.rows_written}

    @staticmethod
    def _can_show(series: Series) -> str:
        """Say which frames can be looked at one by one."""
        spool = series.settings.spool
        if spool.enabled:
            return "every frame: the spool has them"
        if spool.detector_files is not None:
            return "every frame that the detector has written to its files"
        return "the newest frames only, as long as memory holds them; spool.enabled keeps all"

    def _disk(self) -> dict[str, int | str] | None:
        directory = self._pipeline.settings.output.directory
        try:
            usage = shutil.disk_usage(directory)
        except OSError:
            return None
        return {"free_bytes": usage.free, "total_bytes": usage.total}


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, tuple) and one == other)


def _verdict(series: Series, number: int) -> str:
    """Return the verdict of a frame in words, "" when none has come."""
    row = series.ledger.row_of(number)
    if row is None:
        return ""
    verdict = int(series.ledger.column("verdict")[row])
    return CATEGORY_NAMES[verdict] if verdict < len(CATEGORY_NAMES) else "pending" if verdict == PENDING else ""


def _decoded(series: Series, frame: EncodedFrame, verdict: str) -> Sight:
    pixels = decode(frame, series.shape or frame.shape)
    if isinstance(pixels, Refusal):
        raise NowhereError(f"frame {frame.frame} cannot be shown: {pixels.reason}")
    below = int(np.iinfo(pixels.dtype).max) - 1
    facts = {"frame": frame.frame, "verdict": verdict}
    return Sight(values=pixels, valid=series.valid, frames=1, below=below, facts=facts)


def _image_sight(what: SightName, result: ImagingResult) -> Sight:
    """Wrap the prepared amplitude, or the object in the middle of the image."""
    side, pixel = result.amplitude.shape[0], float(result.prepared.get("pixel_size_m", math.nan))
    if what == "prepared":
        facts = {"q_step_per_m": 2 * math.pi / (side * pixel)} if math.isfinite(pixel) else {}
        valid = result.amplitude_valid
        return Sight(values=result.amplitude, valid=valid, frames=result.frames, facts=facts)
    image = np.zeros((1, 1), np.float32) if result.image is None else result.image
    facts = {"pixel_size_m": result.pixel_size_m} if math.isfinite(result.pixel_size_m) else {}
    return Sight(values=image[window_of_object(image)], valid=None, frames=result.frames, facts=facts)
