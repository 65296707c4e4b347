"""Compressed bytes to a score and a contribution to a sum, by the quick way in bit planes or the plain one.

Bitshuffle-LZ4 frames stay in bit planes (`processing.bitplane`); every other encoding, and blocks too small for it, are
decoded plainly. Both ways give the same integers; every so many frames both are taken and compared.
"""

import struct
import threading

import numpy as np
from numpy.typing import NDArray

from processing.bitplane import FrameScorer, PlaneSpill
from processing.decode import decode
from processing.frame import EncodedFrame, FrameScore, PixelType, Refusal
from processing.plane_layout import PlaneLayout
from processing.plane_sum import AT_ONCE
from processing.screen import score

Pixels = NDArray[np.unsignedinteger]
Contribution = PlaneSpill | Pixels
"""What a frame adds to a sum: its bit planes, or its pixels."""
Examined = tuple[Contribution, FrameScore]

_HEADER = struct.Struct(">QI")
_DEFAULT_BLOCK_BYTES = 8192
_MOST_LAYOUTS = 4
_TOUCHED_PLANES = 4
_FIRST_SHADOW = 20  # early, but not while the first frames still take memory
_Key = tuple[str, int]


class FrameReader:
    """Reads the frames of one series, on any number of threads.

    Parameters
    ----------
    valid : ndarray of uint8, shape (rows, cols)
        The static mask.
    ring : ndarray of int64, shape (n,)
        Flat indices of the ring next to the beam stop.
    radii : ndarray of int64, shape (n,), optional
        Distances of its pixels from the beam, to take a radial trend off before chi^2.
    shadow_every : int
        Every so many frames the plain way is taken too and compared; 0: never.

    Attributes
    ----------
    disagreements : list of str
        What the two ways disagreed about. After the first, only the plain way is taken.
    """

    def __init__(
        self,
        valid: NDArray[np.uint8],
        ring: NDArray[np.int64],
        radii: NDArray[np.int64] | None = None,
        *,
        shadow_every: int = 0,
    ) -> None:
        self._valid, self._ring, self._radii, self._shadow_every = valid, ring, radii, shadow_every
        self._shape = (valid.shape[0], valid.shape[1])
        self._lock = threading.Lock()
        self._layouts: dict[_Key, PlaneLayout | None] = {}
        self._free: dict[int, list[PlaneSpill]] = {}
        self._scorers = threading.local()
        self.disagreements: list[str] = []

    def prepare(self, pixel_type: PixelType) -> None:
        """Get ready for the frames that a header announces, so that the first take no longer than the next."""
        layout = self._layout((pixel_type, _DEFAULT_BLOCK_BYTES))
        if layout is None:
            return
        for _ in range(AT_ONCE):  # so many are under way before the first comes back
            spill = PlaneSpill(layout)
            spill.data[: layout.blocks * _TOUCHED_PLANES] = 0  # what a dense frame needs; the rest is not touched
            self.release(spill)

    def read(self, frame: EncodedFrame) -> Examined | Refusal:
        """Return what a frame adds and its score, or why it cannot be had.

        A contribution in bit planes must be given back with `release` once nobody needs it.
        """
        layout = None if self.disagreements else self._layout_of(frame)
        if layout is None:
            return self._read_plainly(frame)
        spill = self._spill(layout)
        read = self._scorer(layout).read(frame.blob, spill)
        if isinstance(read, str):
            self.release(spill)
            return Refusal(reason=read, series=frame.series, frame=frame.frame, image=True)
        if self._shadow_every and frame.frame % self._shadow_every == min(_FIRST_SHADOW, self._shadow_every - 1):
            return self._compared(frame, read)
        return read, read.score

    def release(self, contribution: Contribution) -> None:
        """Give the memory of a contribution back."""
        if isinstance(contribution, PlaneSpill):
            with self._lock:
                self._free.setdefault(id(contribution.layout), []).append(contribution)

    def _read_plainly(self, frame: EncodedFrame) -> Examined | Refusal:
        pixels = decode(frame, self._shape)
        return pixels if isinstance(pixels, Refusal) else (pixels, score(pixels, self._valid, self._ring, self._radii))

    def _layout_of(self, frame: EncodedFrame) -> PlaneLayout | None:
        """Return the layout of a bitshuffle frame whose claims fit the series, None for the plain way."""
        if not (frame.encoding.startswith("bs") and frame.encoding.endswith("<")) or frame.shape != self._shape:
            return None
        if frame.encoding != f"bs{np.dtype(frame.pixel_type).itemsize * 8}-lz4<" or len(frame.blob) < _HEADER.size:
            return None
        claimed, block_bytes = _HEADER.unpack_from(frame.blob)
        if claimed not in (0, self._valid.size * np.dtype(frame.pixel_type).itemsize):
            return None  # damaged: the plain way says how, and no layout is made of its claims
        return self._layout((frame.pixel_type, block_bytes if claimed else _DEFAULT_BLOCK_BYTES))

    def _layout(self, key: _Key) -> PlaneLayout | None:
        with self._lock:
            if key not in self._layouts and len(self._layouts) < _MOST_LAYOUTS:
                try:
                    self._layouts[key] = PlaneLayout(self._valid, np.dtype(key[0]), key[1])
                except ValueError:
                    self._layouts[key] = None
            return self._layouts.get(key)

    def _spill(self, layout: PlaneLayout) -> PlaneSpill:
        with self._lock:
            free = self._free.get(id(layout))
            if free:
                return free.pop()
        return PlaneSpill(layout)

    def _scorer(self, layout: PlaneLayout) -> FrameScorer:
        mine: dict[int, FrameScorer] = self._scorers.__dict__.setdefault("of", {})
        if id(layout) not in mine:
            mine[id(layout)] = FrameScorer(layout, self._ring, self._radii)
        return mine[id(layout)]

    def _compared(self, frame: EncodedFrame, spill: PlaneSpill) -> Examined | Refusal:
        """Take the plain way too; when they disagree, the plain one holds from here on."""
        plain = self._read_plainly(frame)
        if not isinstance(plain, Refusal) and plain[1] == spill.score:
            return spill, spill.score
        found = plain.reason if isinstance(plain, Refusal) else f"{plain[1]} against {spill.score}"
        self.disagreements.append(f"frame {frame.frame}: the plain way found {found}")
        self.release(spill)
        return plain
