"""A finished result file taken up as a series again, and written back whole."""

import contextlib
import math
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from processing.frame import EncodedFrame
from service.config import Settings
from service.eiger_file import EigerFile
from service.errors import UserError
from service.frame_stores import SpoolStore, spool_stem
from service.imaging import ImagingError, ImagingResult, run_imaging
from service.keeper import ledger_path
from service.ledger_file import is_closed, note_event
from service.office import Folder, imaging_job, series_file
from service.restore import SeriesState, restored, state_of_result
from service.series import Series
from service.store import write_series_file


@dataclass(slots=True, kw_only=True)
class Shelf:
    """Where the frames of a finished series lie.

    Attributes
    ----------
    reads : int
        Frames read so far.
    """

    spool: SpoolStore
    files: list[EigerFile] = field(default_factory=list)
    reads: int = 0

    def frame(self, series: int, number: int) -> EncodedFrame | None:
        """Return a frame, None when it is nowhere."""
        found = self.spool.frame(series, number) if self.spool.has(number) else None
        for file in self.files:
            if found is None:
                found = file.frame(series, number)
        self.reads += found is not None
        return found

    def has(self, number: int) -> bool:
        """Whether a frame seems to be there; nothing is read."""
        return self.spool.has(number) or any(number < len(file) for file in self.files)

    def close(self) -> None:
        """Close all files."""
        for file in self.files:
            file.close()


def open_shelf(result: Path, files: Sequence[Path]) -> Shelf:
    """Open the spool beside a result file, if there is one, and Eiger master files.

    Raises
    ------
    UserError
        When a file cannot be used.
    """
    return Shelf(spool=SpoolStore(spool_stem(result)), files=[EigerFile(path) for path in files])


def take_up(result: Path, shelf: Shelf) -> tuple[Series, SeriesState]:
    """Make a series of a result file.

    Raises
    ------
    UserError
        When it is no result file, or a running service still writes it.
    """
    try:
        ledger = ledger_path(result)
        being_written = ledger.exists() and not is_closed(ledger)
    except sqlite3.Error:
        being_written = False
    if being_written:
        raise UserError(
            f"result {result} must be of a finished series, got one that a service has not finished; give --http URL "
            "of the running service, or start xedm live with the same --output and let it finish"
        )
    state = state_of_result(result)
    place = Settings().changed({"output.directory": result.parent})
    series = restored(state, place, fetch=lambda number: shelf.frame(state.header.series, number))
    return series, state


def write_back(series: Series, state: SeriesState, result: Path, what: tuple[str, str], *, image: bool) -> str:
    """Write the result file anew under its name; return what became of the image.

    Parameters
    ----------
    what : tuple of str
        What was done and with which settings or files, for the ledger.

    Raises
    ------
    UserError
        When the disk refuses; the old file is as it was.
    """
    series.ended = True
    folder = Folder(series=series, path=result, started=state.started)
    folder.imaging, said = make_image(series, result.parent) if image else (None, "not made again")
    content = series_file(folder)
    if content is None:
        raise UserError(f"result {result} holds no sum")
    try:
        write_series_file(result, content)
    except OSError as error:
        raise UserError(f"result {result} cannot be written: {error.strerror}; the old file is as it was") from None
    with contextlib.suppress(sqlite3.Error, OSError):  # the result itself tells it too
        note_event(ledger_path(result), *what)
    return said


def make_image(
    series: Series, folder: Path, give_up: Callable[[], bool] = lambda: False
) -> tuple[ImagingResult | None, str]:
    """Make the image of a series; return it, or None, and what to say of it."""
    job = imaging_job(series)
    if isinstance(job, str):
        return None, job
    try:
        result = run_imaging(job, folder, series.settings.reconstruction.timeout_s, give_up)
    except ImagingError as error:
        return None, str(error)
    return result, result.message or f"resolution {1e9 * float(result.figures.get('resolution_m', math.nan)):.3g} nm"
