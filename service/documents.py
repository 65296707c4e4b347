"""What a session does with Bluesky's documents: a file of JSON lines, and a scan's progress for people and programs."""

import json
import logging
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from service.errors import UserError
from service.whole_file import WholeFile, written_whole

log = logging.getLogger(__name__)

Document = dict[str, Any]
PLAIN_LINE_EVERY_S = 5.0
SUFFIX = ".documents.jsonl"


class DocumentWriter:
    """Writes each run's documents to `<folder>/<start of its uid>.documents.jsonl`.

    One line a document, ``{"name": ..., "doc": {...}}``, as bluesky's own writer; written through at once, so that a
    crash loses nothing. What a full disk refuses is written with the next document. What JSON cannot say (NaN,
    infinity) becomes null.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: deque[tuple[Path, bytes]] = deque()
        self._refused = False
        self.path: Path | None = None

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document; one that the disk refuses waits in memory and does not stop the run."""
        if name == "start":
            # A uid is of the run's own making; it names a file, so of a strange one only what can do no harm is taken.
            stem = "".join(letter for letter in doc["uid"].split("-")[0] if letter.isascii() and letter.isalnum())
            self.path = self._folder / f"{stem[:40] or 'run'}{SUFFIX}"
        if self.path is not None:
            self._waiting.append((self.path, _line(name, doc).encode()))
            self._write()

    def close(self) -> None:
        """Write what waits, for the last time; what the disk refuses still is named and lost with the session."""
        self._write()
        if self._waiting:
            log.error(
                "%d documents of the run could not be written to %s and are lost",
                len(self._waiting),
                self._waiting[0][0],
            )

    def _write(self) -> None:
        try:
            while self._waiting:
                path, line = self._waiting[0]
                path.parent.mkdir(parents=True, exist_ok=True)
                _append(path, line)
                self._waiting.popleft()
        except OSError as error:
            if not self._refused:
                sentence = (
                    f"documents of the run cannot be written to {self._waiting[0][0]}: {error.strerror or error}; they "
                    "wait in memory and are written when there is room"
                )
                log.warning("%s", sentence)
            self._refused = True
        else:
            if self._refused:
                log.warning("documents of the run are written again")
            self._refused = False


def _append(path: Path, line: bytes) -> None:
    """Append a line, whole or not at all."""
    with WholeFile(path, "ab") as file:
        size = file.seek(0, os.SEEK_END)
        try:
            file.write(line)
        except OSError:
            file.truncate(size)
            raise


def insert_before_stop(path: Path, added: Sequence[tuple[str, Document]], stop: Document) -> None:
    """Put documents into the file of a run that has ended, before its stop document, whole or not at all.

    Parameters
    ----------
    path : Path
    added : sequence of (str, dict)
    stop : dict
        The new stop document.

    Raises
    ------
    OSError
        When the disk refuses; the file is as it was.
    """
    kept = path.read_bytes().splitlines(keepends=True)[:-1]
    with written_whole(path) as file:
        file.write(b"".join(kept) + "".join(_line(name, doc) for name, doc in [*added, ("stop", stop)]).encode())


def read_documents(path: Path) -> Iterator[tuple[str, Document]]:
    """Give the documents in a file, one after the other.

    Raises
    ------
    UserError
        When it cannot be read, or a line is no document.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                named = json.loads(line)
                if not (isinstance(named, dict) and isinstance(named.get("doc"), dict) and "name" in named):
                    raise UserError(
                        f"file {path} must hold one document a line, got another thing in line {number}; give a "
                        f"file that ends in {SUFFIX}"
                    )
                yield str(named["name"]), named["doc"]
    except OSError as error:
        raise UserError(f"file {path} cannot be read: {error.strerror}; give a file that ends in {SUFFIX}") from None
    except ValueError as error:
        raise UserError(f"file {path} must hold one document a line: {error}; give one that ends in {SUFFIX}") from None


def _line(name: str, doc: Document) -> str:
    return json.dumps({"name": name, "doc": plain(doc)}, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Return `value` in types that JSON knows.

    Examples
    --------
    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


class ScanProgress:
    """Tells how far a scan is: a bar on a terminal, plain lines or JSON lines otherwise.

    Parameters
    ----------
    as_json : bool
        One JSON object a point on standard output.
    quiet : bool
        Say nothing.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self._json, self._quiet = as_json, quiet
        self._out = sys.stdout  # of now: a program may send what bluesky prints elsewhere
        self._bar = not as_json and not quiet and sys.stderr.isatty()
        self._total = 0
        self._done = 0
        self._primary = ""
        self._begun = self._said = 0.0
        self._progress: Any = None
        self._task: Any = None

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document."""
        take: Callable[[Document], None] | None = getattr(self, f"_{name}", None)
        if take is not None:
            take(doc)

    def _start(self, doc: Document) -> None:
        self._total, self._done = int(doc.get("num_points") or 0), 0
        self._begun = self._said = time.monotonic()
        if self._bar:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("scan"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True, soft_wrap=True),  # a table's lines stay whole
            )
            self._task = self._progress.add_task("scan", total=self._total or None)
            self._progress.start()

    def _descriptor(self, doc: Document) -> None:
        if doc.get("name") == "primary":
            self._primary = doc["uid"]

    def _event(self, doc: Document) -> None:
        if doc["descriptor"] != self._primary:
            return
        self._done = doc["seq_num"]
        if self._json:
            line = {"point": self._done, "of": self._total, "data": plain(doc["data"])}
            self._out.write(json.dumps(line) + "\n")
            self._out.flush()
        elif self._progress is not None:
            self._progress.update(self._task, completed=self._done)
        elif not self._quiet:
            self._line()

    def _line(self) -> None:
        now = time.monotonic()
        if now - self._said < PLAIN_LINE_EVERY_S and self._done != self._total:
            return
        self._said = now
        left = (now - self._begun) / self._done * (self._total - self._done) if self._total else 0.0
        sys.stderr.write(f"point {self._done} of {self._total}, about {left:.0f} s left\n")
        sys.stderr.flush()

    def state_changed(self, now: str, before: str | None) -> None:
        """Rest while the RunEngine is paused: a bar would write over the prompt (for `RunEngine.state_hook`)."""
        del before
        if self._progress is None:
            return
        if now == "running":
            self._progress.start()
        elif now in ("paused", "idle", "panicked"):
            self._progress.stop()

    def _stop(self, doc: Document) -> None:
        del doc
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
