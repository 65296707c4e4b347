"""A child process that cannot harm: bounded in memory, killed with all its own children, gone with its parent."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from service.contained_child import OUT_OF_MEMORY


class Contained:
    """One of our modules in a process group of its own, see `service.contained_child`.

    Parameters
    ----------
    module : str
        What `python -m` would run.
    arguments : sequence of str
    memory_mib : int
        The most private memory it may take.
    niceness : int
        By how much it stands back behind others.
    environment : mapping, optional
        Its environment; default: ours.
    stdin, stdout, stderr
        As `subprocess.Popen` takes them.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        memory_mib: int,
        niceness: int = 0,
        environment: Mapping[str, str] | None = None,
        stdin: int | IO[Any] = subprocess.DEVNULL,
        stdout: int | IO[Any] = subprocess.DEVNULL,
        stderr: int | IO[Any] = subprocess.DEVNULL,
    ) -> None:
        theirs, ours = os.pipe()
        try:
            # -P: a folder named service in the working directory must not be taken for ours.
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "service.contained_child"),
                    *(str(memory_mib), str(theirs), str(niceness), module, *arguments),
                ],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=environment,
                pass_fds=(theirs,),
                process_group=0,
            )
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._lifeline: int | None = ours

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself; its number stays taken until `end`, so that nobody else can be hit."""
        if self.process.returncode is not None:
            return True
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, options) is not None

    def end(self) -> int:
        """Kill what is left of it and of its own children; return its exit code. May be called twice."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        return int(self.process.returncode)


def how_it_ended(code: int) -> str:
    """Say what an exit code of a contained child means.

    Examples
    --------
    >>> how_it_ended(71), how_it_ended(-11), how_it_ended(3)
    ('ran out of memory', 'was killed by SIGSEGV', 'ended with code 3')
    """
    if code == OUT_OF_MEMORY:
        return "ran out of memory"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
