"""What a run gets when its series has ended: the screening results and the frames, as streams of the same run.

The stream ``screening`` has one event a row of the result file's ledger, the stream ``frames`` one a frame number, with
its pixels as external data (StreamResource, StreamDatum) in the detector's files or the spool. Row k of ``frames`` is
frame k, whatever point it belongs to; ``screening`` and the detector's ``frame`` in ``primary`` say which is which.
"""

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from processing.frame import CATEGORY_NAMES
from service.documents import Document
from service.eiger_file import DataFile, EigerFile
from service.errors import UserError
from service.frame_stores import spool_stem
from service.spool_index import SpoolNames

Named = tuple[str, Document]

SCREENING, FRAMES = "screening", "frames"
RESULT_KEY = "live_result"
"""Of the baseline: where the result file is (`plans.baseline`, `devices.live_result`)."""
_SERIES = "_series"
_COLUMNS = {
    "frame": ("integer", "<i8"),
    "verdict": ("string", "<U16"),
    "total": ("integer", "<i8"),
    "chi2": ("number", "<f8"),
    "dof": ("integer", "<i8"),
    "point": ("integer", "<i8"),
    "x": ("number", "<f8"),
    "y": ("number", "<f8"),
}
_UNITS = {"total": "photons", "x": "um", "y": "um"}


@dataclass(frozen=True, slots=True)
class SeriesOfRun:
    """Which series belongs to a run.

    Attributes
    ----------
    result : Path
        Its result file.
    series : int
    detector : str
        Name of the device.
    """

    result: Path
    series: int
    detector: str


def series_of_run(documents: Iterable[Named]) -> SeriesOfRun | None:
    """Find in a run's documents which series it made, None when it made none that a service has summed."""
    result, series, detector = "", -1, ""
    for name, doc in documents:
        data = doc.get("data") if name == "event" else None
        if not isinstance(data, dict) or RESULT_KEY not in data:
            continue
        result = str(data[RESULT_KEY] or result)
        for key, value in data.items():
            if key.endswith(_SERIES) and isinstance(value, int):
                series, detector = value, key.removesuffix(_SERIES)
    return SeriesOfRun(Path(result), series, detector) if result and series >= 0 else None


def is_final(result: Path) -> bool:
    """Whether a result file is there and its series has ended."""
    try:
        with h5py.File(result, "r") as file:
            summary = json.loads(file["entry/process/summary"][()])
    except (OSError, KeyError, ValueError):
        return False
    return isinstance(summary, dict) and bool(summary.get("complete"))


def master_file(run: SeriesOfRun, pattern: str | None) -> Path | None:
    """Return the Eiger master file with the frames of a series: the spool's, or the detector's own.

    Parameters
    ----------
    run : SeriesOfRun
    pattern : str, optional
        The setting `spool.detector_files`; `$id` stands for the series number.
    """
    spool = SpoolNames(spool_stem(run.result)).master
    if spool.exists():
        return spool
    own = None if pattern is None else Path(pattern.replace("$id", str(run.series)))
    return own if own is not None and own.exists() else None


def additions(run: SeriesOfRun, start: str, master: Path | None = None) -> list[Named]:
    """Make the documents of both streams.

    Parameters
    ----------
    run : SeriesOfRun
    start : str
        Unique id of the run.
    master : Path, optional
        See `master_file`; without it there is no stream ``frames``.

    Returns
    -------
    list of (str, dict)
        To be put before the run's stop document.

    Raises
    ------
    UserError
        When a file cannot be read.
    """
    documents = _screening(run.result, start)
    return documents if master is None else documents + _frames(run, start, master)


def stop_with(stop: Mapping[str, Any], added: Iterable[Named]) -> Document:
    """Return the stop document of a run that got more events."""
    events = dict(stop.get("num_events") or {})
    streams = {doc["uid"]: doc["name"] for name, doc in added if name == "descriptor"}
    for name, doc in added:
        if name == "event_page":
            events[streams[doc["descriptor"]]] = len(doc["seq_num"])
    return {**stop, "num_events": events}


def _screening(result: Path, start: str) -> list[Named]:
    """Descriptor and one page of events, in the order of the ledger."""
    try:
        with h5py.File(result, "r") as file:
            group = file["entry/frames"]
            columns = {name: group[name][()].tolist() for name in _COLUMNS}
            names = [str(name) for name in group["verdict"].attrs.get("names", CATEGORY_NAMES)]
    except (OSError, KeyError) as error:
        raise UserError(f"result {result} must be a whole result file, got {error}; see the service's log") from None
    columns["verdict"] = [names[code] for code in columns["verdict"]]
    keys = {
        name: {
            "source": f"file:{result}",
            "dtype": kind,
            "dtype_numpy": numpy,
            "shape": [],
            **({"units": _UNITS[name]} if name in _UNITS else {}),
        }
        for name, (kind, numpy) in _COLUMNS.items()
    }
    descriptor = _descriptor(SCREENING, start, keys)
    count, now = len(columns["frame"]), time.time()
    page = {
        "descriptor": descriptor["uid"],
        "uid": [str(uuid.uuid4()) for _ in range(count)],
        "time": [now] * count,
        "seq_num": list(range(1, count + 1)),
        "data": columns,
        "timestamps": {name: [now] * count for name in columns},
        "filled": {},
    }
    return [("descriptor", descriptor), ("event_page", page)]


def _frames(run: SeriesOfRun, start: str, master: Path) -> list[Named]:
    """Descriptor, and a resource and a datum for each data file."""
    file = EigerFile(master)
    try:
        shape, parts = file.shape, _from_frame_zero(file.data_files())
    finally:
        file.close()
    if not parts:
        return []
    key = f"{run.detector}_image"
    said = {
        "source": f"file:{master}",
        "dtype": "array",
        "dtype_numpy": f"<u{int(parts[0].pixel_type.removeprefix('uint')) // 8}",
        "shape": list(shape),
        "external": "STREAM:",
        "units": "photons",
    }
    descriptor = _descriptor(FRAMES, start, {key: said})
    documents: list[Named] = [("descriptor", descriptor)]
    for part in parts:
        resource = str(uuid.uuid4())
        stop = part.first + part.frames
        documents += [
            (
                "stream_resource",
                {
                    "uid": resource,
                    "run_start": start,
                    "data_key": key,
                    "mimetype": "application/x-hdf5",
                    "uri": f"file://localhost{part.path.resolve()}",
                    "parameters": {
                        "dataset": part.dataset,
                        "chunk_shape": [1, *shape],
                        "join_method": "stack",
                        "swmr": False,
                    },
                },
            ),
            (
                "stream_datum",
                {
                    "uid": f"{resource}/0",
                    "stream_resource": resource,
                    "descriptor": descriptor["uid"],
                    "indices": {"start": part.first, "stop": stop},
                    "seq_nums": {"start": part.first + 1, "stop": stop + 1},
                },
            ),
        ]
    return documents


def _from_frame_zero(parts: Iterable[DataFile]) -> list[DataFile]:
    """Files that follow each other without a hole: behind one, a row would no longer be the frame of its number."""
    kept: list[DataFile] = []
    ahead = 0
    for part in parts:
        if part.first != ahead or (kept and part.pixel_type != kept[0].pixel_type):
            break
        kept.append(part)
        ahead += part.frames
    return kept


def _descriptor(name: str, start: str, keys: dict[str, Any]) -> Document:
    return {
        "uid": str(uuid.uuid4()),
        "run_start": start,
        "time": time.time(),
        "name": name,
        "data_keys": keys,
        "object_keys": {name: list(keys)},
        "configuration": {},
        "hints": {},
    }
