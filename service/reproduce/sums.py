"""The sums of a result file, whole, with what is needed to read them."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from processing.background import scaled_background
from processing.geometry import Geometry
from processing.prepare import PrepareSettings, prepare
from processing.prepared import Prepared, SummedPattern
from service.reproduce.paper import BEAM_STOP_PX, PaperRun
from service.result_view import detector_geometry

_TABLE = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What was summed.

    Attributes
    ----------
    accepted, background : SummedPattern
    valid : ndarray of bool, shape (rows, cols)
        The static mask.
    geometry : Geometry
        With the beam centre of the header, or the one found once `prepared` was made.
    """

    accepted: SummedPattern
    background: SummedPattern
    valid: NDArray[np.bool_]
    geometry: Geometry

    def prepared(self, run: PaperRun) -> Prepared:
        """Amplitudes in the paper's binning of 3 x 3, not reduced further.

        Raises
        ------
        CannotPrepareError
            If the sum gives none.
        """
        settings = PrepareSettings(object_diameter_m=run.model.outer_diameter_m, reduction=1)
        return prepare(self.accepted, self.valid, self.geometry, settings, background=self.background)

    def predicted(self, run: PaperRun, center: tuple[float, float], spread_m: float = 0.0) -> NDArray[np.float64]:
        """Counts that equation (1) expects, with the measured background, its azimuthal mean scaled by frames.

        Parameters
        ----------
        run : PaperRun
        center : tuple of float
            (row, col) of the beam in pixels.
        spread_m : float
            Standard deviation of the particles' diameters in m, as electron microscopy would tell it.
        """
        geometry = self.geometry.at(center)
        shape = (self.valid.shape[0], self.valid.shape[1])
        radius = geometry.radius_px(shape)
        reach = radius.max() * np.linspace(0.0, 1.0, _TABLE)
        table = run.model.mean_square(geometry.q_at_radius_per_m(reach), spread_m)
        counts = run.photons(np.interp(radius, reach, table), radius, geometry, self.accepted.frames)
        if self.background.frames:
            dark, known = self.background.complete(self.valid)
            ratio = self.accepted.frames / self.background.frames
            counts += scaled_background(dark, known & (radius > BEAM_STOP_PX), radius, ratio=ratio).expected
        return counts

    def seen(self, center: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Counts as if nothing had been excluded, and the pixels with data outside the beam stop."""
        counts, good = self.accepted.complete(self.valid)
        radius = self.geometry.at(center).radius_px((self.valid.shape[0], self.valid.shape[1]))
        return counts, good & (radius > BEAM_STOP_PX)


def read_sums(result: Path) -> Sums:
    """Read the sums of a result file."""
    with h5py.File(result) as file:
        entry = file["entry"]
        accepted, background = (
            SummedPattern(
                counts=entry[name]["data"][()],
                frames=int(entry[name]["frames"][()]),
                excluded=entry[name]["excluded"][()],
            )
            for name in ("sum", "background")
        )
        return Sums(
            accepted=accepted,
            background=background,
            valid=entry["sum/valid"][()] != 0,
            geometry=detector_geometry(entry),
        )
