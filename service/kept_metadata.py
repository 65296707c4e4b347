"""Metadata of the RunEngine that outlives a session: one file of JSON, for any number of threads and sessions."""

import copy
import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from service.documents import plain
from service.errors import UserError
from service.whole_file import written_whole

log = logging.getLogger(__name__)


class KeptMetadata(MutableMapping[str, Any]):
    """A mapping that is a file.

    Every change is written at once, over what other sessions of the folder have changed meanwhile; every look sees
    their changes. (Bluesky's own `PersistentDict` is for one process, and `HistoryDict` for one thread; the RunEngine
    writes from a thread of its own.)

    Parameters
    ----------
    path : Path
        Made when missing.

    Raises
    ------
    UserError
        When the file is there and is not what this has written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._seen: tuple[int, int] | None = None
        self._held: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._look()

    def __getitem__(self, key: str) -> Any:
        return self._look()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._look()))

    def __len__(self) -> int:
        return len(self._look())

    def __setitem__(self, key: str, value: Any) -> None:
        with self._lock, _Alone(self._path):
            self._look()[key] = value
            self._write()

    def __delitem__(self, key: str) -> None:
        with self._lock, _Alone(self._path):
            del self._look()[key]
            self._write()

    def __repr__(self) -> str:
        return f"{dict(self)!r}"

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        """Return a plain copy: the RunEngine validates one before each run."""
        return copy.deepcopy(dict(self), memo)

    def next_scan_id(self) -> int:
        """Take the next scan number; no other session of the folder gets the same."""
        with self._lock, _Alone(self._path):
            number = int(self._look().get("scan_id", 0)) + 1
            self._held["scan_id"] = number
            self._write()
            return number

    def _look(self) -> dict[str, Any]:
        with self._lock:
            try:
                facts = os.stat(self._path)
            except FileNotFoundError:
                return self._held
            seen = (facts.st_mtime_ns, facts.st_ino)
            if seen != self._seen:
                self._held, self._seen = self._read(), seen
            return self._held

    def _read(self) -> dict[str, Any]:
        try:
            held = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"metadata {self._path} must be a file of JSON, got {error}; mend it, or move it away and start anew"
            ) from None
        if not isinstance(held, dict):
            raise UserError(
                f"metadata {self._path} must hold names and values, got {type(held).__name__}; move it away"
            )
        return held

    def _write(self) -> None:
        try:
            with written_whole(self._path) as file:
                file.write(json.dumps(plain(self._held), indent=1, allow_nan=False).encode())
        except OSError as error:  # a run goes on without; the file of before, if any, is as it was
            sentence = (
                f"metadata {self._path} cannot be written: {error.strerror or error}; they stay in "
                "memory, make room or rights and they are written with the next change"
            )
            log.warning("%s", sentence)
            return
        facts = os.stat(self._path)
        self._seen = (facts.st_mtime_ns, facts.st_ino)


class _Alone:
    """Holds the lock that every session of the folder takes to write."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f".{path.name}.lock")
        self._descriptor = -1

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
