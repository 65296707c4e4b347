"""Particles of known shape: form factors and projected densities (science.md 1 and 4).

A particle is a set of concentric spherical layers, each of constant electron density above that of the medium
around it. Then both its scattering amplitude and its projection are sums over spheres, one a boundary, and exact.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

PHOTON_ENERGY_EV = 8821.0
"""Photon energy of the paper's experiments (wavelength 0.140556 nm)."""

_AVOGADRO_PER_MOL = 6.02214076e23
_SIZES = 9  # of each diameter in a spread of sizes
_SERIES_BELOW = 0.03  # where 3 (sin x - x cos x) / x^3 starts to lose digits and four terms of its series are exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One spherical layer, from the boundary inside it to its own outer radius.

    Attributes
    ----------
    outer_radius_m : float
        Outer radius of the layer in m.
    contrast_per_m3 : float
        Effective electrons per m^3 above the surrounding medium (``f0(0) + f'`` summed over the atoms).
    """

    outer_radius_m: float
    contrast_per_m3: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleModel:
    """A particle of concentric spherical layers.

    Attributes
    ----------
    name : str
        What the particle is called in settings and reports.
    layers : tuple of Layer
        From the innermost to the outermost.

    Raises
    ------
    ValueError
        If there is no layer or the radii do not grow.
    """

    name: str
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        radii = [layer.outer_radius_m for layer in self.layers]
        if not radii or radii[0] <= 0 or any(b <= a for a, b in pairwise(radii)):
            raise ValueError(
                f"outer radii of the layers must be positive and growing (m), got {radii}; "
                "list the layers from the innermost to the outermost"
            )

    @property
    def outer_diameter_m(self) -> float:
        """Diameter of the whole particle in m."""
        return 2.0 * self.layers[-1].outer_radius_m

    @property
    def electrons(self) -> float:
        """Effective electrons of the particle above the medium, the amplitude at q = 0."""
        return float(sum(step * 4.0 / 3.0 * np.pi * radius**3 for radius, step in self._spheres()))

    def amplitude(self, q_per_m: ArrayLike) -> NDArray[np.float64]:
        """Scattering amplitude in electrons, real for a centrosymmetric particle.

        F(q) = sum over boundaries of (rho_i - rho_(i+1)) 4/3 pi R_i^3 3 (sin x - x cos x) / x^3, x = q R_i
        (Guinier & Fournet, 1955); its square is the squared sum of equation (1) of the paper.
        The fall of the atomic f0 with q is left out: 0.05 % for gold at 0.79 /nm, 0.4 % for oxygen at 2.4 /nm.

        Parameters
        ----------
        q_per_m : array_like
            Length of the scattering vector in 1/m (4 pi sin(theta) / wavelength), any shape.

        Returns
        -------
        ndarray of float64
            Electrons, of the shape of `q_per_m`.
        """
        q = np.asarray(q_per_m, dtype=np.float64)
        total = np.zeros(q.shape)
        for radius, step in self._spheres():
            total += step * (4.0 / 3.0 * np.pi * radius**3) * _sphere_form(q * radius)
        return total

    def mean_square(self, q_per_m: ArrayLike, spread_m: float) -> NDArray[np.float64]:
        """Mean of the squared amplitude over particles of many sizes: what an ensemble without interference shows.

        Every boundary's diameter is Gaussian about its own, independent of the others; Gauss-Hermite quadrature.

        Parameters
        ----------
        q_per_m : array_like
            Length of the scattering vector in 1/m, any shape.
        spread_m : float
            Standard deviation of the diameters in m; 0 gives `amplitude` squared.

        Returns
        -------
        ndarray of float64
            Electrons squared, of the shape of `q_per_m`.
        """
        q = np.asarray(q_per_m, dtype=np.float64)
        if spread_m == 0.0:
            return self.amplitude(q) ** 2
        nodes, weights = np.polynomial.hermite_e.hermegauss(_SIZES)
        weights = weights / weights.sum()
        terms = []
        for radius, step in self._spheres():
            radii = radius + 0.5 * spread_m * nodes
            terms.append([step * (4.0 / 3.0 * np.pi * r**3) * _sphere_form(q * r) for r in radii])
        total = np.zeros(q.shape)
        for chosen in product(range(_SIZES), repeat=len(terms)):
            amplitude = sum((term[k] for term, k in zip(terms, chosen, strict=True)), np.zeros(q.shape))
            total += np.prod(weights[list(chosen)]) * amplitude**2
        return total

    def projection(self, pixel_m: float, n: int, oversample: int = 8) -> NDArray[np.float64]:
        """Projected electron density, averaged over each pixel: the image a perfect instrument would show.

        Parameters
        ----------
        pixel_m : float
            Width of a pixel in m.
        n : int
            Rows and columns of the image; the particle's centre is the middle of pixel ``[n // 2, n // 2]``.
        oversample : int
            Points a side inside each pixel over which the average is taken.

        Returns
        -------
        ndarray of float64, shape (n, n)
            Electrons per m^2 above the medium.

        Raises
        ------
        ValueError
            If `pixel_m`, `n` or `oversample` is not positive.
        """
        if pixel_m <= 0 or n < 1 or oversample < 1:
            raise ValueError(
                f"pixel, n and oversample must be positive, got {pixel_m} m, {n} and {oversample}; check the geometry"
            )
        fine = (np.arange(n * oversample) + 0.5) / oversample - 0.5 - n // 2
        squared = (fine * pixel_m) ** 2
        image = np.zeros((n, n))
        for radius, step in self._spheres():
            image += step * _pixel_average(squared, radius, oversample)
        return image

    def _spheres(self) -> list[tuple[float, float]]:
        """Radius (m) of each boundary and the step of density (1/m^3) across it, outwards to inwards positive."""
        outside = [*(layer.contrast_per_m3 for layer in self.layers[1:]), 0.0]
        return [
            (layer.outer_radius_m, layer.contrast_per_m3 - beyond)
            for layer, beyond in zip(self.layers, outside, strict=True)
        ]


def sample(name: str) -> SampleModel:
    """The paper's samples by name.

    Parameters
    ----------
    name : {"au-sio2", "nv-lp"}
        Gold core of 19 nm in a silica shell of 55 nm, dry (paper section 2); hollow nodavirus-like particle of
        19.0 nm with a shell of 2.6 nm in water (paper section 3, science.md 4).

    Returns
    -------
    SampleModel
        The particle.

    Raises
    ------
    ValueError
        If the name is not one of these.
    """
    if name == "au-sio2":
        return core_shell(core_diameter_m=19e-9, outer_diameter_m=55e-9)
    if name == "nv-lp":
        return hollow_shell(outer_diameter_m=19.0e-9, thickness_m=2.6e-9)
    raise ValueError(f"sample must be au-sio2 or nv-lp, got {name!r}; choose one of the two")


def core_shell(*, core_diameter_m: float, outer_diameter_m: float, name: str = "au-sio2") -> SampleModel:
    """Gold sphere in a silica shell, in air or vacuum.

    Parameters
    ----------
    core_diameter_m, outer_diameter_m : float
        Diameters of the core and of the whole particle in m.
    name : str
        Name of the model.

    Returns
    -------
    SampleModel
        The particle, with densities 19.3 g/cm^3 (gold) and 2.2 g/cm^3 (silica).
    """
    gold = electron_density_per_m3({"Au": 1}, density_g_per_cm3=19.3)
    silica = electron_density_per_m3({"Si": 1, "O": 2}, density_g_per_cm3=2.2)
    return SampleModel(
        name=name,
        layers=(
            Layer(outer_radius_m=core_diameter_m / 2, contrast_per_m3=gold),
            Layer(outer_radius_m=outer_diameter_m / 2, contrast_per_m3=silica),
        ),
    )


def hollow_shell(
    *, outer_diameter_m: float, thickness_m: float, contrast_per_m3: float = 96e27, name: str = "nv-lp"
) -> SampleModel:
    """Spherical shell filled with the medium around it.

    Parameters
    ----------
    outer_diameter_m, thickness_m : float
        Outer diameter and thickness of the shell in m.
    contrast_per_m3 : float
        Electrons per m^3 above the medium; 96 per nm^3 is protein against water (science.md 1).
    name : str
        Name of the model.

    Returns
    -------
    SampleModel
        The particle.
    """
    outer = outer_diameter_m / 2
    return SampleModel(
        name=name,
        layers=(
            Layer(outer_radius_m=outer - thickness_m, contrast_per_m3=0.0),
            Layer(outer_radius_m=outer, contrast_per_m3=contrast_per_m3),
        ),
    )


def hard_sphere_structure(q_per_m: ArrayLike, diameter_m: float, packing: float) -> NDArray[np.float64]:
    """Structure factor of hard spheres, Percus-Yevick closure.

    1 / S(q) = 1 + 24 eta / x^6 (a x^3 (sin x - x cos x) + b x^2 (2 x sin x - (x^2 - 2) cos x - 2)
    + eta a / 2 ((4 x^3 - 24 x) sin x - (x^4 - 12 x^2 + 24) cos x + 24)), x = q D, with
    a = (1 + 2 eta)^2 / (1 - eta)^4 and b = -6 eta (1 + eta / 2)^2 / (1 - eta)^4
    (Ashcroft & Lekner, 1966, doi:10.1103/PhysRev.145.83; Kinning & Thomas, 1984).

    Parameters
    ----------
    q_per_m : array_like
        Length of the scattering vector in 1/m, any shape.
    diameter_m : float
        Distance in m to which two particles can come near.
    packing : float
        Part eta of space that they fill, 0 to 0.6; 0 gives 1 everywhere.

    Returns
    -------
    ndarray of float64
        S(q), of the shape of `q_per_m`.
    """
    # Below x = 0.1 the sums cancel to the last digit; S has long been flat there.
    x = np.maximum(np.asarray(q_per_m, dtype=np.float64) * diameter_m, 0.1)
    sine, cosine = np.sin(x), np.cos(x)
    a = (1.0 + 2.0 * packing) ** 2 / (1.0 - packing) ** 4
    b = -6.0 * packing * (1.0 + 0.5 * packing) ** 2 / (1.0 - packing) ** 4
    first = a * x**3 * (sine - x * cosine)
    second = b * x**2 * (2.0 * x * sine - (x**2 - 2.0) * cosine - 2.0)
    third = 0.5 * packing * a * ((4.0 * x**3 - 24.0 * x) * sine - (x**4 - 12.0 * x**2 + 24.0) * cosine + 24.0)
    return 1.0 / (1.0 + 24.0 * packing / x**6 * (first + second + third))


def electron_density_per_m3(
    formula: dict[str, int], *, density_g_per_cm3: float, photon_energy_ev: float = PHOTON_ENERGY_EV
) -> float:
    """Effective electrons per m^3 of a material, anomalous term included.

    Parameters
    ----------
    formula : dict
        Atoms of each element in the formula unit, as ``{"Si": 1, "O": 2}``.
    density_g_per_cm3 : float
        Mass density in g/cm^3.
    photon_energy_ev : float
        Photon energy in eV, at which f' is taken (-5.0 electrons for gold at 8.82 keV, 6 % of it).

    Returns
    -------
    float
        Sum of ``f0(0) + f'`` in a m^3, from xraydb (Waasmaier & Kirfel f0, Chantler f').
    """
    electrons, molar_mass_g = 0.0, 0.0
    for element, count in formula.items():
        factor, mass_g = _atom(element, photon_energy_ev)
        electrons += count * factor
        molar_mass_g += count * mass_g
    return electrons * density_g_per_cm3 * 1e6 * _AVOGADRO_PER_MOL / molar_mass_g


@cache
def _atom(element: str, photon_energy_ev: float) -> tuple[float, float]:
    """Forward scattering factor (electrons) and molar mass (g) of an element."""
    import xraydb  # a data base on disk: opened only when a density is asked for

    forward = float(np.ravel(xraydb.f0(element, 0.0))[0])
    anomalous = float(xraydb.f1_chantler(element, photon_energy_ev))
    return forward + anomalous, float(xraydb.atomic_mass(element))


def _sphere_form(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Form factor 3 (sin x - x cos x) / x^3 of a sphere, 1 at x = 0."""
    small = np.abs(x) < _SERIES_BELOW
    safe = np.where(small, 1.0, x)
    full = 3.0 * (np.sin(safe) - safe * np.cos(safe)) / safe**3
    return np.where(small, 1.0 - x**2 / 10.0 + x**4 / 280.0 - x**6 / 15120.0, full)


def _pixel_average(squared_m2: NDArray[np.float64], radius_m: float, oversample: int) -> NDArray[np.float64]:
    """Chord 2 sqrt(R^2 - x^2 - y^2) of a sphere in m, averaged over blocks; one band of rows at a time."""
    n = squared_m2.size // oversample
    out = np.zeros((n, n))
    for row in range(n):
        band = squared_m2[row * oversample : (row + 1) * oversample]
        if band.min() >= radius_m**2:
            continue
        chord = 2.0 * np.sqrt(np.maximum(radius_m**2 - band[:, None] - squared_m2[None, :], 0.0))
        out[row] = chord.reshape(oversample, n, oversample).mean(axis=(0, 2))
    return out
