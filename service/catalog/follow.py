"""Fill the catalogue from the files of documents in a folder, as they grow and afterwards.

The files are what is durable: each line is there before the scan goes on. So a catalogue that starts late, was killed
or was out of reach misses nothing, and the scan never waits for it.
"""

import json
import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from service.catalog.additions import (
    RESULT_KEY,
    SCREENING,
    Named,
    SeriesOfRun,
    additions,
    is_final,
    master_file,
    series_of_run,
    stop_with,
)
from service.documents import SUFFIX, Document, insert_before_stop
from service.errors import UserError

log = logging.getLogger("xedm.catalog")

FLUSH_EVERY_S = 2.0
"""How old what is read of a running scan may be: each flush costs the server some 40 ms, however many points."""
RESULT_TIMEOUT_S = 900.0
"""From the stop document to the final result file, after which the run goes without its screening results."""
RETRY_AFTER_S, RETRY_AT_MOST_S = 2.0, 300.0
"""After the first failure, doubled with each, and at most."""
MAX_STRANGE = 5
"""How often a run is tried that the catalogue takes line by line and cannot write as a table."""


class RunSink(Protocol):
    """Where documents go; each method raises OSError when that is out of reach or refuses."""

    def has(self, uid: str) -> bool:
        """Whether a run is there whole."""

    def remove(self, uid: str) -> None:
        """Remove what is there of a run, if anything."""

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document."""

    def flush(self) -> None:
        """Make what was taken readable."""

    def forget(self, uid: str) -> None:
        """Hold nothing of a run any more."""


@dataclass(slots=True)
class _File:
    path: Path
    uid: str = ""
    offset: int = 0
    done: bool = False
    baseline: list[Named] = field(default_factory=list)
    stop: Document | None = None
    series: SeriesOfRun | None = None
    whole: bool = False
    """The screening results are in the file already."""
    numbers: dict[str, list[str]] = field(default_factory=dict)
    """Keys of floating-point numbers by descriptor."""
    tries: int = 0
    rests_until: float = 0.0

    def again(self) -> "_File":
        """Return it as it was before the first line was read."""
        rest_s = min(RETRY_AFTER_S * 2.0**self.tries, RETRY_AT_MOST_S)
        return _File(self.path, tries=self.tries + 1, rests_until=time.monotonic() + rest_s)


class Follower:
    """Reads what is new in ``*.documents.jsonl`` of a folder and gives it to a sink.

    Parameters
    ----------
    folder : Path
    sink : RunSink
    detector_files : str, optional
        The setting `spool.detector_files`.
    result_timeout_s : float
        How long a run waits for its result file.
    """

    def __init__(
        self,
        folder: Path,
        sink: RunSink,
        detector_files: str | None = None,
        *,
        result_timeout_s: float = RESULT_TIMEOUT_S,
    ) -> None:
        self._folder, self._sink, self._pattern = folder, sink, detector_files
        self._timeout_s = result_timeout_s
        self._files: dict[Path, _File] = {}
        self._flushed = 0.0

    def step(self) -> bool:
        """Take what is new; returns whether nothing is left to do, of which running scans are no part."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), key=_age):
            file = self._files.setdefault(path, _File(path))
            if not file.done and file.rests_until < time.monotonic():
                self._try(file)
        if time.monotonic() - self._flushed > FLUSH_EVERY_S:
            self._flush()
        return all(file.done or (file.stop is None and not file.tries) for file in self._files.values())

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        try:
            self._sink.flush()
        except Exception as error:
            # What of it was written nobody knows: rows must not be there twice.
            for file in [file for file in self._files.values() if file.uid and not file.done]:
                if not isinstance(error, OSError) and file.tries >= MAX_STRANGE:
                    self._give_up(file, f"{type(error).__name__}: {error}, {file.tries + 1} times")
                else:
                    self._anew(file)
            if isinstance(error, OSError):
                raise
            log.warning("the catalogue could not write what it took: %s: %s", type(error).__name__, error)

    def _anew(self, file: _File) -> None:
        """Forget what was written of a run, so that it is removed and written again."""
        self._sink.forget(file.uid)
        self._files[file.path] = file.again()

    def _try(self, file: _File) -> None:
        try:
            self._take(file)
        except UserError as error:
            self._give_up(file, str(error))
        except OSError as error:
            log.warning("%s: %s", file.path.name, error)
            self._anew(file)
        except Exception as error:  # noqa: BLE001 - one strange run must not keep the others out
            self._give_up(file, f"the document at byte {file.offset} is not one: {type(error).__name__}: {error}")

    def _give_up(self, file: _File, why: str) -> None:
        log.warning("%s is not in the catalogue: %s", file.path.name, why)
        file.done = True
        self._sink.forget(file.uid)

    def _take(self, file: _File) -> None:
        for name, doc in self._new(file):
            if name == "start":
                file.uid = str(doc["uid"])
                if self._sink.has(file.uid):
                    file.done = True
                    return
                self._sink.remove(file.uid)
            elif name == "descriptor":
                file.whole = file.whole or doc.get("name") == SCREENING
                file.numbers[doc["uid"]] = [
                    key for key, said in doc["data_keys"].items() if said.get("dtype") == "number"
                ]
            elif name == "event":
                _as_numbers(doc["data"], file.numbers.get(doc["descriptor"], ()))
                if RESULT_KEY in doc["data"]:
                    file.baseline.append((name, doc))
            if name == "stop":
                file.stop, file.series = doc, series_of_run(file.baseline)
            else:
                self._sink(name, doc)
        if file.stop is not None:
            self._end(file, file.stop)

    def _end(self, file: _File, stop: Document) -> None:
        """Put the run's stop document, once what belongs before it is there."""
        added: list[Named] = []
        if file.series is not None and not file.whole:
            overdue = time.time() - float(stop.get("time", 0.0)) > self._timeout_s
            if not is_final(file.series.result) and not overdue:
                return
            if is_final(file.series.result):
                master = master_file(file.series, self._pattern)
                added = additions(file.series, file.uid, master)
            else:
                log.warning("run %s has no screening results: %s is not final", file.uid[:8], file.series.result)
        stop = stop_with(stop, added)
        for name, doc in [*added, ("stop", stop)]:
            self._sink(name, doc)
        self._sink.forget(file.uid)
        if added:
            insert_before_stop(file.path, added, stop)
        file.done = True

    def _new(self, file: _File) -> Iterator[Named]:
        """Whole lines that have come since the last look."""
        with file.path.open("rb") as handle:
            handle.seek(file.offset)
            for line in handle:
                if not line.endswith(b"\n"):
                    return
                named: dict[str, Any] = json.loads(line)
                yield str(named["name"]), named["doc"]
                file.offset += len(line)


def _as_numbers(data: Document, keys: Iterable[str]) -> None:
    """Put NaN back where the file says null, and floats where it says 0: the first rows make the type of a column."""
    for key in keys:
        value = data.get(key, "")
        if value is None:
            data[key] = math.nan
        elif isinstance(value, int) and not isinstance(value, bool):
            data[key] = float(value)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
