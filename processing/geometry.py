"""Where a pixel looks: scattering vectors, and the pixel of the reconstructed image (science.md 1)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LARGEST_PRIME_FACTOR = 37
"""Widths with a larger prime factor transform several times slower (326 = 2 x 163 against 325)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Detector and beam of one series.

    Attributes
    ----------
    wavelength_m, distance_m, pixel_m : float
        Wavelength, sample to detector distance and width of a detector pixel in m.
    center : tuple of float
        (row, col) of the direct beam in pixels; pixel centres lie at integers.

    Raises
    ------
    ValueError
        If a length is not positive or not finite, or the centre is not finite.
    """

    wavelength_m: float
    distance_m: float
    pixel_m: float
    center: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("wavelength_m", "distance_m", "pixel_m"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(
                    f"{name[:-2]} must be positive and finite (m), got {value}; give it in the detector's settings"
                )
        if not np.all(np.isfinite(self.center)):
            raise ValueError(f"beam centre must be finite (px), got {self.center}; give it in the detector's settings")

    @property
    def field_m(self) -> float:
        """Wavelength x distance / pixel in m: the width of the image an array of one pixel would show."""
        return self.wavelength_m * self.distance_m / self.pixel_m

    def at(self, center: tuple[float, float]) -> "Geometry":
        """The same geometry with another beam centre (row, col) in pixels."""
        return replace(self, center=(float(center[0]), float(center[1])))

    def image_pixel_m(self, width_px: int) -> float:
        """Pixel of the reconstructed image in m from an array `width_px` detector pixels wide.

        It is wavelength x distance / (width x pixel), the half-period at the array's edge.
        """
        return self.field_m / width_px

    def speckle_px(self, object_diameter_m: float) -> float:
        """Width of a speckle of an object in detector pixels: wavelength x distance / (diameter x pixel)."""
        return self.field_m / object_diameter_m

    def radius_px(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Distance of every pixel centre from the beam in pixels, shape `shape`."""
        rows = np.arange(shape[0]) - self.center[0]
        cols = np.arange(shape[1]) - self.center[1]
        return np.hypot(rows[:, None], cols[None, :])

    def q_at_radius_per_m(self, radius_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Length of the scattering vector in 1/m at a distance from the beam in pixels.

        q = 4 pi / wavelength sin(theta) with tan(2 theta) = radius x pixel / distance.
        """
        theta = 0.5 * np.arctan(radius_px * (self.pixel_m / self.distance_m))
        return 4.0 * np.pi / self.wavelength_m * np.sin(theta)

    def q_per_m(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Length of the scattering vector in 1/m of every pixel, shape `shape`."""
        return self.q_at_radius_per_m(self.radius_px(shape))

    def solid_angle_sr(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Solid angle of every pixel in sr: (pixel / distance)^2 cos^3(2 theta), 0.4 % at a corner of the paper's."""
        cosine = np.cos(np.arctan(self.radius_px(shape) * (self.pixel_m / self.distance_m)))
        return (self.pixel_m / self.distance_m) ** 2 * cosine**3


def q_of_array_per_m(n: int, image_pixel_m: float) -> NDArray[np.float64]:
    """Length of the scattering vector of every point of a centred transform.

    Parameters
    ----------
    n : int
        Rows and columns; zero frequency at ``[n // 2, n // 2]``.
    image_pixel_m : float
        Pixel of the image in m.

    Returns
    -------
    ndarray of float64, shape (n, n)
        2 pi |k| in 1/m.
    """
    k = (np.arange(n) - n // 2) * (2.0 * np.pi / (n * image_pixel_m))
    return np.hypot(k[:, None], k[None, :])


def is_quick_width(n: int) -> bool:
    """Whether an array of `n` pixels a side is odd and transforms quickly (no prime factor above 37)."""
    if n < 1 or n % 2 == 0:
        return False
    for prime in range(3, LARGEST_PRIME_FACTOR + 1, 2):
        while n % prime == 0:
            n //= prime
    return n == 1


def thomson_photons(
    amplitude_electrons: NDArray[np.float64],
    *,
    particles: float,
    flux_per_m2_s: float,
    exposure_s: float,
    solid_angle_sr: NDArray[np.float64] | float,
    transmission: float = 1.0,
) -> NDArray[np.float64]:
    """Photons a pixel expects, equation (1) of the paper for many particles that do not interfere.

    I(q) = N I_0 Omega r_e^2 |F(q)|^2 dt

    Parameters
    ----------
    amplitude_electrons : ndarray of float64
        Scattering amplitude of one particle in electrons (`processing.models.SampleModel.amplitude`).
    particles : float
        Particles in the beam.
    flux_per_m2_s : float
        Incident photons per m^2 and s.
    exposure_s : float
        Exposure in s.
    solid_angle_sr : ndarray of float64 or float
        Solid angle of the pixels in sr.
    transmission : float
        Part of the photons that passes the sample and its windows (0.68 for 0.5 mm of water at 8.82 keV).

    Returns
    -------
    ndarray of float64
        Expected counts, of the shape of `amplitude_electrons`.
    """
    r_e_m = 2.8179403262e-15
    return particles * flux_per_m2_s * exposure_s * transmission * r_e_m**2 * solid_angle_sr * amplitude_electrons**2
