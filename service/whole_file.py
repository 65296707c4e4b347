"""A file under its final name is always whole: written aside, synced, renamed."""

import contextlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path


def aside_of(path: Path) -> Path:
    """Return under which name a file is written before it is whole."""
    return path.with_name(f".{path.name}.partial")


@contextlib.contextmanager
def written_whole(path: Path, *, before: Path | None = None) -> Iterator[FileIO]:
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
        with aside.open("w+b", buffering=0) as file:
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
