"""Photon counting: compiled kernels that draw every pixel from its own counter-based stream.

A pixel's numbers depend on a 64-bit key and its index alone, so a frame comes out the same in whatever order or thread
it is drawn. Generator: SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195). Poisson numbers: inversion
below 10, transformed rejection PTRS above (Hoermann 1993, doi:10.1016/0167-6687(93)90997-4).
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

ACTIVE, SHADOW, MASKED_MAX, MASKED_SECOND = 0, 1, 2, 3
"""Codes of a pixel: counts; counts unless the beam stop is in; always at the type's maximum; at the maximum - 1."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
_MASK = (1 << 64) - 1
_UNIT = 2.0**-53
_INVERSION_BELOW = 10.0
_BLOCK = 4096

Counts = NDArray[np.uint32]
Codes = NDArray[np.uint8]


def frame_key(*parts: int) -> np.uint64:
    """Key of a stream of numbers, from whole numbers >= 0 such as (seed, series, frame, purpose)."""
    key = 0x243F6A8885A308D3
    for part in parts:
        key = (key ^ (part & _MASK)) * 0x9E3779B97F4A7C15 & _MASK
        key = int(_mix_python(key))
    return np.uint64(key)


def _mix_python(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)


@numba.njit(cache=True, nogil=True, inline="always")
def _mix(z):  # uint64 -> uint64
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@numba.njit(cache=True, nogil=True, inline="always")
def _uniform(bits):  # uint64 -> float64 in (0, 1]
    return ((bits >> _S11) + np.uint64(1)) * _UNIT


@numba.njit(cache=True, nogil=True)
def _poisson(mean, bits):
    """Poisson number of mean > 0; `bits` is the pixel's first draw."""
    if mean < _INVERSION_BELOW:
        left = _uniform(bits)
        term = math.exp(-mean)
        k = 0
        while left > term and k < 200:
            left -= term
            k += 1
            term *= mean / k
        return k
    return _ptrs(mean, bits)


@numba.njit(cache=True, nogil=True)
def _ptrs(mean, state):
    root = math.sqrt(mean)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    accept = 0.9277 - 3.6224 / (b - 2.0)
    while True:
        state += _GOLDEN
        u = _uniform(_mix(state)) - 0.5
        state += _GOLDEN
        v = _uniform(_mix(state))
        us = 0.5 - abs(u)
        if us <= 0.0:
            continue
        k = math.floor((2.0 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= accept:
            return int(k)
        if k < 0 or (us < 0.013 and v > us):
            continue
        if math.log(v * inverse_alpha / (a / (us * us) + b)) <= k * math.log(mean) - mean - math.lgamma(k + 1.0):
            return int(k)


@numba.njit(cache=True, nogil=True)
def add_scattering(
    counts: Counts,
    codes: Codes,
    sample: NDArray[np.float32],
    background: NDArray[np.float32],
    key: np.uint64,
    sample_photons: float,
    background_photons: float,
    dark: float,
    stop_in: bool,
    shift_row: int,
    shift_col: int,
) -> None:
    """Add Poisson draws of ``sample_photons * sample + background_photons * background + dark``, the maps shifted."""
    rows, cols = counts.shape
    for row in range(rows):
        source_row = row - shift_row
        inside_row = 0 <= source_row < rows
        for col in range(cols):
            code = codes[row, col]
            if code >= MASKED_MAX:
                continue
            mean = dark
            source_col = col - shift_col
            if inside_row and 0 <= source_col < cols and not (stop_in and code == SHADOW):
                mean += (
                    sample_photons * sample[source_row, source_col]
                    + background_photons * background[source_row, source_col]
                )
            bits = _mix(key + np.uint64(row * cols + col + 1) * _GOLDEN)
            # P(k > 0) <= mean: most pixels end here without an exponential
            if 1.0 - _uniform(bits) < mean:
                counts[row, col] += np.uint32(min(_poisson(mean, bits), 4294967295 - counts[row, col]))


@numba.njit(cache=True, nogil=True)
def add_streak(
    counts: Counts,
    codes: Codes,
    key: np.uint64,
    center_row: float,
    center_col: float,
    angle: float,
    height: float,
    sigma: float,
    reference_radius: float,
    stop_in: bool,
) -> None:
    """Add Poisson draws of a line through the centre; `height` photons at `reference_radius`, falling with 1/r^2.

    `angle` (rad) is measured from the direction of growing columns towards that of growing rows.
    """
    rows, cols = counts.shape
    along_col, along_row = math.cos(angle), math.sin(angle)
    reach = 6.0 * sigma
    for row in range(rows):
        y = row - center_row
        first, last = 0, cols
        if abs(along_row) > 1e-9:
            middle = center_col + y * along_col / along_row
            half = reach / abs(along_row)
            first = int(max(0.0, min(float(cols), math.ceil(middle - half))))
            last = int(max(0.0, min(float(cols), math.floor(middle + half) + 1.0)))
        for col in range(first, last):
            code = codes[row, col]
            if code >= MASKED_MAX or (stop_in and code == SHADOW):
                continue
            x = col - center_col
            across = x * along_row - y * along_col
            if abs(across) > reach:
                continue
            fall = reference_radius**2 / max(x * x + y * y, 0.25 * reference_radius**2)
            mean = height * fall * math.exp(-0.5 * (across / sigma) ** 2)
            bits = _mix(key + np.uint64(row * cols + col + 1) * _GOLDEN)
            if 1.0 - _uniform(bits) < mean:
                counts[row, col] += np.uint32(min(_poisson(mean, bits), 4294967295 - counts[row, col]))


@numba.njit(cache=True, nogil=True)
def add_spot(
    counts: Counts, codes: Codes, key: np.uint64, center_row: float, center_col: float, sigma: float, photons: float
) -> None:
    """Add Poisson draws of a Gaussian spot of `photons` in total, beam stop or not."""
    rows, cols = counts.shape
    reach = math.ceil(8.0 * sigma)
    for row in range(max(0, int(center_row) - reach), min(rows, int(center_row) + reach + 1)):
        for col in range(max(0, int(center_col) - reach), min(cols, int(center_col) + reach + 1)):
            code = codes[row, col]
            if code >= MASKED_MAX:
                continue
            square = (row - center_row) ** 2 + (col - center_col) ** 2
            mean = photons * math.exp(-0.5 * square / sigma**2) / (2.0 * math.pi * sigma**2)
            bits = _mix(key + np.uint64(row * cols + col + 1) * _GOLDEN)
            if mean > 1e-12 and 1.0 - _uniform(bits) < mean:
                counts[row, col] += np.uint32(min(_poisson(mean, bits), 4294967295 - counts[row, col]))


@numba.njit(cache=True, nogil=True)
def read_out(counts: Counts, codes: Codes, out: NDArray[np.unsignedinteger], top: int, cutoff: int) -> None:
    """Write what the detector shows: masked pixels at `top` or `top` - 1, counts above `cutoff` at `top`."""
    rows, cols = counts.shape
    for row in range(rows):
        for col in range(cols):
            code = codes[row, col]
            value = counts[row, col]
            if code == MASKED_MAX or value > cutoff:
                value = top
            elif code == MASKED_SECOND:
                value = top - 1
            out[row, col] = value


@numba.njit(cache=True, nogil=True)
def add_to_sum(
    total: NDArray[np.uint64],
    excluded: NDArray[np.uint32],
    frame: NDArray[np.unsignedinteger],
    codes: Codes,
    limit: int,
    times: int,
) -> None:
    """Add `times` (1 or -1) a frame to an exact sum; values from `limit` up add nothing and count as excluded."""
    totals, refused, values, code = total.ravel(), excluded.ravel(), frame.ravel(), codes.ravel()
    step = np.uint64(times)  # -1 is 2^64 - 1: subtraction modulo 2^64
    for first in range(0, values.size, _BLOCK):
        last = min(first + _BLOCK, values.size)
        over = 0
        for i in range(first, last):  # without branches; stores under a mask made this 60 times slower
            active = code[i] < MASKED_MAX
            over += active and values[i] >= limit
            totals[i] += np.uint64(values[i]) * step if active and values[i] < limit else np.uint64(0)
        if over:
            for i in range(first, last):
                if code[i] < MASKED_MAX and values[i] >= limit:
                    refused[i] += np.uint32(step)
