"""How much disk the spools of an output folder take, and whose goes when it is too much."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import structlog

_log = structlog.get_logger()

_DATA = "_spool_data_"
_RESERVE_BYTES = 512 << 20
"""Left free on the disk: the result file matters more than the spool."""


@dataclass(slots=True)
class _Found:
    """The spool of one series."""

    files: list[Path] = field(default_factory=list)
    newest_s: float = 0.0
    growing: bool = False


class Budget:
    """Counts the bytes of all spools of a folder and removes old ones.

    Parameters
    ----------
    stem : Path
        The running spool's, which is never removed.
    limit_bytes : int
    """

    def __init__(self, stem: Path, limit_bytes: int) -> None:
        self._folder, self._own, self._limit = stem.parent, stem.name, limit_bytes
        self._used = 0
        self.count()

    def count(self) -> None:
        """Look at the disk anew."""
        self._used = sum(_bytes(path) for spool in self._spools().values() for path in spool.files)

    def took(self, size: int) -> None:
        """Add what was written."""
        self._used += size

    def why_not(self, size: int) -> str:
        """Make room for so many bytes.

        Returns
        -------
        str
            Why there is none and what to do, empty when there is.
        """
        if self._used + size > self._limit:
            self.count()  # somebody may have removed files
            while self._used + size > self._limit and self._remove_oldest():
                pass
        if self._used + size > self._limit:
            return (
                f"spools in {self._folder} must take at most {self._limit / 2**30:.4g} GiB (spool.budget_gib), got "
                f"{(self._used + size) / 2**30:.4g} GiB; remove old *_spool_* files or raise spool.budget_gib"
            )
        free = _free_bytes(self._folder)
        if free < size + _RESERVE_BYTES:
            return (
                f"disk of {self._folder} must have {_RESERVE_BYTES >> 20} MiB free beside the spool, got "
                f"{free >> 20} MiB; free space on it"
            )
        return ""

    def _spools(self) -> dict[str, _Found]:
        """Return the spools of the folder by the name of their stem."""
        found: dict[str, _Found] = {}
        try:
            paths = list(self._folder.iterdir())
        except FileNotFoundError:
            return found
        for path in paths:
            own = path.name.startswith(f"{self._own}_data_")
            if not own and _DATA not in path.name:
                continue
            stem = self._own if own else path.name.rpartition("_data_")[0]
            spool = found.setdefault(stem, _Found())
            spool.files.append(path)
            spool.growing |= ".part" in path.suffixes
            try:
                spool.newest_s = max(spool.newest_s, path.stat().st_mtime)
            except OSError:
                continue
        return found

    def _remove_oldest(self) -> bool:
        """Remove the spool of the series that was written longest ago; False when there is none to remove."""
        others = {stem: spool for stem, spool in self._spools().items() if stem != self._own and not spool.growing}
        if not others:
            return False
        stem = min(others, key=lambda name: (others[name].newest_s, name))
        files = others[stem].files
        size = sum(_bytes(path) for path in files)
        removed = 0
        # The master goes first: without it nobody opens files of which some are gone.
        for path in [self._folder / f"{stem}_master.h5", *sorted(files, reverse=True)]:
            try:
                path.unlink(missing_ok=True)
                removed += 1
            except OSError as error:
                _log.warning("old spool cannot be removed", file=str(path), reason=str(error))
        _log.info("old spool removed to keep spool.budget_gib", spool=stem, files=removed, mib=size >> 20)
        self.count()
        return removed == len(files) + 1


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
