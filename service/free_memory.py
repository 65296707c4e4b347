"""Tell glibc's malloc how to keep memory, so that a night's run does not grow; nothing happens with other C libraries.

What freed blocks of many sizes leave behind are holes in the pools of a dozen threads. Nothing is lost, but the size of
a process would wander and creep by a tenth, until nobody can tell that from a leak.
"""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # M_... of <malloc.h>
_LEAST_APART, _MOST_APART = 2 << 20, 16 << 20
_KEPT = 8  # times the largest pooled block: what may lie free at the end of a pool


def one_pool() -> bool:
    """Let all threads share one pool, from now on; False where that cannot be.

    Call it before there are threads. They hardly allocate at the same time: the kernels allocate nothing.
    """
    return _set(_ARENA_MAX, 1)


def sums_apart(pixels: int) -> bool:
    """Take arrays larger than a frame straight from the system and give them straight back; False where that cannot be.

    Messages, which come a hundred times a second, stay in the pools: fresh pages for each would cost 4 ms a dense frame
    of 16M. Without this, malloc moves the border up to the largest block that was ever freed.

    Parameters
    ----------
    pixels : int
        Of a frame, of 4 bytes each; a sum has 8 bytes a pixel.
    """
    border = min(max(4 * pixels, _LEAST_APART), _MOST_APART)
    return _set(_MMAP_THRESHOLD, border) and _set(_TRIM_THRESHOLD, _KEPT * border)


def _set(option: int, value: int) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(option, value))
    return False


def give_back() -> bool:
    """Return to the system what lies free in the pools; False where nothing was free. Takes some milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).malloc_trim(0))
    return False
