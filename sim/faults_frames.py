"""Faults of single frames on the wire: lost, doubled, damaged."""

import json
from dataclasses import replace

import numpy as np

from sim.fault_kinds import Kind, on_images, with_json, with_part
from sim.wire import WireMessage

_BLOB_HEADER_BYTES = 12


def _truncate(message: WireMessage, number: int) -> list[WireMessage]:
    blob = message.parts[2]
    return [with_part(message, 2, blob[: len(blob) // 4 + number % (len(blob) // 2)])]


def _corrupt(message: WireMessage, number: int) -> list[WireMessage]:
    blob = np.frombuffer(message.parts[2], np.uint8).copy()
    rng = np.random.Generator(np.random.PCG64(number))
    where = rng.integers(12, blob.size, 8)
    blob[where] ^= rng.integers(1, 256, where.size, dtype=np.uint8)
    return [with_part(message, 2, blob.tobytes())]


def _wrong_shape(message: WireMessage, _number: int) -> list[WireMessage]:
    cols, rows = json.loads(message.parts[1])["shape"]
    return [with_json(message, 1, shape=[cols + 8, rows])]


def _foreign(message: WireMessage, _number: int) -> list[WireMessage]:
    stray = with_json(message, 0, series=message.series + 1000)
    return [replace(stray, series=message.series), message]


def _zero_header(message: WireMessage, _number: int) -> list[WireMessage]:
    return [with_part(message, 2, bytes(_BLOB_HEADER_BYTES) + message.parts[2][_BLOB_HEADER_BYTES:])]


def _missing_part(message: WireMessage, number: int) -> list[WireMessage]:
    lost = number % 3  # the fourth part, the times, may lack
    return [replace(message, parts=message.parts[:lost] + message.parts[lost + 1 :])]


FRAMES: dict[str, Kind] = {
    "drop": Kind(
        sentence="some frames are never sent; ARG is frames.",
        default="0.1",
        make=on_images(lambda _message, _number: []),
    ),
    "duplicate": Kind(
        sentence="some frames are sent twice; ARG is frames.",
        default="0.1",
        make=on_images(lambda message, _number: [message, message]),
    ),
    "truncate": Kind(
        sentence="the blob of some frames is cut short; ARG is frames.", default="0.1", make=on_images(_truncate)
    ),
    "corrupt": Kind(
        sentence="bytes in the blob of some frames are flipped, the hash is the true one; ARG is frames.",
        default="0.1",
        make=on_images(_corrupt),
    ),
    "empty-hash": Kind(
        sentence="the hash of some frames is empty, as some senders do; ARG is frames.",
        default="1.0",
        make=on_images(lambda message, _number: [with_json(message, 0, hash="")]),
    ),
    "wrong-hash": Kind(
        sentence="the hash of some frames is that of something else; ARG is frames.",
        default="1.0",
        make=on_images(lambda message, _number: [with_json(message, 0, hash="0" * 32)]),
    ),
    "wrong-shape": Kind(
        sentence="some frames announce 8 columns more than the detector has; ARG is frames.",
        default="0.1",
        make=on_images(_wrong_shape),
    ),
    "bad-json": Kind(
        sentence="the second part of some image messages is no JSON; ARG is frames.",
        default="0.1",
        make=on_images(lambda message, _number: [with_part(message, 1, b'{"htype": "dimage_d')]),
    ),
    "foreign": Kind(
        sentence="before some frames comes an image of another series; ARG is frames.",
        default="0.1",
        make=on_images(_foreign),
    ),
    "zero-header": Kind(
        sentence="the 12 bytes before the blocks of some bslz4 blobs are zero; ARG is frames.",
        default="0.1",
        make=on_images(_zero_header),
    ),
    "missing-part": Kind(
        sentence="one of the first three parts of some image messages is not sent; ARG is frames.",
        default="0.1",
        make=on_images(_missing_part),
    ),
}
