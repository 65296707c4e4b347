"""What is known of the sample so far, and what that promises for a place that has not been exposed."""

import numpy as np
from numpy.typing import NDArray

WORTH = {"accepted": 1.0, "streak": 0.2, "background": 0.0, "low_intensity": 0.0}
"""How much a place with this verdict speaks for its surroundings; an edge seldom comes alone."""
MEAN = 0.5
"""Promise of a place far from all that is known."""
SCATTER = 0.05
"""Variance of a frame's own: dust and empty patches smaller than the distance of two points."""
NEAREST = 12
"""Known places that count; those behind them are screened by these."""


class SampleMap:
    """Predicts from the places that are known whether a frame elsewhere will be accepted.

    Simple kriging: the best linear prediction ``m + k^T (K + s)^-1 (v - m)`` of a field with the covariance
    ``exp(-d / L)`` from the nearest known values v (Matheron 1963, doi:10.2113/gsecongeo.58.8.1246). Neighbours that
    lie together count less than as many that lie apart, so an edge is carried on straight from row to row.

    Parameters
    ----------
    length_um : float
        L: over which distance places are alike; four steps of the scan fit windows and empty patches well.
    """

    def __init__(self, length_um: float) -> None:
        self._length = length_um
        self._places: list[tuple[float, float]] = []
        self._values: list[float] = []
        self._scatter: list[float] = []
        self._arrays: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None = None

    def __len__(self) -> int:
        return len(self._places)

    def learn(self, x_um: float, y_um: float, worth: float, scatter: float = SCATTER) -> None:
        """Take note of a place.

        Parameters
        ----------
        x_um, y_um : float
        worth : float
            1 for sample, 0 for silicon or an empty membrane, see `WORTH`.
        scatter : float
            Variance of `worth` beside the field's own of 1; larger for a quick look.
        """
        self._places.append((x_um, y_um))
        self._values.append(worth)
        self._scatter.append(scatter)
        self._arrays = None

    def promise(self, x_um: float, y_um: float) -> float:
        """How likely a frame at a place will be accepted, about 0 to 1; 1 while nothing is known.

        Examples
        --------
        >>> seen = SampleMap(length_um=40.0)
        >>> seen.learn(0.0, 0.0, 1.0)
        >>> seen.learn(60.0, 0.0, 0.0)
        >>> [round(seen.promise(x, 0.0), 1) for x in (0.0, 10.0, 30.0, 50.0, 500.0)]
        [1.0, 0.8, 0.5, 0.2, 0.5]
        """
        if not self._places:
            return 1.0
        if self._arrays is None:
            self._arrays = (np.array(self._places), np.array(self._values), np.array(self._scatter))
        places, values, scatter = self._arrays
        distance = np.hypot(places[:, 0] - x_um, places[:, 1] - y_um)
        near = np.argpartition(distance, NEAREST)[:NEAREST] if len(distance) > NEAREST else slice(None)
        known = places[near]
        apart = np.hypot(*(known[:, None] - known[None]).transpose(2, 0, 1))
        covariance = np.exp(-apart / self._length) + np.diag(scatter[near])
        weights = np.linalg.solve(covariance, values[near] - MEAN)
        return MEAN + float(np.exp(-distance[near] / self._length) @ weights)
