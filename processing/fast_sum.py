"""One exact sum whatever way its frames came: bit planes, plain pixels, or both."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from processing.accumulate import ExactSum
from processing.bitplane import PlaneSpill
from processing.plane_sum import AT_ONCE, PlaneSum
from processing.pooling import pool_max
from processing.read_frame import Contribution


class FastSum:
    """Sum of frames in 64-bit integers, with how often each pixel was excluded.

    Parameters
    ----------
    valid : ndarray of uint8, shape (rows, cols)
        The static mask.
    release : callable
        Takes back the memory of a contribution once it has been added.
    rows : tuple of int, optional
        First row and the one behind the last, where only a part of the frames' rows is summed.

    Attributes
    ----------
    valid : ndarray of uint8, shape (rows, cols)
        The mask of the rows that are summed.
    """

    def __init__(
        self,
        valid: NDArray[np.uint8],
        release: Callable[[Contribution], None],
        rows: tuple[int, int] | None = None,
    ) -> None:
        self._rows = rows or (0, valid.shape[0])
        self.valid = valid[slice(*self._rows)]
        self._release = release
        self._plain: ExactSum | None = None
        self._planes: dict[int, PlaneSum] = {}
        self._taken: dict[int, PlaneSum] = {}
        self._waiting: list[PlaneSpill] = []
        self._read: tuple[NDArray[np.uint64], NDArray[np.uint32]] | None = None
        self._excluded: tuple[tuple[tuple[int, ...], tuple[int, ...]], NDArray[np.uint32]] | None = None

    @property
    def frames(self) -> int:
        """Frames in the sum."""
        plain = self._plain.frames if self._plain else 0
        planes = sum(part.frames for part in self._planes.values())
        return plain + planes - sum(part.frames for part in self._taken.values()) + len(self._waiting)

    def load(self, data: NDArray[np.uint64], excluded: NDArray[np.uint32], frames: int) -> None:
        """Begin with a sum that was made before, while this one is empty.

        Parameters
        ----------
        data : ndarray of uint64, shape (rows, cols)
        excluded : ndarray of uint32, shape (rows, cols)
        frames : int
            Frames in it.

        Raises
        ------
        ValueError
            When it has another shape, or this sum is not empty.
        """
        if self.frames or data.shape != self.valid.shape or excluded.shape != self.valid.shape:
            raise ValueError(
                f"sum must be empty and have shape {self.valid.shape} to begin with another, got {self.frames} frames "
                f"and shape {data.shape}"
            )
        plain = self._plain_sum()
        plain.data[:], plain.excluded[:], plain.frames = data, excluded, frames
        self._read = None

    def add(self, contribution: Contribution) -> None:
        """Add a frame; its memory belongs to the sum from here on."""
        self._read = None
        if isinstance(contribution, PlaneSpill):
            self._waiting.append(contribution)
            if len(self._waiting) >= AT_ONCE:
                self.flush()
        else:
            self._plain_sum().add(contribution[slice(*self._rows)])

    def subtract(self, contribution: Contribution) -> None:
        """Take out a frame that was added before; its memory stays with the caller.

        Raises
        ------
        ValueError
            When there is no frame in the sum.
        """
        self._read = None
        self.flush()
        if self.frames == 0:
            raise ValueError("sum must hold a frame before one can be taken out, got 0 frames")
        if not isinstance(contribution, PlaneSpill):
            self._plain_sum().subtract(contribution[slice(*self._rows)])
        elif self._plain is not None and self._plain.frames:
            # Nobody knows in which part the frame is, and no part may go below zero: what is taken out has its own.
            self._plane_sum(contribution, self._taken).add([contribution])
        else:
            self._plane_sum(contribution, self._planes).subtract(contribution)

    def flush(self) -> None:
        """Add the frames that wait for company."""
        waiting, self._waiting = self._waiting, []
        for layout in {id(spill.layout): spill.layout for spill in waiting}.values():
            mine = [spill for spill in waiting if spill.layout is layout]
            self._plane_sum(mine[0], self._planes).add(mine)
        for spill in waiting:
            self._release(spill)

    @property
    def data(self) -> NDArray[np.uint64]:
        """The sum, shape (rows, cols); this array never changes later."""
        return self._integers()[0]

    @property
    def excluded(self) -> NDArray[np.uint32]:
        """In how many frames a pixel of the mask stood at maximum or maximum - 1; never changes later."""
        return self._integers()[1]

    def brightest(self, step: int) -> NDArray[np.float32]:
        """Return the largest count of every step x step block's valid pixels, NaN for a block without one.

        From the bit planes alone where the sum is in them, which costs half of reading `data` and pooling that.
        """
        parts = list(self._planes.values())
        if self._read is None and len(parts) == 1 and self._plain is None and not self._taken:
            self.flush()
            if len(self._planes) == 1:
                return parts[0].brightest(self.valid, step)
        return pool_max(self.data, self.valid, step)

    def _integers(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        if self._read is None:
            self.flush()
            planes, taken = list(self._planes.values()), list(self._taken.values())
            if planes:
                data = planes[0].data()
            else:
                data = np.zeros(self.valid.shape, np.uint64) if self._plain is None else self._plain.data.copy()
            for part in planes[1:]:
                data += part.data()
            if planes and self._plain is not None:
                data += self._plain.data
            for part in taken:
                data -= part.data()
            data.flags.writeable = False
            self._read = data, self._exclusions(planes, taken)
        return self._read

    def _exclusions(self, planes: list[PlaneSum], taken: list[PlaneSum]) -> NDArray[np.uint32]:
        """Return the sum's exclusions; hot pixels of the mask are rare, so most times nothing has changed."""
        key = (tuple(part.exclusions for part in planes), tuple(part.exclusions for part in taken))
        if self._plain is None and self._excluded is not None and self._excluded[0] == key:
            return self._excluded[1]
        excluded = np.zeros(self.valid.shape, np.uint32) if self._plain is None else self._plain.excluded.copy()
        for part in planes:
            if part.exclusions:
                excluded += part.excluded[slice(*self._rows)]
        for part in taken:
            if part.exclusions:
                excluded -= part.excluded[slice(*self._rows)]
        excluded.flags.writeable = False
        self._excluded = key, excluded
        return excluded

    def _plain_sum(self) -> ExactSum:
        if self._plain is None:
            self._plain = ExactSum(self.valid)
        return self._plain

    def _plane_sum(self, spill: PlaneSpill, parts: dict[int, PlaneSum]) -> PlaneSum:
        if id(spill.layout) not in parts:
            parts[id(spill.layout)] = PlaneSum(spill.layout, self._rows)
        return parts[id(spill.layout)]
