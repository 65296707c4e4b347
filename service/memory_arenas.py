"""One pool of memory for all threads, so that a long run does not grow by what each thread keeps for itself."""

import contextlib
import ctypes

_M_ARENA_MAX = -8  # of malloc.h


def share_memory_pool() -> bool:
    """Have glibc's malloc use one arena; False where the C library is another.

    Messages of many MB are taken by one thread and given back by another; with an arena a thread each keeps up to
    64 MB of free memory of its own. To be called before threads start.
    """
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1))
    return False
