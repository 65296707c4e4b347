"""A file under its final name is always whole: written aside, synced, renamed."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class WholeFile(io.FileIO):
    """A raw file whose writes are whole or fail: the system may write less than it is given, a full disk does.

    Unbuffered, so that the bytes are with the operating system when a write returns, and the interpreter's lock is free
    while the disk keeps it waiting.
    """

    def write(self, data: Any) -> int:
        """Write all of `data`; returns how many bytes that is."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += super().write(view[done:]) or 0
        return len(view)


def aside_of(path: Path) -> Path:
    """Return under which name a file is written before it is whole."""
    return path.with_name(f".{path.name}.partial")


@contextlib.contextmanager
def written_whole(path: Path, *, before: Path | None = None) -> Iterator[WholeFile]:
    """Give an unbuffered file to write; it gets its name when the block ends well, and is removed when it does not.

    Parameters
    ----------
    path : Path
    before : Path or None
        The name that the file of before gets; None: it is replaced.

    Raises
    ------
    OSError
        When the disk refuses; the file of before is as it was.
    """
    aside = aside_of(path)
    try:
        with WholeFile(aside, "w+b") as file:
            yield file
            os.fsync(file.fileno())
        if before is not None:
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, before)
        os.replace(aside, path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
