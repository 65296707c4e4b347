"""Good series of both wires to start from, made of the test vectors."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cbor2

Parts = list[bytes]

VECTORS = Path(__file__).parent.parent / "processing" / "vectors"
_MANY = 1_000_000
FINAL_SERIES = 424_242


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodSeries:
    """A header (in one message or several), makers of images by their number, and an end."""

    header: list[Parts]
    images: list[Callable[[int], Parts]]
    end: Parts

    def messages(self) -> list[Parts]:
        """Return the series with its images numbered from 0."""
        return [*self.header, *(make(number) for number, make in enumerate(self.images)), self.end]


def read_messages(path: Path) -> list[Parts]:
    """Read a .msgs container."""
    data = memoryview(path.read_bytes())

    def words() -> Iterator[int]:
        nonlocal data
        while data:
            word, data = int.from_bytes(data[:4], "little"), data[4:]
            yield word

    def take(size: int) -> bytes:
        nonlocal data
        part, data = bytes(data[:size]), data[size:]
        return part

    word = words()
    return [[take(next(word)) for _ in range(next(word))] for _ in range(next(word))]


def vector_series(detail: str) -> list[Parts]:
    """Return the messages of a stream v1 vector as they are."""
    return read_messages(VECTORS / f"stream1_series_{detail}.msgs")


def final_series() -> list[Parts]:
    """Return a series of two frames with a number of its own, so that no stray image of the others waits for it."""

    def renumbered(part: bytes) -> bytes:
        found = json.loads(part) if part[:1] == b"{" else {}
        return json.dumps({**found, "series": FINAL_SERIES}).encode() if "series" in found else part

    return [[renumbered(part) for part in parts] for parts in vector_series("basic")]


def all_series() -> list[GoodSeries]:
    """Return series of both wires; they announce a million frames, so that every number is one of theirs."""
    details = ("none", "basic", "all", "all_appendix")
    one_by_one = replace(_of_vector("all"), header=[[part] for part in _of_vector("all").header[0]])
    of_v1 = [*(_of_vector(detail) for detail in details), one_by_one, _of_blocks()]
    return [*of_v1, _of_stream2(""), _of_stream2("_selfdescribed")]


def _v1_image(parts: Parts) -> Callable[[int], Parts]:
    first = json.loads(parts[0])
    return lambda number: [json.dumps({**first, "frame": number}).encode(), *parts[1:]]


def _of_vector(detail: str) -> GoodSeries:
    header, *images, end = vector_series(detail)
    if len(header) > 1:
        header[1] = json.dumps({**json.loads(header[1]), "nimages": _MANY}).encode()
    return GoodSeries(header=[header], images=[_v1_image(parts) for parts in images], end=end)


def _of_blocks() -> GoodSeries:
    """Return frames of every type with full blocks, a short one and a raw tail."""
    config = {"nimages": _MANY, "x_pixels_in_detector": 127, "y_pixels_in_detector": 129, "beam_center_x": 60}
    images = []
    for bits in (8, 16, 32):
        blob = (VECTORS / f"bslz4_u{bits}_129x127.bin").read_bytes()
        first = {"htype": "dimage-1.0", "series": 8, "hash": hashlib.md5(blob).hexdigest()}
        second = {
            "htype": "dimage_d-1.0",
            "shape": [127, 129],
            "type": f"uint{bits}",
            "encoding": f"bs{bits}-lz4<",
            "size": len(blob),
        }
        images.append(_v1_image([json.dumps(first).encode(), json.dumps(second).encode(), blob]))
    return GoodSeries(
        header=[[b'{"htype":"dheader-1.0","series":8,"header_detail":"basic"}', json.dumps(config).encode()]],
        images=images,
        end=[b'{"htype":"dseries_end-1.0","series":8}'],
    )


def _of_stream2(wrapped: str) -> GoodSeries:
    def read(name: str) -> dict[str, Any]:
        return dict(cbor2.loads((VECTORS / f"stream2_{name}{wrapped}.cbor").read_bytes()))

    def write(entries: dict[str, Any]) -> Parts:
        return [cbor2.dumps(cbor2.CBORTag(55799, entries) if wrapped else entries)]

    def image(entries: dict[str, Any]) -> Callable[[int], Parts]:
        return lambda number: write({**entries, "image_id": number})

    images = [read(f"image_u{bits}") for bits in (8, 16, 32)]
    images += [{**entries, "data": {"threshold_1": entries["data"]["threshold_2"]}} for entries in images]  # raw
    for name in ("blockall", "block1024"):
        blob = (VECTORS / f"lz4_hdf5_u32_37x41_{name}.bin").read_bytes()
        array = cbor2.CBORTag(40, [[37, 41], cbor2.CBORTag(70, cbor2.CBORTag(56500, ["lz4", 0, blob]))])
        images.append({**images[0], "data": {"threshold_1": array}})
    return GoodSeries(
        header=[write({**read("start"), "number_of_images": _MANY})],
        images=[image(entries) for entries in images],
        end=write(read("end")),
    )
