"""Stream2 messages as a detector would send them, and simulated sums."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import bitshuffle
import cbor2
import lz4.block
import numpy as np
import pytest

from processing.geometry import Geometry
from processing.models import SampleModel
from processing.prepared import SummedPattern
from sim.detector import GEOMETRIES, PIXEL_M, pixels
from sim.diffraction import expected
from sim.sample import WAVELENGTH_M, experiment

_TAGS = {"u1": 64, ">u2": 65, ">u4": 66, "<u2": 69, "<u4": 70}


class Stream2:
    """Messages of Stream2, encoded by third-party libraries only."""

    @staticmethod
    def lz4_hdf5(raw: bytes, block_bytes: int) -> bytes:
        out = struct.pack(">QI", len(raw), block_bytes)
        for start in range(0, len(raw), block_bytes):
            block = raw[start : start + block_bytes]
            packed = lz4.block.compress(block, store_size=False)
            packed = block if len(packed) >= len(block) else packed
            out += struct.pack(">I", len(packed)) + packed
        return out

    @classmethod
    def array(cls, pixels: np.ndarray, codec: str = "bslz4", order: str = "<", columns: bool = False) -> cbor2.CBORTag:
        dtype = pixels.dtype.newbyteorder(order)
        flat = np.ascontiguousarray((pixels.T if columns else pixels).astype(dtype)).ravel()
        data = flat.tobytes()
        if codec == "bslz4":
            body = bitshuffle.compress_lz4(flat.view(f"u{pixels.itemsize}"), 8192 // pixels.itemsize).tobytes()
            data = cbor2.CBORTag(56500, ["bslz4", pixels.itemsize, struct.pack(">QI", pixels.nbytes, 8192) + body])
        elif codec == "lz4":
            data = cbor2.CBORTag(56500, ["lz4", 0, cls.lz4_hdf5(data, 1000)])
        typed = cbor2.CBORTag(_TAGS[dtype.str if pixels.itemsize > 1 else "u1"], data)
        return cbor2.CBORTag(1040 if columns else 40, [list(pixels.shape), typed])

    @staticmethod
    def start(series: int = 7, **entries: object) -> bytes:
        return cbor2.dumps({"type": "start", "series_id": series, **entries})

    @staticmethod
    def image(data: dict[str, object], series: int = 7, frame: int = 0, **entries: object) -> bytes:
        return cbor2.dumps({"type": "image", "series_id": series, "image_id": frame, "data": data, **entries})

    @staticmethod
    def end(series: int = 7) -> bytes:
        return cbor2.dumps({"type": "end", "series_id": series})


@pytest.fixture(scope="session")
def stream2() -> type[Stream2]:
    """Encoders of Stream2 messages."""
    return Stream2


@dataclass(frozen=True)
class Summed:
    """A simulated sum with what is true about it."""

    pattern: SummedPattern
    background: SummedPattern
    valid: np.ndarray
    geometry: Geometry
    center: tuple[float, float]
    model: SampleModel


@cache
def _photons_a_frame(sample: str, model: SampleModel | None) -> tuple[np.ndarray, np.ndarray]:
    described = experiment(sample)
    maps = expected(GEOMETRIES["eig1m"], described if model is None else replace(described, model=model))
    seen = (pixels("eig1m").mask == 0) & ~maps.stop
    return tuple(np.where(seen, a * described.exposure_s, 0.0) for a in (maps.sample, maps.background))


@pytest.fixture(scope="session")
def summed() -> Callable[..., Summed]:
    """Poisson draws of the sums over many frames on eig1m, from the simulated beamline's expected patterns.

    The shadow of the beam stop is not in the mask, as at the beamline; its middle is not the beam's.
    """

    def draw(
        sample: str, frames: int, seed: int, *, background_frames: int = 25, model: SampleModel | None = None
    ) -> Summed:
        rng = np.random.default_rng((seed, frames))
        particles, halo = _photons_a_frame(sample, model)
        detector, described = GEOMETRIES["eig1m"], experiment(sample)
        return Summed(
            pattern=SummedPattern(counts=rng.poisson(frames * (particles + halo)).astype(np.uint64), frames=frames),
            background=SummedPattern(
                counts=rng.poisson(background_frames * halo).astype(np.uint64), frames=background_frames
            ),
            valid=pixels("eig1m").mask == 0,
            geometry=Geometry(
                wavelength_m=WAVELENGTH_M,
                distance_m=described.distance_m["eig1m"],
                pixel_m=PIXEL_M,
                center=(detector.header_row, detector.header_col),
            ),
            center=(detector.true_row, detector.true_col),
            model=described.model if model is None else model,
        )

    return draw
