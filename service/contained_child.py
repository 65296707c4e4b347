"""What a contained child does first: `python -m service.contained_child MIB LIFELINE NICENESS MODULE [ARGUMENT...]`.

It binds itself before the module is imported. Done here and not between fork and exec: the parent has threads, and
Python code that runs after their fork can wait for a lock that nobody will ever release.
"""

import contextlib
import fcntl
import os
import resource
import runpy
import select
import sys

OUT_OF_MEMORY = 71
"""Exit code of a child whose memory did not suffice."""


def confine(memory_mib: int, lifeline: int, niceness: int) -> None:
    """Bind this process: its memory, its priority, no core file, and an end with its parent's.

    Parameters
    ----------
    memory_mib : int
        Limit of the data segment, that is of private writable memory: the address space that numba, BLAS and threads
        only reserve does not count.
    lifeline : int
        Reading end of a pipe whose other end only the parent holds. The kernel raises SIGIO, which ends the whole
        process group, when that end closes: however the parent ended, whatever this process is doing, and not when only
        the thread that started it ends, as the kernel's parent-death signal would.
    niceness : int
        Added to the priority's number.
    """
    os.nice(niceness)
    _limit(resource.RLIMIT_DATA, memory_mib << 20)
    _limit(resource.RLIMIT_CORE, 0)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    watch = select.poll()
    watch.register(lifeline, 0)
    if watch.poll(0):  # it had closed before the signal was asked for
        os._exit(1)


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, value))


def main() -> None:
    """Bind this process and become the module."""
    memory, lifeline, niceness, module, *arguments = sys.argv[1:]
    confine(int(memory), int(lifeline), int(niceness))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except MemoryError as error:
        with contextlib.suppress(OSError):
            os.write(2, f"out of memory: {error!s:.200}\n".encode())
        os._exit(OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
