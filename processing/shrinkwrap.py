"""Shrink-wrap: the support follows the object (Marchesini et al., 2003, doi:10.1103/PhysRevB.68.140101).

Between steps each object, smoothed by a Gaussian, becomes its own support where it exceeds a part of its maximum. The
Gaussian narrows as the iterations go on.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from processing.project import Objects


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkWrap:
    """How the support is drawn anew.

    Attributes
    ----------
    threshold : float
        Part of the smoothed object's maximum.
    every : int
        Iterations between two updates.
    first_sigma_px, last_sigma_px : float
        Gaussian at the first and at the later updates, in pixels of the object.
    narrowing : float
        Factor on the Gaussian from one update to the next.
    """

    threshold: float
    every: int = 20
    first_sigma_px: float = 2.0
    last_sigma_px: float = 1.0
    narrowing: float = 0.98

    def sigma_px(self, iteration: int) -> float:
        """Gaussian after so many iterations."""
        return max(self.last_sigma_px, self.first_sigma_px * self.narrowing ** (iteration // self.every))

    def support(self, objects: Objects, widest: NDArray[np.bool_], iteration: int) -> NDArray[np.bool_]:
        """Where each object is.

        Parameters
        ----------
        objects : ndarray of float32, shape (seeds, n, n)
            Wrapped.
        widest : ndarray of bool, shape (n, n)
            Never left: the support a run begins with.
        iteration : int
            Iterations made.

        Returns
        -------
        ndarray of bool, shape (seeds, n, n)
            One support a seed.
        """
        n = objects.shape[1]
        rows, cols = scipy.fft.fftfreq(n)[:, None], scipy.fft.rfftfreq(n)[None, :]
        blur = np.exp(-2.0 * (np.pi * self.sigma_px(iteration)) ** 2 * (rows**2 + cols**2)).astype(np.float32)
        transform = scipy.fft.rfft2(np.where(widest, np.maximum(objects, 0), 0), axes=(1, 2), workers=1)
        smooth = scipy.fft.irfft2(transform * blur, s=(n, n), axes=(1, 2), overwrite_x=True, workers=1)
        found: NDArray[np.bool_] = widest & (smooth >= self.threshold * smooth.max(axis=(1, 2), keepdims=True))
        return found
