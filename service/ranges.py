"""Frame numbers as ranges, the way people read them."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def ranges_of(numbers: "NDArray[np.integer] | Iterable[int]") -> list[tuple[int, int]]:
    """Return the ranges (both ends included) of a set of numbers.

    Examples
    --------
    >>> ranges_of([3, 1, 2, 7])
    [(1, 3), (7, 7)]
    """
    whole = np.unique(np.fromiter(numbers, np.int64))
    if not whole.size:
        return []
    breaks = np.flatnonzero(np.diff(whole) > 1)
    firsts, lasts = whole[np.r_[0, breaks + 1]], whole[np.r_[breaks, whole.size - 1]]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]


def in_words(ranges: Sequence[tuple[int, int]], most: int = 20) -> str:
    """Return ranges as text, such as `1-3, 7`; what is beyond `most` of them is counted."""
    words = [f"{first}" if first == last else f"{first}-{last}" for first, last in ranges[:most]]
    beyond = len(ranges) - most
    return ", ".join(words) + (f" and {beyond} more ranges" if beyond > 0 else "")
