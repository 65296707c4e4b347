"""What the paper says of its two runs: the conditions of equation (1), and the numbers to hold ours against.

Written here once more and not taken from the simulation, so that an error in one does not cancel itself in the other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.geometry import Geometry, thomson_photons
from processing.models import SampleModel, sample

FLUX_PER_S = 1e9
"""Photons a second on the sample (section 2.2)."""
BEAM_STOP_PX = 29.0
"""Pixels nearer to the beam lie behind the stop: 4.3 mm or some 57 px across."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRun:
    """One experiment of the paper.

    Attributes
    ----------
    sample : str
    frames : int
        Recorded by the authors.
    default_frames : int
        Simulated unless asked otherwise.
    beam_um : tuple of float
        Size of the beam, um.
    particles : float
        In the beam.
    exposure_s : float
    sums_at : tuple of int
        Frames after which the paper shows the sum (Figs. 2 and 7).
    enough : int
        Accepted frames from which on photon noise lets the wanted scores be reached.
    wrong_ssim : float
        An image below this against the model is a wrong minimum.
    """

    sample: str
    frames: int
    default_frames: int
    beam_um: tuple[float, float]
    particles: float
    exposure_s: float
    sums_at: tuple[int, ...]
    enough: int
    wrong_ssim: float

    @property
    def model(self) -> SampleModel:
        """The particle."""
        return sample(self.sample)

    def photons(
        self, squared: NDArray[np.float64] | float, radius_px: NDArray[np.float64], geometry: Geometry, frames: int
    ) -> NDArray[np.float64]:
        """Counts a pixel that equation (1) expects in the sum of so many frames.

        Parameters
        ----------
        squared : ndarray of float64 or float
            Squared amplitude of one particle in electrons^2.
        radius_px : ndarray of float64
            Distance of the pixels from the beam in pixels.
        geometry : Geometry
        frames : int
        """
        tilt = np.cos(np.arctan(radius_px * (geometry.pixel_m / geometry.distance_m)))
        return thomson_photons(
            np.sqrt(squared),
            particles=self.particles,
            flux_per_m2_s=FLUX_PER_S / (self.beam_um[0] * self.beam_um[1] * 1e-12),
            exposure_s=self.exposure_s * frames,
            solid_angle_sr=(geometry.pixel_m / geometry.distance_m) ** 2 * tilt**3,
        )


RUNS = {
    "au-sio2": PaperRun(
        sample="au-sio2",
        frames=1676,
        default_frames=1676,
        beam_um=(6.0, 18.0),
        particles=25280.0,
        exposure_s=60.0,
        sums_at=(1, 10, 100, 500, 1000),
        enough=50,
        wrong_ssim=0.95,
    ),
    "nv-lp": PaperRun(
        sample="nv-lp",
        frames=85_616,
        default_frames=85_616,
        beam_um=(5.5, 8.9),
        particles=6.7122e9,
        exposure_s=1.0,
        sums_at=(1, 10, 100, 1000, 10_000),
        enough=300,
        wrong_ssim=0.90,
    ),
}
