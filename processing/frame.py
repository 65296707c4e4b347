"""The nouns of the data's way: what a series, a frame and its score are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from operator import mul
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PixelType = Literal["uint8", "uint16", "uint32"]
PIXEL_TYPES: tuple[PixelType, ...] = ("uint8", "uint16", "uint32")

# What no detector of the family exceeds: a message that claims more is damaged, and believing it would cost memory.
MAX_SIDE = 1 << 15
MAX_PIXELS = 1 << 26
MAX_FRAMES = 1 << 23  # 17 hours at 133 Hz
MAX_SERIES = (1 << 31) - 1


class Category(IntEnum):
    """Where a frame is booked; the order is the one of the result file's `names`."""

    ACCEPTED = 0
    LOW_INTENSITY = 1
    STREAK = 2
    BACKGROUND = 3
    GATED = 4
    CORRUPT = 5
    DUPLICATE = 6
    FOREIGN = 7
    MISSING = 8

    @property
    def label(self) -> str:
        """The category's name as users and files spell it."""
        return self.name.lower()


CATEGORY_NAMES: tuple[str, ...] = tuple(category.label for category in Category)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesHeader:
    """What the detector announced when it was armed.

    Attributes
    ----------
    series : int
        The detector's series id.
    shape : tuple of int or None
        (rows, columns), None when the header says nothing (header detail "none").
    pixel_type : str or None
        Expected pixel type; the frames' own type decides.
    images : int or None
        nimages x ntrigger, None when not announced.
    beam_center_x, beam_center_y : float or None
        Column and row of the direct beam in pixels.
    count_time_s, frame_time_s, photon_energy_ev, wavelength_m, distance_m, pixel_size_m : float or None
        The detector's configuration in SI units (energy in eV).
    valid : ndarray of bool, shape (rows, columns), or None
        True where the header's pixel mask lets a pixel count.
    count_cutoff : int or None
        Largest count a pixel can hold after corrections.
    config : dict
        The vendor's configuration as it came.
    appendix : bytes or None
        The user's text behind the header.
    channels : tuple of str
        Energy channels of the detector in its order; empty on stream v1, which has one without a name.
    channel : str
        The one that is summed.
    remarks : tuple of str
        What in the header could not be used, one sentence each.
    completes : bool
        Whether this header only tells more about the series announced by the header before it.
    """

    series: int
    shape: tuple[int, int] | None = None
    pixel_type: PixelType | None = None
    images: int | None = None
    beam_center_x: float | None = None
    beam_center_y: float | None = None
    count_time_s: float | None = None
    frame_time_s: float | None = None
    photon_energy_ev: float | None = None
    wavelength_m: float | None = None
    distance_m: float | None = None
    pixel_size_m: float | None = None
    valid: NDArray[np.bool_] | None = None
    count_cutoff: int | None = None
    config: dict[str, object] = field(default_factory=dict)
    appendix: bytes | None = None
    channels: tuple[str, ...] = ()
    channel: str = ""
    remarks: tuple[str, ...] = ()
    completes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedFrame:
    """One exposure as it came over the wire or out of a file, still compressed.

    Attributes
    ----------
    series : int or None
        None when the sender left it out.
    frame : int
        Number of the frame within the series, from 0.
    shape : tuple of int
        (rows, columns).
    encoding : str
        The encoding in stream v1's grammar whatever the wire, for example "bs32-lz4<", "lz4<" or "<". Two additions
        for Stream2: "lz4hdf5<" is LZ4 in the framing of HDF5 filter 32004 (v1's "lz4<" is one bare block), and a
        last letter "T" says that the pixels lie column by column.
    blob : bytes-like
        The compressed pixels.
    md5 : str
        The sender's hash of the blob, empty when it sent none.
    channel : str
        The energy channel taken from the message; empty on stream v1.
    """

    series: int | None
    frame: int
    shape: tuple[int, int]
    pixel_type: PixelType
    encoding: str
    blob: bytes | memoryview
    md5: str = ""
    start_time_ns: int = 0
    stop_time_ns: int = 0
    real_time_ns: int = 0
    channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesEnd:
    """The detector has disarmed."""

    series: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A message that cannot be used, and why.

    Attributes
    ----------
    reason : str
        One sentence for a person.
    series, frame : int or None
        Whose message it was, as far as it can be read.
    image : bool
        Whether it was (or looked like) an image message: those are booked.
    """

    reason: str
    series: int | None = None
    frame: int | None = None
    image: bool = False


Message = SeriesHeader | EncodedFrame | SeriesEnd | Refusal


def why_not_shape(rows: int, cols: int) -> str:
    """Return why no frame can have this shape, empty when one can."""
    if not (0 < rows <= MAX_SIDE and 0 < cols <= MAX_SIDE and rows * cols <= MAX_PIXELS):
        return f"image sides must lie in 1 to {MAX_SIDE} px, at most {MAX_PIXELS} px together, got {cols} x {rows}"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScore:
    """The exact integers by which a frame is judged.

    Attributes
    ----------
    total : int
        Sum over the static mask without pixels at the type's maximum or maximum - 1.
    ring_sum, ring_square_sum, ring_pixels : int
        S1, S2 and n over the valid ring pixels next to the beam stop.
    radius_sum, radius_square_sum, radius_count_sum : int
        R1, R2 and RS, the sums of their distances from the beam (in `processing.screen.RADIUS_STEP_PX`), of the squares
        of these, and of the products with the counts; 0 where a radial trend counts as scatter.
    """

    total: int
    ring_sum: int
    ring_square_sum: int
    ring_pixels: int
    radius_sum: int = 0
    radius_square_sum: int = 0
    radius_count_sum: int = 0

    @classmethod
    def of(cls, total: int, counts: Sequence[int], radii: Sequence[int] = ()) -> "FrameScore":
        """Make the sums over the ring; `radii`, if any, are the distances of the pixels that have these counts.

        Python's integers: squares of 32-bit counts never overflow.
        """
        return cls(
            total=total,
            ring_sum=sum(counts),
            ring_square_sum=sum(count * count for count in counts),
            ring_pixels=len(counts),
            radius_sum=sum(radii),
            radius_square_sum=sum(radius * radius for radius in radii),
            radius_count_sum=sum(map(mul, radii, counts)),
        )

    @property
    def chi2(self) -> float:
        """Sum of squared deviations over the mean, n S2 / S1 - S1 (eq. 4 with its square); NaN without counts.

        With distances the deviations are those from the straight line through counts and distances, whose own part of
        the sum, (n RS - R1 S1)^2 / (n R2 - R1^2) / S1, is taken off.
        """
        if self.ring_pixels == 0 or self.ring_sum == 0:
            return float("nan")
        # one rounding of the exact fraction
        deviations = self.ring_pixels * self.ring_square_sum - self.ring_sum**2
        if not (spread := self._radius_spread):
            return deviations / self.ring_sum
        slope = self.ring_pixels * self.radius_count_sum - self.radius_sum * self.ring_sum
        return (deviations * spread - slope**2) / (spread * self.ring_sum)

    @property
    def _radius_spread(self) -> int:
        return self.ring_pixels * self.radius_square_sum - self.radius_sum**2

    @property
    def dof(self) -> int:
        """Degrees of freedom, n - 1, or n - 2 from a line; -1 without ring pixels."""
        return self.ring_pixels - 1 - (self._radius_spread > 0)
