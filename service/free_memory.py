"""Give free memory back to the system, so that a night's run does not grow."""

import contextlib
import ctypes


def give_back() -> bool:
    """Return what glibc's malloc keeps of freed memory; False where the C library is another or nothing was free.

    Messages and pictures of many sizes leave holes in the pools of a dozen threads. Nothing is lost, but the process
    would grow by some hundred bytes a frame, until nobody can tell it from a leak. Takes some milliseconds.
    """
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).malloc_trim(0))
    return False
