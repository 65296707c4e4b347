"""The absolute check: counts on the diagonal of the sum against equation (1) (paper Fig. 5 a, science.md 7)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEGMENT_PX = 8
"""Pixels of the diagonal taken together, a ninth of a speckle of the paper's particles."""
LEAST_COUNTS = 2500
"""In a segment: then photon noise is at most 2 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagonal:
    """Measured and predicted counts along the main diagonal through the beam centre, in segments.

    Attributes
    ----------
    radius_px : ndarray of float64, shape (m,)
        Distance of the middle of a segment from the centre in pixels, negative towards the first row.
    measured, predicted : ndarray of float64, shape (m,)
        Mean counts a pixel over the valid pixels of the segment.
    sigma : ndarray of float64, shape (m,)
        Photon noise of `measured`.
    clear : ndarray of bool, shape (m,)
        Where statistics allow a judgement.
    """

    radius_px: NDArray[np.float64]
    measured: NDArray[np.float64]
    predicted: NDArray[np.float64]
    sigma: NDArray[np.float64]
    clear: NDArray[np.bool_]

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Measured over predicted, minus 1, of the clear segments."""
        return self.measured[self.clear] / self.predicted[self.clear] - 1.0

    @property
    def worst(self) -> float:
        """Largest deviation of a clear segment either way, as a fraction; NaN without one."""
        return float(np.abs(self.deviation).max()) if self.clear.any() else float("nan")

    @property
    def mean(self) -> float:
        """All clear segments together: measured over predicted counts, minus 1; NaN without one."""
        if not self.clear.any():
            return float("nan")
        return float(self.measured[self.clear].sum() / self.predicted[self.clear].sum()) - 1.0


def diagonal(
    counts: NDArray[np.floating],
    valid: NDArray[np.bool_],
    predicted: NDArray[np.float64],
    center: tuple[float, float],
    *,
    segment_px: int = SEGMENT_PX,
    least_counts: float = LEAST_COUNTS,
) -> Diagonal:
    """Take measured and predicted counts along the diagonal, without any free scale.

    Parameters
    ----------
    counts : ndarray, shape (rows, cols)
        Sum of the frames.
    valid : ndarray of bool, shape (rows, cols)
        Pixels with data outside the beam stop.
    predicted : ndarray of float64, shape (rows, cols)
        Counts that equation (1) and the background expect.
    center : tuple of float
        (row, col) of the beam in pixels.
    segment_px : int
        Pixels of the diagonal that are taken together.
    least_counts : float
        Predicted counts from which a segment can be judged.

    Returns
    -------
    Diagonal
        Segments with at least half of their pixels valid.
    """
    row, col = round(center[0]), round(center[1])
    first = -min(row, col)
    last = min(counts.shape[0] - 1 - row, counts.shape[1] - 1 - col)
    # a pixel and its mirror image fall into segments of their own, counted from the centre
    step = np.arange(first, last + 1)
    rows, cols = row + step, col + step
    good = valid[rows, cols]
    segment = np.where(step >= 0, step // segment_px, -((-step - 1) // segment_px) - 1)
    index = segment - segment.min()
    seen = np.bincount(index, good)
    total, expected = (np.bincount(index, np.where(good, array[rows, cols], 0.0)) for array in (counts, predicted))
    away = np.bincount(index, np.where(good, step, 0.0) * np.sqrt(2.0))
    keep = seen >= 0.5 * segment_px
    seen, total, expected, away = (array[keep] for array in (seen, total, expected, away))
    return Diagonal(
        radius_px=away / seen,
        measured=total / seen,
        predicted=expected / seen,
        sigma=np.sqrt(np.maximum(total, 1.0)) / seen,
        clear=expected >= least_counts,
    )
