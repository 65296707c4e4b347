"""Tell glibc's malloc how to keep memory, so that a night's run does not grow; nothing happens with other C libraries.

What freed blocks of many sizes leave behind are holes in the pools of a dozen threads. Nothing is lost, but a process
would wander by a tenth of its size, until nobody can tell that from a leak.
"""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
_LEAST_APART, _MOST_APART = 2 << 20, 16 << 20
_KEPT = 8  # times the largest pooled block: what may lie free at the end of a pool


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
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(_MMAP_THRESHOLD, border)) and bool(libc.mallopt(_TRIM_THRESHOLD, _KEPT * border))
    return False


def give_back() -> bool:
    """Return to the system what lies free in the pools; False where nothing was free. Takes some milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).malloc_trim(0))
    return False
