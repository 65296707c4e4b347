"""A process that spools until it is killed: `python spool_child.py STEM BLOBS FIRST LAST [LARGEST_FILE]`.

BLOBS is a .npy of pixels (frame, row, col) that come round and round. It says "ready", waits for a line on stdin, and
then says the number of each kept frame. With LARGEST_FILE no file can grow beyond so many bytes until another line.
"""

import os
import resource
import struct
import sys
from pathlib import Path

import bitshuffle
import numpy as np

from processing.frame import EncodedFrame, SeriesHeader
from service import config
from service.spool import Spool


def frame_of(pixels: np.ndarray, number: int) -> EncodedFrame:
    """Return a frame as the detector would send it."""
    of = pixels[number % len(pixels)]
    blob = struct.pack(">QI", of.nbytes, 8192) + bitshuffle.compress_lz4(of.ravel(), 4096).tobytes()
    return EncodedFrame(series=5, frame=number, shape=of.shape, pixel_type="uint16", encoding="bs16-lz4<", blob=blob)


def say(word: object) -> None:
    """Write a line that is out when this returns."""
    os.write(1, f"{word}\n".encode())


def main() -> None:
    """Spool, and say what was kept."""
    stem, blobs, first, last, *limit = sys.argv[1:]
    pixels = np.load(blobs)
    frames = [frame_of(pixels, number) for number in range(int(first), int(last))]
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), resource.RLIM_INFINITY))
    spool = Spool(
        Path(stem),
        SeriesHeader(series=5, shape=pixels.shape[1:], images=int(last)),
        config.Spool(enabled=True, frames_per_file=20),
        kept=lambda kept: say(kept.frame),
        troubled=lambda trouble: say(f"trouble {trouble}"),
    )
    say("ready")
    sys.stdin.readline()
    half = len(frames) // 2 if limit else len(frames)
    for frame in frames[:half]:
        spool.offer(frame)
    if limit:
        sys.stdin.readline()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for frame in frames[half:]:
            spool.offer(frame)
    spool.close(60)
    say("closed")


if __name__ == "__main__":
    main()
