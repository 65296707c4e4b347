"""What lies under the beam: silicon, membrane, particles, dust, as a function of the stage's position.

The chip is an array of slot windows in a silicon frame: membranes 177 um wide between ribs of 23 um, 200 um apart, the
ribs almost along y. So a raster of any size from 10 x 10 points of 10 um meets every kind of place in like proportions:
some 10 % silicon, 4 to 8 % on an edge or on dust, 4 % empty membrane, the rest sample. All of it follows from the seed.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sim.sample import Experiment

Label = Literal["accepted", "low_intensity", "streak", "background"]

PITCH_UM, RIB_UM, RIB_EDGE_UM = 200.0, 23.0, -40.0
"""Period of the ribs, their width, and where the right edge of the one next to the origin lies."""
CELL_UM = 100.0
"""Every cell of this size holds one empty patch and at most one grain of dust."""
SLIT_BLUR_UM = 0.4
"""The beam is cut by slits: flat, with edges of this standard deviation."""
CONCENTRATION_SPREAD = 0.10
CONCENTRATION_LENGTH_UM = 25.0
WAVES = 256

ON_SILICON = 0.9
"""From this part of the beam on silicon up the place is silicon, below it an edge."""
STREAK_VISIBLE = 0.055
"""Strength of a streak, part of the full one, from which it counts as one: it then adds 0.45 to chi^2 over dof."""
GRADED_CLIP = (1e-4, ON_SILICON)
GRADED_STREAK = (0.02, 0.15)
"""A place between these bounds is neither clean nor a clear contaminant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """One bright line: direction in rad (from columns towards rows) and strength, 1 for a full edge."""

    angle: float
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the beam meets at one position of the stage.

    Attributes
    ----------
    concentration
        Particles over their mean number; 0 on an empty patch. Already averaged over the beam.
    clip
        Part of the beam on silicon, 0 to 1.
    streaks
        Scattering of edges and dust.
    label
        What a perfect receiver must call a frame taken here.
    graded
        The place is only partly what its label says (an edge clip, the rim of a grain).
    """

    concentration: float
    clip: float
    streaks: tuple[Streak, ...]
    label: Label
    graded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Empty patch (an ellipse) and dust of one cell, in um relative to the origin of the rib coordinates."""

    patch_u: float
    patch_v: float
    patch_half_u: float
    patch_half_v: float
    dust_u: float
    dust_v: float
    dust_strength: float
    dust_angle: float


class Scene:
    """The sample on the stage.

    Parameters
    ----------
    experiment
        Gives the size of the beam.
    seed
        Fixes everything that lies on the membrane.
    """

    def __init__(self, experiment: Experiment, seed: int) -> None:
        self._seed = seed
        rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self._tilt = 0.08 + 0.01 * (2.0 * rng.random() - 1.0)
        self._edge_um = RIB_EDGE_UM + 1.0 * (2.0 * rng.random() - 1.0)
        self._waves = rng.standard_normal((2, WAVES)) / CONCENTRATION_LENGTH_UM
        self._phases = 2.0 * np.pi * rng.random(WAVES)
        self._beam_um = (experiment.beam_x_um, experiment.beam_y_um)
        self._offset_um, self._profile, self._below = _beam_across(self._beam_um, self._tilt)
        self._cell = lru_cache(maxsize=4096)(self._make_cell)

    def at(self, x_um: float, y_um: float) -> Place:
        """What the beam meets when the stage stands at (x, y), um."""
        u = x_um - self._tilt * y_um
        clip, edge = self._silicon(u)
        streaks = []
        if edge > 0.0:
            streaks.append(Streak(angle=math.atan(-self._tilt), strength=edge))  # at right angles to the edge
        empty, dust = self._on_membrane(u, y_um)
        streaks += dust
        strongest = max((streak.strength for streak in streaks), default=0.0)
        return Place(
            concentration=0.0 if empty else self._concentration(x_um, y_um),
            clip=clip,
            streaks=tuple(streaks),
            label=_label(clip, strongest, empty=empty),
            graded=GRADED_CLIP[0] < clip < GRADED_CLIP[1]
            or (clip < ON_SILICON and GRADED_STREAK[0] < strongest < GRADED_STREAK[1]),
        )

    def _silicon(self, u: float) -> tuple[float, float]:
        """Part of the beam on the nearest rib, and the light on its edges relative to the middle of the beam."""
        right = self._edge_um + PITCH_UM * round((u - self._edge_um + 0.5 * RIB_UM) / PITCH_UM)
        offsets = np.array([right - u, right - RIB_UM - u])
        below = np.interp(offsets, self._offset_um, self._below)
        light = float(np.interp(offsets, self._offset_um, self._profile, left=0.0, right=0.0).max())
        return float(below[0] - below[1]), light if light > 1e-4 else 0.0

    def _on_membrane(self, u: float, v: float) -> tuple[bool, list[Streak]]:
        """Whether the middle of the beam is on an empty patch, and the streaks of dust in the beam."""
        i, j = round(u / CELL_UM), round(v / CELL_UM)
        empty, streaks = False, []
        for cell in (self._cell(i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)):
            empty |= ((u - cell.patch_u) / cell.patch_half_u) ** 2 + ((v - cell.patch_v) / cell.patch_half_v) ** 2 < 1.0
            light = _slit(cell.dust_u - u, self._beam_um[0]) * _slit(cell.dust_v - v, self._beam_um[1])
            if cell.dust_strength * light > 1e-4:
                streaks.append(Streak(angle=cell.dust_angle, strength=cell.dust_strength * light))
        return empty, streaks

    def _concentration(self, x_um: float, y_um: float) -> float:
        """Smooth Gaussian random field about 1 with a spread of 10 %."""
        phases = self._waves[0] * x_um + self._waves[1] * y_um + self._phases
        field = math.sqrt(2.0 / WAVES) * float(np.cos(phases).sum())
        return max(0.05, 1.0 + CONCENTRATION_SPREAD * field)

    def _make_cell(self, i: int, j: int) -> Cell:
        rng = np.random.Generator(np.random.PCG64([self._seed, 2, i + 2**20, j + 2**20]))
        r = rng.random(9).tolist()
        present = (i, j) == (0, 0) or r[6] < 0.5
        return Cell(
            # a quarter of the cell at most off its middle keeps patches clear of the ribs
            patch_u=CELL_UM * (i + 0.5 * (r[0] - 0.5)),
            patch_v=CELL_UM * (j + 0.5 * (r[1] - 0.5)),
            patch_half_u=10.0 + 3.0 * r[2],
            patch_half_v=10.0 + 3.0 * r[3],
            dust_u=CELL_UM * (i + 0.6 * (r[4] - 0.5)),
            dust_v=CELL_UM * (j + 0.8 * (r[5] - 0.5)),
            dust_strength=(0.4 + 0.6 * r[7]) if present else 0.0,
            dust_angle=np.pi * r[8],
        )


def _label(clip: float, streak: float, *, empty: bool) -> Label:
    if clip >= ON_SILICON:
        return "low_intensity"
    if streak >= STREAK_VISIBLE:
        return "streak"
    return "background" if empty else "accepted"


def _slit(offset_um: float, width_um: float) -> float:
    """Light at a distance from the middle of a beam cut by slits, relative to the middle."""
    scale = math.sqrt(2.0) * SLIT_BLUR_UM
    return 0.5 * (math.erf((0.5 * width_um - offset_um) / scale) + math.erf((0.5 * width_um + offset_um) / scale))


def _beam_across(
    beam_um: tuple[float, float], tilt: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Profile of the beam across a tilted edge: offsets in um, light relative to its peak, part of the beam below."""
    step = 0.01
    half = 0.5 * beam_um[0] + 0.5 * abs(tilt) * beam_um[1] + 6.0 * SLIT_BLUR_UM
    offsets = np.arange(-math.ceil(half / step), math.ceil(half / step) + 1) * step
    blurred = np.array([_slit(float(offset), beam_um[0]) for offset in offsets])
    slant = np.ones(max(1, round(abs(tilt) * beam_um[1] / step)))
    profile = np.convolve(blurred, slant / slant.size, mode="same")
    below = np.cumsum(profile)
    light = np.asarray(profile / profile.max(), np.float64)
    return np.asarray(offsets), light, np.asarray((below - below[0]) / (below[-1] - below[0]), np.float64)
