"""The two experiments of the paper: particle, beam, exposure and distance."""

from dataclasses import dataclass

from processing.models import PHOTON_ENERGY_EV, SampleModel, sample

FLUX_PER_S = 1e9
"""Photons per second on the sample (paper, section 2.2)."""
WAVELENGTH_M = 12398.4198e-10 / PHOTON_ENERGY_EV
CLASSICAL_ELECTRON_RADIUS_M = 2.8179403e-15


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One sample in its beam.

    Attributes
    ----------
    model
        The particle.
    particles
        How many are in the beam at the mean concentration.
    beam_x_um, beam_y_um
        Size of the beam on the sample, um.
    exposure_s
        The paper's exposure a point; the detector's default count time.
    distance_m
        Sample to detector by detector name, m.
    halo_q_per_nm
        Half width of the scattering of air and membrane, 1/nm.
    """

    model: SampleModel
    particles: float
    beam_x_um: float
    beam_y_um: float
    exposure_s: float
    distance_m: dict[str, float]
    halo_q_per_nm: float

    @property
    def photons_per_m2_s(self) -> float:
        """I_0 of the paper's equation (1): flux over the area of the beam."""
        return FLUX_PER_S / (self.beam_x_um * self.beam_y_um * 1e-12)


def experiment(name: str) -> Experiment:
    """Experiment on the sample `name`, ``au-sio2`` or ``nv-lp``.

    On ``eig1m`` the particles of 19 nm stand at 0.69 m: its 977 pixels then reach the same 1.3 nm as 2999 pixels of the
    ``eig16m`` at 2.08 m.

    Raises
    ------
    ValueError
        If there is no such sample.
    """
    if name == "au-sio2":
        return Experiment(
            model=sample(name),
            particles=25280.0,
            beam_x_um=6.0,
            beam_y_um=18.0,
            exposure_s=60.0,
            distance_m={"eig1m": 2.08, "eig16m": 2.08},
            halo_q_per_nm=0.19,
        )
    return Experiment(
        model=sample(name),
        particles=6.7122e9,
        beam_x_um=5.5,
        beam_y_um=8.9,
        exposure_s=1.0,
        distance_m={"eig1m": 0.69, "eig16m": 2.08},
        halo_q_per_nm=0.70,
    )
