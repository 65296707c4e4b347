"""Who writes a series: a lock that the system gives back when its process ends, however that happens."""

import contextlib
import fcntl
import os
from pathlib import Path


class Claim:
    """The right to write a series; two services may share a folder, never a series.

    Use `take`.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    @classmethod
    def take(cls, result: Path) -> "Claim | None":
        """Claim the series of a result file; None when another process has it.

        Parameters
        ----------
        result : Path
            Written or not.

        Raises
        ------
        OSError
            When the folder cannot be written.
        """
        path = result.with_name(f".{result.stem}.in-use")
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return None
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                    return cls(path, descriptor)
            os.close(descriptor)  # its owner removed it between our opening and locking it: once more

    def give_back(self) -> None:
        """Let others have it; may be called twice."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1
