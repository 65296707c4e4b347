"""Signal to noise of a sum against q, from two halves of its frames, and how many frames a resolution needs.

Two sums of other frames each show the same pattern with noise of their own. Their correlation ring by ring,

    C(q) = sum e o / sqrt(sum e^2 sum o^2),

over the bins e and o of the halves without their background, gives the noise as it is, whatever its origin, and with it
the signal to noise of a bin in the whole sum, sqrt(2 C / (1 - C)) (as Fourier ring correlation: van Heel and Schatz,
2005, doi:10.1016/j.jsb.2005.05.009). It grows with the root of the number of frames.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from processing.binning import binned
from processing.prepared import Prepared, SummedPattern
from processing.symmetrise import centred, measured

_LEAST = 1.0  # signal to noise of a bin at the resolution reached
_CLEAR_SIGMA = 2.0  # of a correlation against chance


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalToNoise:
    """What two halves of a sum say about the whole.

    Attributes
    ----------
    q_per_m : ndarray of float64, shape (m,)
        Scattering vector of the rings in 1/m, to the edge of the array.
    correlation : ndarray of float64, shape (m,)
        Of the two halves, smoothed over one speckle; NaN on rings without data.
    snr : ndarray of float64, shape (m,)
        Signal to noise of a bin's intensity in the whole sum; NaN likewise, 0 where the halves do not correlate.
    clear : ndarray of bool, shape (m,)
        Where the correlation is more than chance.
    resolution_m : float
        Half-period pi / q where `snr` first falls below 1; pi / q of the last ring when it never does; NaN without
        data.
    frames : int
        In the whole sum.
    """

    q_per_m: NDArray[np.float64]
    correlation: NDArray[np.float64]
    snr: NDArray[np.float64]
    clear: NDArray[np.bool_]
    resolution_m: float
    frames: int

    def frames_needed(self, resolution_m: float) -> int | None:
        """Frames in all for a signal to noise of 1 in a bin up to a wanted resolution.

        Parameters
        ----------
        resolution_m : float
            Half-period in m.

        Returns
        -------
        int or None
            None where the array does not reach so far, or there is no telling yet.
        """
        wanted = np.pi / resolution_m
        inside = (self.q_per_m <= wanted) & np.isfinite(self.snr)
        if not inside.any() or wanted > self.q_per_m[np.isfinite(self.snr)].max() or not self.clear[inside].all():
            return None
        return int(np.ceil(self.frames * (_LEAST / self.snr[inside].min()) ** 2))


def signal_to_noise(
    even: SummedPattern,
    whole: SummedPattern,
    valid: NDArray[np.bool_],
    prepared: Prepared,
    center: tuple[float, float],
    *,
    dark: NDArray[np.float64] | None = None,
    speckle_bins: float = 5.0,
) -> SignalToNoise:
    """Signal to noise of a sum, of which one half is known too.

    Parameters
    ----------
    even, whole : SummedPattern, shape (rows, cols)
        Sum of some of the frames, about half, and of all; pixels that were ever excluded are left out.
    valid : ndarray of bool, shape (rows, cols)
        The static mask.
    prepared : Prepared
        What the image is made from: its bins.
    center : tuple of float
        (row, col) of the beam in these arrays.
    dark : ndarray of float64, shape (rows, cols), optional
        Background counts expected in the whole sum.
    speckle_bins : float
        Width of a speckle in bins, over which the curve is smoothed.

    Returns
    -------
    SignalToNoise

    Raises
    ------
    ValueError
        If one half is empty.
    """
    odd_frames = whole.frames - even.frames
    if even.frames < 1 or odd_frames < 1:
        raise ValueError(
            f"both halves of a sum must hold at least 1 frame, got {even.frames} and {odd_frames}; sum more frames"
        )
    good = np.asarray(valid, dtype=bool)
    if whole.excluded is not None:
        good = good & (np.asarray(whole.excluded) == 0)
    total, part = (np.asarray(one.counts, dtype=np.float64) for one in (whole, even))
    base = np.zeros(good.shape) if dark is None else dark / whole.frames
    n = prepared.amplitude.shape[0]
    halves = []
    for counts, frames in ((part, even.frames), (total - part, odd_frames)):
        net = measured(counts / frames - base, counts, good)
        halves.append(binned(centred(net, center, n * prepared.bin_px), prepared.bin_px))
    keep = prepared.valid & (halves[0].weight > 0)
    away = np.arange(n) - n // 2
    ring = np.rint(np.hypot(away[:, None], away[None, :])).astype(np.intp)
    rings = n // 2 + 1  # to the edge; the corners hold too few bins to tell
    keep &= ring < rings
    e, o = (half.mean[keep] for half in halves)
    sigma = speckle_bins / 2.355  # full width at half maximum of one speckle

    def smooth(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
        summed = np.bincount(ring[keep], values, rings).astype(np.float64)
        out: NDArray[np.float64] = scipy.ndimage.gaussian_filter1d(summed, sigma, mode="nearest")
        return out

    power = np.sqrt(smooth(e * e) * smooth(o * o))
    filled = (np.bincount(ring[keep], minlength=rings) > 0) & (power > 0)
    correlation = np.where(filled, smooth(e * o) / np.where(filled, power, 1.0), np.nan)
    inside = np.clip(np.nan_to_num(correlation), 0.0, 1.0 - 1e-12)
    snr = np.where(filled, np.sqrt(2.0 * inside / (1.0 - inside)), np.nan)
    together = max(1.0, 2.0 * np.sqrt(np.pi) * sigma)  # rings that the smoothing makes one
    clear = filled & (inside * np.sqrt(smooth(None) * together) > _CLEAR_SIGMA)
    q = np.arange(rings) * (2.0 * np.pi / (n * prepared.pixel_size_m))
    return SignalToNoise(
        q_per_m=q, correlation=correlation, snr=snr, clear=clear, resolution_m=_reached(snr, q), frames=whole.frames
    )


def _reached(snr: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Half-period where the signal first falls to the noise, interpolated."""
    rings = np.flatnonzero(np.isfinite(snr))
    if rings.size == 0:
        return float("nan")
    low = rings[snr[rings] < _LEAST]
    if low.size == 0:
        return float(np.pi / q[rings[-1]])
    k = int(low[0])
    if k == rings[0]:
        return float(np.pi / q[k])
    part = (snr[k - 1] - _LEAST) / (snr[k - 1] - snr[k]) if np.isfinite(snr[k - 1]) else 1.0
    return float(np.pi / (q[k - 1] + part * (q[k] - q[k - 1])))
