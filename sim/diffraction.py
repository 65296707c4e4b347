"""Expected photons a second in every pixel: eq. (1) of the paper, air and membrane, the beam stop.

``I(q) = I_0 Omega r_e^2 |F(q)|^2 N dt`` for N particles that scatter independently (paper, eq. 1 and section 2.3), with
``Omega = p^2 cos^3(2 theta) / D^2`` and the exact ``q = 4 pi sin(theta) / lambda``. Polarisation, absorption in the
sample and the sensor's efficiency (above 0.99 here) are left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.models import hard_sphere_structure
from sim.detector import PIXEL_M, Geometry, pixels
from sim.sample import CLASSICAL_ELECTRON_RADIUS_M, WAVELENGTH_M, Experiment

SILICON_TRANSMISSION = 0.103
"""200 um of silicon at 8.821 keV (science.md 1)."""
STOP_RADIUS_PX = 28.3
"""The shadow's radius: 4.3 mm or some 57 px across, partly shaded pixels included."""
BACKGROUND_RATIO = 0.45
"""Total of an empty membrane over that of a frame with sample."""
HALO_POWER = 4
"""Fall of the halo: gentle beside the beam stop; far out, as q^-8, faster than the particles, whose fringes show."""
STREAK_CHI2 = 150.0
"""chi^2 over its degrees of freedom that the streak of a beam half on an edge adds to a frame with sample."""
STREAK_SIGMA_PX = 1.5
_BAND_ROWS = 256
_TABLE = 8192
DARK_PER_S = 1e-7
"""Counts a pixel and second without any light (cosmic rays, sensor noise)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """Photons a second a pixel, without the beam stop.

    Attributes
    ----------
    sample : ndarray of float32, shape (rows, columns)
        The particles at the mean concentration.
    background : ndarray of float32, shape (rows, columns)
        Air and membrane.
    stop : ndarray of bool, shape (rows, columns)
        True behind the beam stop.
    streak_per_s : float
        Photons a second in a pixel on the ridge of a full streak at the edge of the beam stop; falls with 1/r^2.
    """

    sample: NDArray[np.float32]
    background: NDArray[np.float32]
    stop: NDArray[np.bool_]
    streak_per_s: float


def expected(geometry: Geometry, experiment: Experiment, packing: float = 0.0, spread_m: float = 0.0) -> Maps:
    """Maps of one experiment on one detector.

    Parameters
    ----------
    geometry, experiment
        Detector and sample.
    packing
        Part of space that the particles fill; multiplies their pattern with the structure factor of hard spheres.
    spread_m
        Standard deviation of the particles' diameters, m.
    """
    signal = np.empty(geometry.shape, np.float32)
    halo = np.empty(geometry.shape, np.float32)
    stop = np.empty(geometry.shape, np.bool_)
    distance_m = experiment.distance_m[geometry.name]
    for first in range(0, geometry.shape[0], _BAND_ROWS):  # in bands: the temporaries of 16M pixels would be gigabytes
        band = slice(first, min(first + _BAND_ROWS, geometry.shape[0]))
        radius_m = PIXEL_M * _radius_px(geometry, band, geometry.true_row, geometry.true_col)
        structure = hard_sphere_structure(_q_per_m(radius_m, distance_m), experiment.model.outer_diameter_m, packing)
        signal[band] = signal_per_s(radius_m, distance_m, experiment, spread_m=spread_m) * structure
        halo[band] = (1.0 + (_q_per_m(radius_m, distance_m) / (experiment.halo_q_per_nm * 1e9)) ** 2) ** -HALO_POWER
        stop[band] = _radius_px(geometry, band, geometry.stop_row, geometry.stop_col) < STOP_RADIUS_PX
    seen = (pixels(geometry.name).mask == 0) & ~stop
    total_ratio = signal.sum(where=seen, dtype=np.float64) / halo.sum(where=seen, dtype=np.float64)
    halo *= np.float32(BACKGROUND_RATIO / (1.0 - BACKGROUND_RATIO) * total_ratio)
    return Maps(
        sample=signal, background=halo, stop=stop, streak_per_s=_streak(geometry, signal, halo, experiment.exposure_s)
    )


def signal_per_s(
    radius_m: NDArray[np.float64],
    distance_m: float,
    experiment: Experiment,
    particles: float | None = None,
    spread_m: float = 0.0,
) -> NDArray[np.float64]:
    """Photons a second a pixel from `particles` (by default the mean number in the beam), equation (1).

    Parameters
    ----------
    radius_m : ndarray of float64, any shape
        Distance of the pixel from the direct beam on the detector, m.
    distance_m : float
        From the sample to the detector, m.
    experiment : Experiment
        Particle and beam.
    particles : float, optional
        How many scatter.
    spread_m : float
        Standard deviation of their diameters, m.

    Returns
    -------
    ndarray of float64, of the shape of `radius_m`
    """
    two_theta = np.arctan(radius_m / distance_m)
    solid_angle = PIXEL_M**2 / distance_m**2 * np.cos(two_theta) ** 3
    squared = _form_squared(experiment, _q_per_m(radius_m, distance_m), spread_m)
    number = experiment.particles if particles is None else particles
    return np.asarray(experiment.photons_per_m2_s * solid_angle * CLASSICAL_ELECTRON_RADIUS_M**2 * squared * number)


def _form_squared(experiment: Experiment, q_per_m: NDArray[np.float64], spread_m: float) -> NDArray[np.float64]:
    """Electrons squared; for a spread of sizes from a table, since each point of it takes many amplitudes."""
    if spread_m == 0.0:
        return experiment.model.amplitude(q_per_m) ** 2
    table = np.linspace(0.0, 1.001 * float(q_per_m.max()), _TABLE)
    return np.asarray(np.interp(q_per_m, table, experiment.model.mean_square(table, spread_m)))


def _q_per_m(radius_m: NDArray[np.float64], distance_m: float) -> NDArray[np.float64]:
    return np.asarray(4.0 * np.pi / WAVELENGTH_M * np.sin(0.5 * np.arctan(radius_m / distance_m)))


def _radius_px(geometry: Geometry, band: slice, row: float, col: float) -> NDArray[np.float64]:
    """Distance of the pixels of a band of rows from the point (row, col), px."""
    rows = np.arange(band.start, band.stop)[:, None] - row
    cols = np.arange(geometry.shape[1])[None, :] - col
    return np.asarray(np.hypot(rows, cols))


def _streak(geometry: Geometry, signal: NDArray[np.float32], halo: NDArray[np.float32], exposure_s: float) -> float:
    """Height (photons/s) at which a line along the rows adds `STREAK_CHI2` on the ring next to the beam stop."""
    row, col = round(geometry.true_row), round(geometry.true_col)
    near = np.s_[row - 32 : row + 33, col - 32 : col + 33]
    offset = np.arange(-32, 33)
    radius = np.hypot(offset[:, None], offset[None, :])
    ring = (radius >= 28.6) & (radius < 31.2)
    line = np.broadcast_to(np.exp(-0.5 * (offset[:, None] / STREAK_SIGMA_PX) ** 2), radius.shape)[ring]
    mean = float((signal[near] + halo[near])[ring].mean())
    return float(np.sqrt(STREAK_CHI2 * mean / (line.var() * exposure_s)))
