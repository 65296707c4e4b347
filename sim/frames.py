"""Frames: what the detector reads out after one exposure under given conditions."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim import poisson
from sim.beamline import Conditions
from sim.detector import GEOMETRIES, count_cutoff, pixel_type, pixels
from sim.diffraction import DARK_PER_S, SILICON_TRANSMISSION, STOP_RADIUS_PX, STREAK_SIGMA_PX, expected
from sim.sample import FLUX_PER_S, experiment
from sim.scene import Place, Scene
from sim.settings import SimSettings

HOT_PROBABILITY = 0.3
SPOT_SIGMA_PX = 1.2
"""Size of the direct beam on the detector."""

LABELS = ("accepted", "low_intensity", "streak", "background", "gated", "alignment")
"""What a perfect receiver must call a frame; `alignment`: attenuator in or beam stop out, no part of a scan."""

_SKY, _STREAK, _SPOT, _HOT, _INJECTION = range(5)  # one stream of random numbers a purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """All that fixes one frame, besides the settings of the run.

    Attributes
    ----------
    series, frame
        Numbers the detector gives; the frame counts from 0.
    count_time_s
        Exposure, s.
    conditions
        What beam and stage did meanwhile.
    """

    series: int
    frame: int
    count_time_s: float
    conditions: Conditions


class FrameSource:
    """Draws frames; each is an independent draw keyed by (seed, series, frame) and may be drawn again at any time.

    Methods may run in a thread of their own; nothing changes after construction.

    Parameters
    ----------
    settings
        Detector, sample and seed.
    """

    def __init__(self, settings: SimSettings) -> None:
        self.seed = settings.seed
        self.geometry = GEOMETRIES[settings.detector]
        self.experiment = experiment(settings.sample)
        self.maps = expected(self.geometry, self.experiment, settings.packing, settings.spread_nm * 1e-9)
        self.scene = Scene(self.experiment, settings.seed)
        self.codes = _codes(settings.detector, self.maps.stop)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Pixels outside the detector's own mask, shape (rows, columns)."""
        return np.asarray(self.codes < poisson.MASKED_MAX)

    def place(self, exposure: Exposure) -> Place:
        """What lay under the beam at mid exposure."""
        return self.scene.at(exposure.conditions.x_um, exposure.conditions.y_um)

    def label(self, exposure: Exposure) -> str:
        """One of `LABELS`: first what the beam did, then what lay under it."""
        seen = exposure.conditions
        if seen.injection_s > 0.0 or seen.open_s < exposure.count_time_s - 2e-9:
            return "gated"
        if not seen.beam_stop_in or seen.transmission < 1.0:
            return "alignment"
        return self.place(exposure).label

    def draw(self, exposure: Exposure) -> NDArray[np.unsignedinteger]:
        """Counts as read out, shape (rows, columns), uint32 or for exposures below 10 ms uint16."""
        counts = np.zeros(self.geometry.shape, np.uint32)
        self._scatter(counts, exposure)
        self._streaks(counts, exposure)
        if not exposure.conditions.beam_stop_in:
            self._direct_beam(counts, exposure)
        return self._read_out(counts, exposure)

    def warm_up(self) -> None:
        """Compile what `draw` uses, so that the first frame is as quick as the others."""
        seen = Conditions(
            x_um=0.0, y_um=0.0, z_um=0.0, moving=False, open_s=1e-3, injection_s=1e-3, transmission=1e-9,
            beam_stop_in=False,
        )  # fmt: skip
        for count_time_s in (1e-3, 1.0):
            frame = self.draw(Exposure(series=0, frame=0, count_time_s=count_time_s, conditions=seen))
            small = np.s_[:8, :8]
            poisson.add_to_sum(
                np.zeros((8, 8), np.uint64),
                np.zeros((8, 8), np.uint32),
                np.ascontiguousarray(frame[small]),
                np.ascontiguousarray(self.codes[small]),
                int(np.iinfo(frame.dtype).max) - 1,
                1,
            )

    def _key(self, exposure: Exposure, *purpose: int) -> np.uint64:
        return poisson.frame_key(self.seed, exposure.series, exposure.frame, *purpose)

    def _scatter(self, counts: NDArray[np.uint32], exposure: Exposure) -> None:
        place, seen = self.place(exposure), exposure.conditions
        through = 1.0 - place.clip * (1.0 - SILICON_TRANSMISSION)
        dark = DARK_PER_S * exposure.count_time_s
        calm_s = seen.open_s - seen.injection_s
        passes = [(calm_s, (0, 0), dark, self._key(exposure, _SKY))]
        if seen.injection_s > 0.0:
            kick = self._kick(exposure)
            passes.append((seen.injection_s * kick.dose, kick.shift, 0.0, self._key(exposure, _INJECTION)))
        for seconds, shift, noise, key in passes:
            light = seconds * seen.transmission * through
            poisson.add_scattering(
                counts, self.codes, self.maps.sample, self.maps.background, key, light * place.concentration, light,
                noise, seen.beam_stop_in, *shift,
            )  # fmt: skip

    def _streaks(self, counts: NDArray[np.uint32], exposure: Exposure) -> None:
        seen = exposure.conditions
        lines = [(s.angle, s.strength * seen.open_s) for s in self.place(exposure).streaks]
        if seen.injection_s > 0.0:
            kick = self._kick(exposure)
            lines.append((kick.angle, kick.strength * seen.injection_s))
        for i, (angle, seconds) in enumerate(lines):
            poisson.add_streak(
                counts, self.codes, self._key(exposure, _STREAK, i), self.geometry.true_row, self.geometry.true_col,
                angle, self.maps.streak_per_s * seconds * seen.transmission, STREAK_SIGMA_PX, STOP_RADIUS_PX,
                seen.beam_stop_in,
            )  # fmt: skip

    def _direct_beam(self, counts: NDArray[np.uint32], exposure: Exposure) -> None:
        seen, clip = exposure.conditions, self.place(exposure).clip
        photons = FLUX_PER_S * seen.open_s * seen.transmission * (1.0 - clip * (1.0 - SILICON_TRANSMISSION))
        poisson.add_spot(
            counts, self.codes, self._key(exposure, _SPOT), self.geometry.true_row, self.geometry.true_col,
            SPOT_SIGMA_PX, photons,
        )  # fmt: skip

    def _kick(self, exposure: Exposure) -> "Kick":
        rng = np.random.Generator(np.random.PCG64(int(self._key(exposure, _INJECTION, 1))))
        angle, jump = 2.0 * math.pi * rng.random(), 3.0 + 5.0 * rng.random()
        return Kick(
            dose=0.3 + 1.2 * rng.random(),
            shift=(round(jump * math.sin(angle)), round(jump * math.cos(angle))),
            angle=math.pi * rng.random(),
            strength=1.0 + 4.0 * rng.random(),
        )

    def _read_out(self, counts: NDArray[np.uint32], exposure: Exposure) -> NDArray[np.unsignedinteger]:
        dtype = pixel_type(exposure.count_time_s)
        top = int(np.iinfo(dtype).max)
        out = counts if dtype == np.uint32 else np.empty(counts.shape, dtype)
        poisson.read_out(counts, self.codes, out, top, count_cutoff(exposure.count_time_s))
        hot = pixels(self.geometry.name).hot
        rng = np.random.Generator(np.random.PCG64(int(self._key(exposure, _HOT))))
        fires = hot[rng.random(hot.size) < HOT_PROBABILITY]
        out.flat[fires] = top - (fires % 2)  # both flag values occur
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Kick:
    """What an injection does to the beam: dose factor, jump of the pattern (rows, columns), and a flash of scatter."""

    dose: float
    shift: tuple[int, int]
    angle: float
    strength: float


def _codes(detector: str, stop: NDArray[np.bool_]) -> NDArray[np.uint8]:
    known = pixels(detector)
    codes = np.where(stop, poisson.SHADOW, poisson.ACTIVE).astype(np.uint8)
    codes[known.mask != 0] = poisson.MASKED_MAX
    codes[known.second] = poisson.MASKED_SECOND
    return codes
