"""Small pictures of big sums: pooled, on a log scale, coloured, as JPEG."""

import io
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from processing.pooling import Unsigned, pool_max
from service.source import Preview

MAX_SIDE_PX = 1000
INVALID_RGB = (125, 125, 125)
JPEG_QUALITY = 88
# A float32 that is not negative orders like its own bits, so its upper 17 bits index a table whose entries
# lie 0.4 % apart: the logarithm is computed once an entry instead of once a pixel.
_BITS_DROPPED = 15
_ENTRIES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A rendered preview.

    Attributes
    ----------
    jpeg : bytes
        The picture.
    low, high : float
        Values at the dark and the bright end of the colours, photons for sums and frames.
    """

    jpeg: bytes
    low: float
    high: float


def make_preview(
    total: Unsigned,
    valid: NDArray[np.uint8],
    *,
    version: int,
    frames: int = 0,
    max_side: int = MAX_SIDE_PX,
    below: int | None = None,
) -> Preview:
    """Pool a sum or a frame to a small picture's numbers, keeping the brightest pixel of each block.

    The maximum, not the mean, because a speckle of a single pixel must stay visible.

    Parameters
    ----------
    total : ndarray, shape (row, col), unsigned integer
        Photons; whatever stands where `valid` is 0 is ignored.
    valid : ndarray, shape (row, col), uint8
        1 where the pixel counts.
    version : int
        Grows with every change.
    frames : int
        How many frames are in `total`.
    max_side : int
        Longest side of the picture in pixels.
    below : int or None
        Values from here on are no photons (a frame's maximum - 1 and maximum) and count as not valid.

    Raises
    ------
    ValueError
        When the shapes differ or `max_side` is not positive.
    """
    if total.shape != valid.shape or total.ndim != 2:
        raise ValueError(f"valid must be an array of the sum's shape {total.shape}, got {valid.shape}; pass its mask")
    if max_side < 1:
        raise ValueError(f"max_side must be at least 1 pixel, got {max_side}; 1000 suits a screen")
    step = step_of(total.shape, max_side)
    return Preview(pixels=pool_max(total, valid, step, below), step=step, version=version, frames=frames)


def step_of(shape: tuple[int, ...], max_side: int = MAX_SIDE_PX) -> int:
    """Return the side of the blocks with which an array of this shape becomes no longer than `max_side`."""
    return max(1, -(-max(shape) // max_side))


def make_image_preview(image: NDArray[np.float32], *, version: int, frames: int = 0) -> Preview:
    """Wrap a reconstruction (row, col), float32, for a linear scale: the object with some room about it.

    The object fills some 15 pixels of an array many times as wide; the rest is empty by construction. Averaged in
    blocks when it is still large.
    """
    image = image[window_of_object(image)]
    step = max(1, -(-max(image.shape) // MAX_SIDE_PX))
    rows, cols = (side // step * step for side in image.shape)
    blocks = image[:rows, :cols].reshape(rows // step, step, cols // step, step)
    return Preview(
        pixels=blocks.mean(axis=(1, 3), dtype=np.float32), step=step, version=version, log=False, frames=frames
    )


def window_of_object(image: NDArray[np.float32]) -> tuple[slice, slice]:
    """Return the square about the middle that holds all above a twentieth of the brightest, and half as much again."""
    middle = [side // 2 for side in image.shape]
    rows, cols = np.nonzero(image > 0.05 * image.max(initial=0.0))
    if not rows.size:
        return slice(None), slice(None)
    reach = int(1.5 * max(np.abs(rows - middle[0]).max(), np.abs(cols - middle[1]).max())) + 2
    return (
        slice(max(0, middle[0] - reach), middle[0] + reach + 1),
        slice(max(0, middle[1] - reach), middle[1] + reach + 1),
    )


def render(preview: Preview) -> Picture:
    """Colour a preview (viridis; gray where nothing was measured) and compress it."""
    levels, low, high = _levels(preview.pixels, log=preview.log)
    buffer = io.BytesIO()
    # Coarser colour than brightness halves a big picture; on a small one its fringes would show.
    coarse = 2 if levels.size > 300_000 else 0
    Image.fromarray(_palette().take(levels, axis=0)).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=coarse)
    return Picture(jpeg=buffer.getvalue(), low=low, high=high)


def gray_bytes(preview: Preview, max_side: int = 256) -> NDArray[np.uint8]:
    """Return a small gray picture (row, col), uint8: 0 where nothing was measured, else 1 to 255."""
    pixels = preview.pixels
    step = max(1, -(-max(pixels.shape) // max_side))
    rows, cols = (np.arange(0, side, step) for side in pixels.shape)
    pooled = np.fmax.reduceat(np.fmax.reduceat(pixels, rows, axis=0), cols, axis=1)
    return _levels(pooled, log=preview.log)[0]


def warm_up() -> None:
    """Compile everything, so that the first frame of a series does not wait for it."""
    valid = np.ones((4, 4), np.uint8)
    arrays: tuple[Unsigned, ...] = (valid.astype(np.uint16), valid.astype(np.uint32), valid.astype(np.uint64))
    for array in arrays:
        preview = make_preview(array, valid, version=0, max_side=2)
        render(preview)
        gray_bytes(preview)


@lru_cache(maxsize=1)
def _palette() -> NDArray[np.uint8]:
    """Level 0 is gray (nothing measured), levels 1 to 255 run through viridis."""
    from matplotlib import colormaps

    table = np.empty((256, 3), np.uint8)
    table[0] = INVALID_RGB
    table[1:] = np.round(colormaps["viridis"](np.linspace(0.0, 1.0, 255))[:, :3] * 255)
    return table


def _levels(pixels: NDArray[np.float32], *, log: bool) -> tuple[NDArray[np.uint8], float, float]:
    """Return the level of every pixel (0 = not measured) and the values at both ends of the scale."""
    if log:
        return _log_levels(np.ascontiguousarray(pixels, np.float32))
    measured = np.isfinite(pixels)
    if not measured.any():
        return np.zeros(pixels.shape, np.uint8), 0.0, 0.0
    low, high = float(pixels[measured].min()), float(pixels[measured].max())
    span = high - low if high > low else 1.0
    scaled = np.clip((np.where(measured, pixels, low) - low) / span, 0.0, 1.0)
    return np.where(measured, 1 + np.round(scaled * 254), 0).astype(np.uint8), low, high


def _log_levels(pixels: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float, float]:
    """Scale by log(v + low) up to the 99.9 % quantile, where `low` is the faintest 1 % of what was seen.

    The dark end is 0 where pixels without a photon are common, else `low`.
    """
    counts = _bit_histogram(pixels)
    measured = counts.sum()
    empty = counts[0]
    counts[0] = 0  # pixels at zero say nothing about the scale
    seen = np.cumsum(counts)
    values = (np.arange(_ENTRIES, dtype=np.uint32) << _BITS_DROPPED).view(np.float32)
    levels = np.ones(_ENTRIES, np.uint8)
    if not seen[-1]:
        return _apply_table(pixels, levels), 0.0, 0.0
    low = float(values[np.searchsorted(seen, 0.01 * seen[-1])])
    high = max(float(values[min(np.searchsorted(seen, 0.999 * seen[-1]), _ENTRIES - 1)]), 2 * low)
    dark = 0.0 if empty > 0.01 * measured else low
    usable = values[: int(np.float32(np.inf).view(np.uint32) >> _BITS_DROPPED)].astype(np.float64)
    scaled = np.clip(np.log((usable + low) / (dark + low)) / np.log((high + low) / (dark + low)), 0.0, 1.0)
    levels[: usable.size] = 1 + np.round(scaled * 254)
    levels[usable.size :] = 255
    return _apply_table(pixels, levels), dark, high


@numba.njit(nogil=True, cache=True)
def _bit_histogram(pixels: NDArray[np.float32]) -> NDArray[np.int64]:
    counts = np.zeros(65536, np.int64)
    bits = pixels.view(np.uint32)
    for r in range(pixels.shape[0]):
        for c in range(pixels.shape[1]):
            if pixels[r, c] >= 0:  # false for NaN
                counts[bits[r, c] >> np.uint32(15)] += 1
    return counts


@numba.njit(nogil=True, cache=True)
def _apply_table(pixels: NDArray[np.float32], levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = np.empty(pixels.shape, np.uint8)
    bits = pixels.view(np.uint32)
    for r in range(pixels.shape[0]):
        for c in range(pixels.shape[1]):
            if pixels[r, c] > 0:
                out[r, c] = levels[bits[r, c] >> np.uint32(15)]
            elif np.isnan(pixels[r, c]):
                out[r, c] = 0
            else:
                out[r, c] = levels[0]
    return out
