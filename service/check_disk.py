"""Whether results can be written: the output folder, its free space and its speed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from service.check import Finding, stopwatch
from service.config import Settings

PROBE_BYTES = 32 << 20
NEEDED_BYTES = 4 << 30
"""A 16M result, the one it replaces and two checkpoints, and as much again."""
SLOW_BYTES_S = 20e6
"""A result file of the 16M detector then takes half a minute, and the next one is due."""


def check_output(settings: Settings) -> Iterator[Finding]:
    """Write a file where the results go, time it, and take it away again.

    Yields
    ------
    Finding
    """
    folder = settings.output.directory
    place = nearest(folder)
    made = "" if place == folder.absolute() else f"will be made in {place}; "
    try:
        rate = write_speed(place)
    except OSError as error:
        yield Finding(
            area="disk",
            what=str(folder),
            state="invalid",
            said=f"cannot be written: {error.strerror or error}",
            do="give this user the right to write there, or set output.directory to another folder",
        )
        return
    slow = rate < SLOW_BYTES_S
    yield Finding(
        area="disk",
        what=str(folder),
        state="wrong" if slow else "ok",
        said=f"{made}{rate / 1e6:.0f} MB/s to the disk",
        do="a local disk: results of a large detector would be late" if slow else "",
    )
    yield _space(settings, folder, place)


def _space(settings: Settings, folder: Path, place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    wanted, why = float(NEEDED_BYTES), "for result files and checkpoints"
    if settings.spool.enabled:
        wanted += settings.spool.budget_gib * 2**30
        why = f"for results and a spool of {settings.spool.budget_gib:g} GiB (spool.budget_gib)"
    if free >= wanted:
        return Finding(area="disk", what=f"{folder} space", said=f"{free / 2**30:.0f} GiB free")
    return Finding(
        area="disk",
        what=f"{folder} space",
        state="wrong" if free < NEEDED_BYTES else "note",
        said=f"{free / 2**30:.1f} GiB free, {wanted / 2**30:.0f} GiB wanted {why}",
        do="make room, or set output.directory to a larger disk",
    )


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def write_speed(folder: Path) -> float:
    """Bytes a second that reach the disk of `folder`.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    block = os.urandom(1 << 20)
    descriptor, name = tempfile.mkstemp(prefix=".xedm-check-", dir=folder)
    try:
        with stopwatch() as took, os.fdopen(descriptor, "wb") as file:
            for _ in range(PROBE_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    return PROBE_BYTES / took[0]
