"""Frame numbers as ranges, the way people read them."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def true_ranges(mask: "NDArray[np.bool_]") -> list[tuple[int, int]]:
    """Return the ranges (both ends included) of the places where a mask, shape (n,), is true."""
    steps = np.diff(mask.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def ranges_of(numbers: "NDArray[np.integer] | Sequence[int]") -> list[tuple[int, int]]:
    """Return the ranges (both ends included) of a set of frame numbers.

    Examples
    --------
    >>> ranges_of([3, 1, 2, 7])
    [(1, 3), (7, 7)]
    """
    known = np.asarray(numbers, np.int64)
    mask = np.zeros(int(known.max(initial=-1)) + 1, np.bool_)
    mask[known] = True
    return true_ranges(mask)


def count_of(ranges: Iterable[tuple[int, int]]) -> int:
    """Return how many numbers lie in ranges."""
    return sum(last - first + 1 for first, last in ranges)


def in_words(ranges: Sequence[tuple[int, int]], most: int = 20) -> str:
    """Return ranges as text, such as `1-3, 7`; what is beyond `most` of them is counted."""
    words = [f"{first}" if first == last else f"{first}-{last}" for first, last in ranges[:most]]
    beyond = len(ranges) - most
    return ", ".join(words) + (f" and {beyond} more ranges" if beyond > 0 else "")
