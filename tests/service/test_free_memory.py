"""Memory of the service: sums come from the system and go back to it at once."""

import ctypes
import platform
import threading
import time
from multiprocessing import get_context

import numpy as np
import pytest

from service import free_memory
from service.free_memory import one_pool, sums_apart

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")


class Mallinfo2(ctypes.Structure):
    """struct mallinfo2 of <malloc.h>."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in _names]


def apart_bytes():
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Mallinfo2
    return libc.mallinfo2().hblkhd


def look(pixels):
    """Look in a process of its own: what other tests have freed would do for a sum."""
    assert one_pool()
    assert sums_apart(pixels)
    for _ in range(3):  # what was freed would move malloc's own border up
        np.ones(pixels, np.uint64)
    before = apart_bytes()
    total = np.ones(pixels, np.uint64)
    assert apart_bytes() - before >= total.nbytes
    message = np.ones(pixels // 8, np.uint32)  # half a byte a pixel
    assert apart_bytes() - before < total.nbytes + message.nbytes
    del total
    assert apart_bytes() <= before


@pytest.mark.parametrize("pixels", [1030 * 1065, 4150 * 4371])
def test_a_sum_is_apart_and_a_frame_is_pooled_however_large_the_blocks_freed_before(pixels):
    with get_context("spawn").Pool(1) as process:
        process.apply(look, (pixels,))


def test_it_ends_when_told(monkeypatch):
    monkeypatch.setattr(free_memory, "_EVERY_S", 0.01)
    stop = threading.Event()
    thread = threading.Thread(target=free_memory.keep_level, args=(stop,))
    thread.start()
    time.sleep(0.05)
    stop.set()
    thread.join(10.0)
    assert not thread.is_alive()
