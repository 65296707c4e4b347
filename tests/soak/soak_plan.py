"""What goes wrong in each series of the soak, and when: all of it follows from the seed and the series' number."""

from dataclasses import dataclass

import numpy as np

BLOCK = 12
_WITHOUT_SPOOL = (4, 5, 10, 11)
_RESTARTS_FROM = 6
_SPARED = 20
"""First frames that no damage hits: until a hash has matched its bytes, nobody knows what a hash is worth."""
PLACE = ("disk-full", "folder-away", "stopped", "deaf-viewers", "imaging-killed", "steered", "second-service")
RESTARTS = ("kill", "terminate")
ON_FRAMES = (
    "drop",
    "duplicate",
    "reorder",
    "truncate",
    "corrupt",
    "empty-hash",
    "wrong-hash",
    "wrong-shape",
    "bad-json",
    "foreign",
    "zero-header",
    "missing-part",
)
PLAIN = ("second-receiver", "no-header", "no-end", "two-ends", "replay", "lone-config")
STREAM = (
    *ON_FRAMES,
    *PLAIN,
    "late-header",
    "early-end",
    "end-first",
    "restart",
    "missing-header-part",
    "clock-jump",
    "stall",
)
"""All but `interleave`, which needs two series at one sender."""
_TABLES = (2, 3, 6, 7)
"""Parts of the header that do not change what is summed: flat field and count-rate table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFault:
    """One fault of the place: its name, when (part of the series' time), and for how many seconds."""

    name: str
    at: float
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One series of the soak."""

    number: int
    frames: int
    rate: float
    spool: bool
    stream: tuple[str, ...]
    place: tuple[PlaceFault, ...]

    def text(self) -> str:
        """Everything that goes wrong, on one line."""
        places = [f"{one.name} at {one.at:.2f} for {one.for_s:.1f} s" for one in self.place]
        return f"{self.frames} frames, spool {'on' if self.spool else 'off'}: " + ", ".join(
            [_short(spec) for spec in self.stream] + places
        )


def _short(spec: str) -> str:
    return spec if len(spec) < 60 else spec[:57] + "..."


def plan_of(seed: int, number: int, rate: float) -> Plan:
    """Draw the plan of a series (numbers from 1)."""
    rng = np.random.default_rng([seed, number])
    frames, place_in_block = int(rng.integers(1500, 3001)), (number - 1) % BLOCK
    restarts = place_in_block >= _RESTARTS_FROM
    wanted = int(rng.integers(2, 5))
    names: list[str] = []
    while len(names) < wanted:
        pool = [STREAM, PLACE, RESTARTS][int(rng.choice(3, p=[0.45, 0.25, 0.3] if restarts else [0.55, 0.45, 0.0]))]
        name = str(rng.choice(pool))
        if (name not in names or name == "kill") and ("no-header" not in (name, *names) or name in STREAM):
            names.append(name)
    return Plan(
        number=number,
        frames=frames,
        rate=rate,
        spool=place_in_block not in _WITHOUT_SPOOL,
        stream=tuple(_stream(name, frames, rng) for name in names if name in STREAM),
        place=_in_time(rng, [name for name in names if name not in STREAM], frames / rate),
    )


def _stream(name: str, frames: int, rng: np.random.Generator) -> str:
    if name in ON_FRAMES:
        hit = rng.choice(np.arange(_SPARED, frames - 1), int(rng.integers(1, 40)), replace=False)
        return f"{name}:" + ",".join(str(one) for one in sorted(hit.tolist()))
    argument = {
        "late-header": f"{rng.integers(1, 12)}",
        "end-first": f"{rng.integers(1, 50)}",
        "restart": f"{rng.integers(1, frames)}",
        "missing-header-part": f"{rng.choice(_TABLES)}",
        "clock-jump": f"{rng.uniform(-4000, 4000):.1f}@{rng.integers(1, frames)}",
        "early-end": f"{rng.integers(frames // 2, frames)}",
        "stall": f"{rng.uniform(1, 22):.1f}@{rng.integers(1, frames)}",
    }.get(name, "")
    return f"{name}:{argument}" if argument else name


def _in_time(rng: np.random.Generator, names: list[str], length_s: float) -> tuple[PlaceFault, ...]:
    """Faults one after the other, in random order, each in a slot of its own."""
    rng.shuffle(names)
    slots = np.linspace(0.1, 0.9, len(names) + 1)
    return tuple(
        PlaceFault(
            name=name,
            at=float(rng.uniform(slots[i], (slots[i] + slots[i + 1]) / 2)),
            for_s=float(rng.uniform(0.5, max(0.6, min(6.0, length_s * (slots[i + 1] - slots[i]) / 2)))),
        )
        for i, name in enumerate(names)
    )
