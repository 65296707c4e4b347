"""16M frames for the benchmarks: module gaps, bad pixels, a beam stop, Poisson counts with a radial falloff."""

import struct

import bitshuffle
import numpy as np

from processing.mask import gap_mask

SHAPE = (4371, 4150)
CENTER = (2185.3, 2070.7)
LEVELS = {"sparse": 9.0e4, "medium": 4.5e6, "dense": 7.3e7}
BLOCK = 8192


def static_mask() -> np.ndarray:
    valid = gap_mask(SHAPE)
    valid.reshape(-1)[np.random.default_rng(9).integers(0, valid.size, 2000)] = False
    return valid.astype(np.uint8)


def counts(photons: float, valid: np.ndarray, seed: int) -> np.ndarray:
    """Return Poisson counts of an expectation that falls off with the radius."""
    rows = np.arange(SHAPE[0])[:, None] - CENTER[0]
    cols = np.arange(SHAPE[1])[None, :] - CENTER[1]
    radius = np.sqrt(rows * rows + cols * cols)
    expected = (1 + (radius / 120) ** 2) ** -0.83 * (1 + 0.3 * np.cos(radius / 9))
    expected[radius < 28] = 0  # the beam stop
    expected *= valid
    return np.random.default_rng(seed).poisson(expected * (photons / expected.sum()))


def compress(drawn: np.ndarray, valid: np.ndarray, dtype: str) -> bytes:
    pixels = drawn.astype(dtype)
    pixels[valid == 0] = np.iinfo(dtype).max
    body = bitshuffle.compress_lz4(pixels.reshape(-1), BLOCK // pixels.itemsize).tobytes()
    return struct.pack(">QI", pixels.nbytes, BLOCK) + body
