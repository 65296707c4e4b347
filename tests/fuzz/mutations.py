"""Damage a message in every way bytes can go wrong on their way; the same draws, the same damage."""

import random
import re
from collections.abc import Callable, Sequence

Parts = list[bytes]

_EXTREMES = (0, 1, 7, 8, 255, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
_WORDS = (
    b"0", b"-1", b"1", b"3", b"65535", b"4294967295", b"8388607", b"1e400", b"NaN", b"null", b'"x"', b"[]", b"{}",
    b"true", b"9" * 400, b"0.5", b'"uint64"', b'"uint16"', b'"bs16-lz4<"', b'"lz4<"', b'"lz4hdf5<"', b'"<T"', b'">"',
)  # fmt: skip
_VALUE = re.compile(rb":\s*(\"[^\"]*\"|-?[0-9.]+|\[[^\]]*\])")


def flip_bits(parts: Parts, rng: random.Random) -> Parts:
    """Turn over up to eight bits of one part, half the time near its start, where the lengths are."""

    def flip(part: bytes) -> bytes:
        changed = bytearray(part)
        reach = len(part) if rng.random() < 0.5 else min(len(part), 64)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return _one(parts, rng, flip)


def cut(parts: Parts, rng: random.Random) -> Parts:
    """Lose the end or the start of a part."""

    def shorten(part: bytes) -> bytes:
        at = rng.randrange(len(part))
        return part[:at] if rng.random() < 0.8 else part[at:]

    return _one(parts, rng, shorten)


def lie_about_length(parts: Parts, rng: random.Random) -> Parts:
    """Write an extreme number of 1, 2, 4 or 8 bytes over a place, aligned or right behind a CBOR head."""

    def lie(part: bytes) -> bytes:
        size = rng.choice((1, 2, 4, 8))
        number = rng.choice(_EXTREMES) + rng.choice((0, 0, -1, 1))
        value = (number % (1 << 8 * size)).to_bytes(size, rng.choice(("big", "little")))
        heads = [index + 1 for index, byte in enumerate(part[:400]) if byte & 31 in (24, 25, 26, 27)]
        at = rng.choice(heads) if heads and rng.random() < 0.5 else rng.choice((0, 4, 8, 12, rng.randrange(len(part))))
        return part[:at] + value + part[at + size :]

    return _one(parts, rng, lie)


def swap_value(parts: Parts, rng: random.Random) -> Parts:
    """Put another value into a JSON object."""
    places = [(index, found) for index, part in enumerate(parts) if part[:1] == b"{" for found in _VALUE.finditer(part)]
    if not places:
        return flip_bits(parts, rng)
    index, found = rng.choice(places)
    part = parts[index][: found.start(1)] + rng.choice(_WORDS) + parts[index][found.end(1) :]
    return [*parts[:index], part, *parts[index + 1 :]]


def splice(parts: Parts, other: Parts, rng: random.Random) -> Parts:
    """Join the first parts of one message and the last of another, or put a part of one into the other."""
    if rng.random() < 0.5:
        return parts[: rng.randint(0, len(parts))] + other[rng.randrange(len(other)) :]
    at = rng.randint(0, len(parts))
    return [*parts[:at], rng.choice(other), *parts[at:]]


def graft(parts: Parts, other: Parts, rng: random.Random) -> Parts:
    """Continue one part with the bytes of another."""
    donor = rng.choice(other)
    return _one(parts, rng, lambda part: part[: rng.randrange(len(part) + 1)] + donor[rng.randrange(len(donor) + 1) :])


def rearrange(parts: Parts, rng: random.Random) -> Parts:
    """Lose, repeat or swap parts, or send them one by one too many."""
    index, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    match rng.randrange(4):
        case 0:
            return parts[:index] + parts[index + 1 :]
        case 1:
            return [*parts, parts[index]]
        case 2:
            changed = list(parts)
            changed[index], changed[other] = parts[other], parts[index]
            return changed
    return [parts[index]]


def noise(parts: Parts, rng: random.Random) -> Parts:
    """Put noise, zeros or ones in the place of a part."""
    fill = rng.choice((rng.randbytes, bytes, lambda size: b"\xff" * size))
    return _one(parts, rng, lambda part: fill(rng.choice((0, 1, 12, len(part)))))


def damage(good: Parts, corpus: Sequence[Parts], rng: random.Random) -> Parts:
    """Return a damaged copy of a message.

    Parameters
    ----------
    good : list of bytes
        The parts of the message.
    corpus : sequence of messages
        Others, to take pieces from.
    rng : random.Random
        Decides everything.
    """
    parts = list(good)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        other = rng.choice(corpus)
        act: Callable[[Parts, random.Random], Parts] = rng.choice(
            (
                flip_bits,
                flip_bits,
                cut,
                lie_about_length,
                lie_about_length,
                swap_value,
                swap_value,
                rearrange,
                noise,
                lambda parts, rng, other=other: splice(parts, other, rng),
                lambda parts, rng, other=other: graft(parts, other, rng),
            )
        )
        parts = act(parts, rng) or [b""]
    return parts


def _one(parts: Parts, rng: random.Random, change: Callable[[bytes], bytes]) -> Parts:
    """Change one part that is not empty; short parts, the ones that are read first, as often as long ones."""
    full = [index for index, part in enumerate(parts) if part]
    if not full:
        return parts
    index = rng.choice(full)
    return [*parts[:index], change(parts[index]), *parts[index + 1 :]]
