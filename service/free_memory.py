"""Tell glibc's malloc how to keep memory, so that a night's run does not grow; nothing happens with other C libraries.

What freed blocks of many sizes leave behind are holes in the pools of a dozen threads. Nothing is lost, but the size of
a process would wander and creep by a tenth, until nobody can tell that from a leak.
"""

import contextlib
import ctypes
import threading

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # M_... of <malloc.h>
_LEAST_APART, _MOST_APART = 1 << 20, 16 << 20
_KEPT = 8  # times the largest pooled block: what may lie free at the end of the pool until it is given back
_EVERY_S = 1.0


def one_pool() -> bool:
    """Let all threads share one pool, from now on; False where that cannot be.

    Call it before there are threads. They hardly allocate at the same time: the kernels allocate nothing.
    """
    return _set(_ARENA_MAX, 1)


def sums_apart(pixels: int) -> bool:
    """Take large arrays straight from the system and give them straight back; False where that cannot be.

    Messages, which come a hundred times a second, stay in the pool: fresh pages for each would cost 4 ms a dense frame
    of 16M. Without this, malloc moves the border up to the largest block that was ever freed.

    Parameters
    ----------
    pixels : int
        Of a frame. The border is at one byte a pixel: messages have less, sums eight.
    """
    border = min(max(pixels, _LEAST_APART), _MOST_APART)
    return _set(_MMAP_THRESHOLD, border) and _set(_TRIM_THRESHOLD, _KEPT * border)


def _set(option: int, value: int) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(option, value))
    return False


def keep_level(stop: threading.Event) -> None:
    """Give what lies free in the pool back to the system every second until told to stop; takes some milliseconds.

    Messages of a hundred kilobytes pass through every hole there is, so what was given back once is soon taken again.
    """
    while not stop.wait(_EVERY_S):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
