"""The same pipeline on files instead of a stream."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py

from processing.frame import EncodedFrame, Refusal
from processing.read_frame import Examined
from service.config import Settings
from service.eiger_file import EigerFile
from service.errors import ConfigurationError, UserError
from service.live import check_output, load_mask
from service.office import Folder, series_file
from service.pipeline import examine
from service.ranges import count_of
from service.restore import notes_of, purpose_of
from service.result_series import make_image
from service.series import Series
from service.source import PointNote
from service.status import Purpose
from service.store import free_path, write_series_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Reprocessed:
    """What came of one file.

    Attributes
    ----------
    result : Path
        The result file.
    series : int
    counts : dict
        Frames by category.
    unresolved : list of int
    image : str
        Resolution reached, or why there is no image.
    """

    result: Path
    series: int
    counts: dict[str, int]
    unresolved: list[int]
    image: str


def series_number(path: Path) -> int:
    """Return the last number in the name of a master file (`series_5_master.h5` is 5), 0 when there is none."""
    numbers = re.findall(r"\d+", path.stem.removesuffix("_master"))
    return int(numbers[-1]) % 2**31 if numbers else 0


def _examined(source: EigerFile, series: Series, workers: int) -> Iterator[tuple[EncodedFrame, Examined | Refusal]]:
    """Read, decode and score frames on several threads; they come in the order of the file."""

    def read(number: int) -> tuple[EncodedFrame, Examined | Refusal] | None:
        frame = source.frame(series.header.series, number)
        return None if frame is None else (frame, examine(frame, series))

    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[Future[tuple[EncodedFrame, Examined | Refusal] | None]] = deque()
        for number in range(len(source)):
            under_way.append(pool.submit(read, number))
            if len(under_way) > 2 * workers and (done := under_way.popleft().result()) is not None:
                yield done
        yield from (done for future in under_way if (done := future.result()) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What the scan told the live service about a series.

    Attributes
    ----------
    notes : list of PointNote
        Points and vetoes.
    announced : int or None
        Frames that were to come, spare triggers that nobody used left out; None when the service did not know.
    purpose : str
        What the series was for.
    """

    notes: list[PointNote]
    announced: int | None
    purpose: Purpose


def scan_of(result: Path, series: int) -> Scan:
    """Read the scan's points, its vetoes and how many frames it announced out of a live result file.

    Raises
    ------
    UserError
        When it is not a result file.
    """
    if not result.is_file():
        raise UserError(f"--points {result} must be a result file of the live service, got no such file")
    try:
        with h5py.File(result) as file:
            columns = {name: file[f"entry/frames/{name}"][()] for name in ("frame", "verdict", "point", "x", "y")}
            summary = json.loads(file["entry/process/summary"][()])
            announced = summary["announced"]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"--points {result} must be a result file of the live service: {error}") from None
    return Scan(notes=notes_of(series, columns), announced=announced, purpose=purpose_of(summary))


def reprocess_file(
    path: Path,
    settings: Settings,
    progress: Callable[[int, int], None],
    *,
    workers: int = 2,
    points: Path | None = None,
) -> Reprocessed:
    """Screen and sum all frames of an Eiger master file and write the result file.

    Parameters
    ----------
    path : Path
        The master file.
    settings : Settings
    progress : callable
        Called with frames done and frames in all.
    workers : int
        Threads that decode and score; the sum is the same for any number.
    points : Path or None
        Result file of the live service, whose scan points, vetoes and number of announced frames are taken over.

    Raises
    ------
    UserError
        When the file, the output or the mask cannot be used.
    """
    check_output(settings.output.directory)
    source = EigerFile(path)
    try:
        number = series_number(path)
        header = source.header(number)
        try:
            series = Series(
                header,
                settings,
                user_mask=load_mask(settings),
                fetch=lambda frame: source.frame(number, frame),
            )
        except ValueError as error:
            raise ConfigurationError(f"{path}: {error}") from None
        if points is not None:
            scan = scan_of(points, number)
            series.expected = scan.announced
            series.declare(scan.purpose)
            for note in scan.notes:
                series.note_point(note)
        for done, (frame, outcome) in enumerate(_examined(source, series, workers), start=1):
            if isinstance(outcome, Refusal):
                series.book_refusal(outcome)
            else:
                series.book(frame, *outcome)
            progress(done, len(source))
        series.finish()
        series.ended = True
        folder = Folder(series=series, path=free_path(settings.output.directory, number))
        folder.imaging, said = make_image(series, settings.output.directory)
        content = series_file(folder)
        if content is not None:
            write_series_file(folder.path, content)
        counts = dict(series.ledger.counts)
        counts["missing"] = count_of(series.ledger.missing_frames(series.announced))
        return Reprocessed(
            result=folder.path, series=number, counts=counts, unresolved=series.unresolved_frames(), image=said
        )
    finally:
        source.close()
