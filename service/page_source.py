"""What the live page may look at, beyond the status: whole arrays, one row a frame, and the curves of the image."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

SightName = Literal["sum", "last", "background", "frame", "prepared", "reconstruction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """An array to look at, at its full resolution; it never changes.

    Attributes
    ----------
    values : ndarray, shape (row, col), unsigned integer or float32
        Photons, an amplitude, or an image.
    valid : ndarray of uint8, shape (row, col), or None
        1 where a pixel was measured; None: everywhere.
    frames : int
        How many frames it was made from.
    version : int
        Another one whenever the values are others.
    below : int or None
        Values from here on are flags of the detector, not photons.
    facts : dict
        What else is known: a pixel's width, the frame's number and verdict.
    step : int
        Side of the blocks of which `values` are the brightest pixels already.
    shape : tuple of int
        Of the array itself; that of `values` when nothing else is said.
    """

    values: NDArray[Any]
    valid: NDArray[np.uint8] | None
    frames: int
    version: int = 0
    below: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    step: int = 1
    shape: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Know the array's shape."""
        if self.step == 1:
            object.__setattr__(self, "shape", self.values.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A run of the ledger's rows, in the order in which the frames came.

    Attributes
    ----------
    first, total : int
        Number of the first row here; how many there are in all.
    columns : dict of str to ndarray
        `frame` uint32, `total` float64 photons, `ratio` float32 (chi^2 over dof), `x` and `y` float32 um (NaN where
        unknown), shape (n,); and `verdict` uint8 of all rows, since a verdict may change later (255: pending).
    facts : dict
        The series, the reference total and the thresholds in force.
    """

    first: int
    total: int
    columns: dict[str, NDArray[Any]]
    facts: dict[str, Any]


class NowhereError(Exception):
    """What is asked for cannot be had (any more); the text says why and what to do."""


class PageSource(Protocol):
    """The running service as the page sees it; safe from any thread, and never waits with the sums locked."""

    def look(self, what: SightName, frame: int | None = None, side: int | None = None) -> Sight | None:
        """Return an array, None before there is one; pooled to at most `side` where that is cheaper.

        Raises
        ------
        NowhereError
            When the bytes of a frame are nowhere any more.
        """

    def rows(self, first: int, most: int) -> Rows | None:
        """Return at most `most` rows of the ledger from `first` on, None before there is a series."""

    def curves(self) -> dict[str, Any]:
        """Return PRTF, signal to noise and figures of the newest image; empty before there is one."""

    def facts(self) -> dict[str, Any]:
        """Return the geometry of the series, the disk, and where the newest result file is."""

    def saved(self) -> dict[str, Any] | None:
        """Return the newest result file and how many rows of the ledger it holds, None before there is one; quick."""

    def forget(self) -> None:
        """Let go of arrays that nobody has looked at for a while."""
