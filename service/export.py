"""A run as a table: the CSV file that the readers in use at TPS 25A open.

One row an event of the stream ``primary``, in the file ``<sample>-scan_id-<n>-primary.csv``. Beside every reading under
its own name there are the columns those readers look for: ``<detector>_file_file_write_name_pattern`` (with
``_master.h5`` behind it the file with the frames), and the stage's axes across the beam under the names of the sample
stage there, ``_cisamf_x`` (horizontal) and ``_cisamf_z`` (vertical), with their set points, all in um.
"""

import csv
import io
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from service.catalog.additions import SCREENING, master_file, series_of_run
from service.documents import Document, plain
from service.errors import UserError
from service.whole_file import written_whole

log = logging.getLogger("xedm.export")

STAGE_COLUMNS = {
    "_cisamf_x": "stage_x",
    "_cisamf_z": "stage_y",
    "_cisamf_x_user_setpoint": "stage_x_user_setpoint",
    "_cisamf_z_user_setpoint": "stage_y_user_setpoint",
}
"""Their name of a column by ours: there the beam is along y, here along z."""
MASTER = "_master.h5"


def export_csv(
    documents: Iterable[tuple[str, Document]], folder: Path, *, detector_files: str | None = None
) -> Path | None:
    """Write the table of one run.

    Parameters
    ----------
    documents : iterable of (str, dict)
        Of the run, in their order. The verdicts of the screening are added when they are among them.
    folder : Path
        Where to put the file; made when missing.
    detector_files : str, optional
        The setting `spool.detector_files`, for the frames when there is no spool.

    Returns
    -------
    Path or None
        The file, None when the run has no event.

    Raises
    ------
    UserError
        When the documents are of no run, or the file cannot be written.
    """
    kept = list(documents)
    start = next((doc for name, doc in kept if name == "start"), None)
    if start is None:
        raise UserError("documents must be those of a run, got none with the name start; give another file")
    rows = list(_events(kept, "primary"))
    if not rows:
        return None
    path = folder / _name(start)
    extra = _pattern(kept, folder, detector_files)
    verdicts = _verdicts(kept)
    table = [_row(event, extra, verdicts) for event in rows]
    columns = list(dict.fromkeys(key for row in table for key in row))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as raw:
            raw.write(_text(table, columns))
    except OSError as error:
        raise UserError(f"table {path} cannot be written: {error.strerror}; choose another folder") from None
    return path


class CsvExport:
    """A callback for the RunEngine: writes each run's table when the run stops.

    Parameters
    ----------
    folder : Path
    detector_files : str, optional
        See `export_csv`.
    """

    def __init__(self, folder: Path, detector_files: str | None = None) -> None:
        self._folder, self._pattern = folder, detector_files
        self._documents: list[tuple[str, Document]] = []
        self.path: Path | None = None

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document."""
        if name == "start":
            self._documents.clear()
        self._documents.append((name, doc))
        if name == "stop":
            try:
                self.path = export_csv(self._documents, self._folder, detector_files=self._pattern)
            except UserError as error:  # raised here it would fail the run, which is whole without its table
                log.warning("%s", error)
            self._documents.clear()


def _name(start: Document) -> str:
    sample = start.get("sample", "sample")
    if isinstance(sample, dict):  # bluesky allows a description
        sample = sample.get("name", "sample")
    # A name is a user's; it becomes part of a file name only as far as it can do no harm.
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in str(sample))[:80].lstrip(".")
    return f"{safe or 'sample'}-scan_id-{int(start.get('scan_id', 0))}-primary.csv"


def _events(documents: Iterable[tuple[str, Document]], stream: str) -> Iterator[Document]:
    wanted: set[str] = set()
    for name, doc in documents:
        if name == "descriptor" and doc.get("name") == stream:
            wanted.add(doc["uid"])
        elif name == "event" and doc["descriptor"] in wanted:
            yield doc
        elif name == "event_page" and doc["descriptor"] in wanted:
            for index, number in enumerate(doc["seq_num"]):
                yield {
                    "seq_num": number,
                    "time": doc["time"][index],
                    "data": {key: values[index] for key, values in doc["data"].items()},
                }


def _pattern(documents: list[tuple[str, Document]], folder: Path, detector_files: str | None) -> dict[str, str]:
    run = series_of_run(documents)
    if run is None:
        return {}
    master = master_file(run, detector_files)
    if master is None or not master.name.endswith(MASTER):
        return {}
    beside = os.path.relpath(master, folder) if master.parent.resolve() == folder.resolve() else str(master.resolve())
    return {f"{run.detector}_file_file_write_name_pattern": beside.removesuffix(MASTER)}


def _verdicts(documents: list[tuple[str, Document]]) -> dict[int, str]:
    """Verdict of each frame number; of one that came twice the first counts."""
    found: dict[int, str] = {}
    for event in _events(documents, SCREENING):
        found.setdefault(int(event["data"]["frame"]), str(event["data"]["verdict"]))
    return found


def _row(event: Document, extra: dict[str, str], verdicts: dict[int, str]) -> dict[str, Any]:
    data = event["data"]
    row: dict[str, Any] = {"seq_num": event["seq_num"], "time": event["time"], **data, **extra}
    row |= {theirs: data[ours] for theirs, ours in STAGE_COLUMNS.items() if ours in data}
    frame = next((value for key, value in data.items() if key.endswith("_frame") and not key.startswith("live_")), None)
    if isinstance(frame, int) and frame in verdicts:
        row["verdict"] = verdicts[frame]
    return {key: plain(value) for key, value in row.items()}


def _text(table: list[dict[str, Any]], columns: list[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()
