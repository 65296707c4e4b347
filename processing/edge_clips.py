"""How much of a silicon edge in the beam the screening notices: a curve, for there is no one threshold (science.md 6).

A frame taken with part of the beam on silicon has lost light and gained a streak; below some part neither can be told
from an ordinary frame, and the frame does as little harm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipCurve:
    """Frames by the part of the beam that was on silicon.

    Attributes
    ----------
    edges : ndarray of float64, shape (m + 1,)
        Limits of the classes, 0 to 1.
    frames, kept : ndarray of int64, shape (m,)
        Frames in each class, and how many of them were accepted.
    """

    edges: NDArray[np.float64]
    frames: NDArray[np.int64]
    kept: NDArray[np.int64]

    @property
    def kept_fraction(self) -> NDArray[np.float64]:
        """Accepted over all frames of a class; NaN where there is none."""
        return np.divide(self.kept, self.frames, out=np.full(self.frames.shape, np.nan), where=self.frames > 0)

    def between(self, low: float, high: float) -> tuple[int, int]:
        """(kept, frames) of the classes that lie between two parts of the beam."""
        inside = (self.edges[:-1] >= low - 1e-9) & (self.edges[1:] <= high + 1e-9)
        return int(self.kept[inside].sum()), int(self.frames[inside].sum())


def clip_curve(clip: ArrayLike, accepted: ArrayLike, edges: ArrayLike | None = None) -> ClipCurve:
    """Sort frames by their clip.

    Parameters
    ----------
    clip : array_like of float, shape (frames,)
        Part of the beam on silicon, 0 to 1.
    accepted : array_like of bool, shape (frames,)
        Whether the screening accepted the frame.
    edges : array_like, optional
        Limits of the classes; tenths by default. Frames without any silicon are in none.

    Returns
    -------
    ClipCurve
        The curve.
    """
    part, taken = np.asarray(clip, dtype=np.float64), np.asarray(accepted, dtype=bool)
    limits = np.arange(11) / 10 if edges is None else np.asarray(edges, dtype=np.float64)
    some = part > 0.0
    frames, kept = (np.histogram(part[which], limits)[0].astype(np.int64) for which in (some, some & taken))
    return ClipCurve(edges=limits, frames=frames, kept=kept)
