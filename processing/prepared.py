"""What preparing takes and gives: a summed pattern and settings in, amplitudes out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processing.background import BackgroundMode


class CannotPrepareError(ValueError):
    """A sum from which no amplitudes can be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSettings:
    """How amplitudes are made from a sum.

    Attributes
    ----------
    width_px : int or None
        Detector pixels a side that are used, odd. None: as wide as the detector allows on every side of the beam,
        at most 999, or 14.6 speckles where the object's diameter is given.
    binning : int
        Odd binning of the paper (3).
    reduction : int or None
        Further odd binning (5 for 325 to 65, 9 for 999 to 111, 1 for none). None: the largest that leaves a speckle
        4.5 bins wide, and 5 where the object's diameter is not given. (With neither width nor diameter given, the
        diameter is read from the pattern, and where it asks for quite another array that one is made.)
    central_px : float
        Diameter of the removed central speckle in detector pixels about the true centre.
    background : {"azimuthal", "raw", "none"}
        Smoothed azimuthal mean of the background frames, pixel by pixel, or not subtracted.
    negative : {"bins", "pixels"}
        Whether values below zero after subtraction are missing once binned, or before. Before is the paper's order;
        it keeps only upward fluctuations where photons are few and so lifts the far part of the pattern.
    find_center : bool
        False uses the geometry's centre as it is.
    center_reach_px : float
        How far the centre may lie from the geometry's.
    object_diameter_m : float or None
        Expected diameter of the object in m; decides automatic width and reduction only.
    """

    width_px: int | None = None
    binning: int = 3
    reduction: int | None = None
    central_px: float = 151.0
    background: BackgroundMode | Literal["none"] = "azimuthal"
    negative: Literal["bins", "pixels"] = "bins"
    find_center: bool = True
    center_reach_px: float = 12.0
    object_diameter_m: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Amplitudes for a reconstruction.

    Attributes
    ----------
    amplitude : ndarray of float32, shape (n, n)
        Square root of the mean counts a detector pixel in the sum; zero frequency at ``[n // 2, n // 2]``, symmetric
        under inversion, 0 where missing.
    sigma : ndarray of float32, shape (n, n)
        Standard deviation of the *intensity* ``amplitude**2`` by photon noise; 0 where missing.
    shared_sigma : ndarray of float32, shape (n, n)
        The part of `sigma` that all bins of a ring share, from the azimuthal mean of few background frames.
    valid : ndarray of bool, shape (n, n)
        False where the amplitude is missing and floats in the reconstruction.
    pixel_size_m : float
        Pixel of the reconstructed image in m.
    bin_px : int
        Detector pixels a side of one bin.
    center : tuple of float
        (row, col) of the beam on the detector in pixels.
    center_sigma_px : float or None
        Its standard uncertainty; None where it was given, not found.
    central_px : float
        Diameter of the removed centre in detector pixels.
    frames, background_frames : int
        Frames in the sum and in the background subtracted from it.
    warnings : tuple of str
        What the user should know about these amplitudes.
    """

    amplitude: NDArray[np.float32]
    sigma: NDArray[np.float32]
    shared_sigma: NDArray[np.float32]
    valid: NDArray[np.bool_]
    pixel_size_m: float
    bin_px: int
    center: tuple[float, float]
    center_sigma_px: float | None
    central_px: float
    frames: int
    background_frames: int
    warnings: tuple[str, ...] = ()

    def speckle_bins(self, object_diameter_m: float) -> float:
        """Width in bins of a speckle of an object of this diameter in m."""
        return self.amplitude.shape[0] * self.pixel_size_m / object_diameter_m

    def central_speckles(self, object_diameter_m: float) -> float:
        """Diameter of the removed centre in speckles of an object of this diameter in m (paper: 2.1)."""
        return self.central_px / self.bin_px / self.speckle_bins(object_diameter_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class SummedPattern:
    """A sum of frames and what is needed to read it.

    Attributes
    ----------
    counts : ndarray of unsigned integer or float, shape (rows, cols)
        Sum of the frames.
    frames : int
        Frames in it.
    excluded : ndarray of unsigned integer, shape (rows, cols), or None
        In how many of the frames a pixel was saturated and added nothing.
    """

    counts: NDArray[np.generic]
    frames: int
    excluded: NDArray[np.generic] | None = None

    def part(self, window: tuple[slice, slice]) -> "SummedPattern":
        """The same sum on a part of the detector."""
        excluded = None if self.excluded is None else self.excluded[window]
        return SummedPattern(counts=self.counts[window], frames=self.frames, excluded=excluded)

    def complete(self, valid: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Counts as if no frame were excluded, and which pixels carry data in at least half of the frames."""
        counts = np.asarray(self.counts, dtype=np.float64)
        good = np.asarray(valid, dtype=bool) & np.isfinite(counts)
        if self.excluded is None or not self.excluded.any():
            return counts, good
        seen = self.frames - np.asarray(self.excluded, dtype=np.float64)
        good &= seen >= 0.5 * self.frames
        return counts * (self.frames / np.maximum(seen, 1.0)), good
