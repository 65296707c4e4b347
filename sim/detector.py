"""The two Eiger X detectors: modules, gaps, bad and hot pixels, and where the beam meets them."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

PIXEL_M = 75e-6
MODULE_ROWS, MODULE_COLS = 514, 1030
GAP_ROWS, GAP_COLS = 37, 10
SENSOR_THICKNESS_M = 450e-6
READOUT_TIME_S = 3e-6

MASK_GAP, MASK_DEAD, MASK_NOISY = 1, 2, 16
"""Bits 0, 1 and 4 of the vendor's pixel mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """One detector and the beam on it. Pixel centres lie at integer coordinates.

    Attributes
    ----------
    name, description, serial_number
        As the detector calls itself.
    modules
        (down, across).
    true_row, true_col
        Where the direct beam truly hits; nobody outside the simulation knows.
    header_row, header_col
        What an earlier alignment left in ``beam_center_y`` and ``beam_center_x``.
    bad_pixels, hot_pixels
        How many pixels are in the detector's mask besides the gaps, and how many are not but sometimes overflow.
    """

    name: str
    description: str
    serial_number: str
    modules: tuple[int, int]
    true_row: float
    true_col: float
    header_row: float
    header_col: float
    bad_pixels: int
    hot_pixels: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        down, across = self.modules
        return down * MODULE_ROWS + (down - 1) * GAP_ROWS, across * MODULE_COLS + (across - 1) * GAP_COLS

    @property
    def stop_row(self) -> float:
        """Row of the middle of the beam stop, half way between where the beam was thought to be and where it is."""
        return 0.5 * (self.true_row + self.header_row)

    @property
    def stop_col(self) -> float:
        """Column of the middle of the beam stop."""
        return 0.5 * (self.true_col + self.header_col)


GEOMETRIES = {
    "eig1m": Geometry(
        name="eig1m",
        description="Dectris Eiger 1M",
        serial_number="E-02-0101",
        modules=(2, 1),
        # 977 rows fit only at most 44 rows off the middle: the module gap then lies beside the beam stop
        true_row=488.31,
        true_col=514.62,
        header_row=488.09,
        header_col=514.83,
        bad_pixels=100,
        hot_pixels=20,
    ),
    "eig16m": Geometry(
        name="eig16m",
        description="Dectris Eiger 16M",
        serial_number="E-32-0101",
        modules=(8, 4),
        # 60 rows and 50 columns off the middle, so that no gap lies on its own Friedel partner near the centre
        true_row=2125.31,
        true_col=2024.62,
        header_row=2125.09,
        header_col=2024.83,
        bad_pixels=2000,
        hot_pixels=200,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """What each pixel of a detector is good for.

    Attributes
    ----------
    mask : ndarray of uint32, shape (rows, columns)
        The vendor's pixel mask; 0 is good.
    second : ndarray of bool, shape (rows, columns)
        Masked pixels that read the type's maximum - 1 instead of the maximum.
    hot : ndarray of int64, shape (n,)
        Flat indices of pixels that are not in the mask but sometimes stand at the maximum.
    """

    mask: NDArray[np.uint32]
    second: NDArray[np.bool_]
    hot: NDArray[np.int64]


@cache
def pixels(name: str) -> Pixels:
    """Pixels of the detector `name`; a property of the device, the same in every run."""
    geometry = GEOMETRIES[name]
    rows, cols = geometry.shape
    mask = np.zeros((rows, cols), np.uint32)
    for start in range(MODULE_ROWS, rows, MODULE_ROWS + GAP_ROWS):
        mask[start : start + GAP_ROWS] = MASK_GAP
    for start in range(MODULE_COLS, cols, MODULE_COLS + GAP_COLS):
        mask[:, start : start + GAP_COLS] = MASK_GAP
    rng = np.random.Generator(np.random.PCG64([rows, cols]))
    active = np.flatnonzero(mask == 0)
    chosen = rng.choice(active, geometry.bad_pixels + geometry.hot_pixels, replace=False)
    bad, hot = chosen[: geometry.bad_pixels], chosen[geometry.bad_pixels :]
    mask.flat[bad[::4]] = MASK_NOISY
    mask.flat[bad[1::4]] = MASK_DEAD
    mask.flat[bad[2::4]] = MASK_DEAD
    mask.flat[bad[3::4]] = MASK_DEAD
    second = np.zeros((rows, cols), np.bool_)
    second.flat[bad[::8]] = True
    return Pixels(mask=mask, second=second, hot=np.sort(_move_some_near_beam(hot, mask, geometry, rng)))


def _move_some_near_beam(
    hot: NDArray[np.int64], mask: NDArray[np.uint32], geometry: Geometry, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Put every fifth hot pixel within 150 px of the beam, where it matters."""
    moved = hot.copy()
    for i in range(0, moved.size, 5):
        radius, angle = 40.0 + 110.0 * rng.random(), 2.0 * np.pi * rng.random()
        row = round(geometry.true_row + radius * np.sin(angle))
        col = round(geometry.true_col + radius * np.cos(angle))
        flat = row * geometry.shape[1] + col
        if mask[row, col] == 0 and flat not in moved:
            moved[i] = flat
    return moved


def pixel_type(count_time_s: float) -> np.dtype[np.unsignedinteger]:
    """16 bit only for exposures below 10 ms, else 32 bit, little endian."""
    return np.dtype("<u2") if count_time_s < 0.010 else np.dtype("<u4")


def count_cutoff(count_time_s: float) -> int:
    """Largest count a pixel can show after the count-rate correction: 2e6 /s, and below the two flag values."""
    flagged = int(np.iinfo(pixel_type(count_time_s)).max) - 1
    return min(flagged - 1, max(1, int(2e6 * count_time_s)))
