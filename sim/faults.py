"""Every way the stream can go wrong, by name.

A fault sits between the detector and its sender and turns each message into none, one or several. Which frames it hits
follows from the seed. Where the argument is *frames*: numbers (``3,7``), or a part of all (``0.1``), drawn at random.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from sim.poisson import frame_key
from sim.wire import WireMessage, end_message

Pick = Callable[[int, int], bool]
Act = Callable[[WireMessage], list[WireMessage]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One entry of the registry: a sentence for the user, the argument used when none is given, and the maker."""

    sentence: str
    default: str
    make: Callable[[str, int], Act]


class FaultChain:
    """The faults of one run, applied to every message in the order given.

    Parameters
    ----------
    specs
        ``NAME[:ARG]`` each.
    seed
        Of the run.

    Raises
    ------
    ValueError
        If a name is unknown or an argument cannot be read.
    """

    def __init__(self, specs: Iterable[str] = (), seed: int = 0) -> None:
        self._acts = [_parse(spec, seed + 1000 * i) for i, spec in enumerate(specs)]

    def apply(self, message: WireMessage) -> list[WireMessage]:
        """What goes over the wire instead of `message`."""
        messages = [message]
        for act in self._acts:
            messages = [out for one in messages for out in act(one)]
        return messages


def describe() -> str:
    """One line a fault: name, default argument and what it does."""
    width = max(len(name) for name in KINDS)
    return "\n".join(
        f"{name:<{width}}  {kind.sentence}" + (f" (default {name}:{kind.default})" if kind.default else "")
        for name, kind in KINDS.items()
    )


def _parse(spec: str, seed: int) -> Act:
    name, _, argument = spec.partition(":")
    if name not in KINDS:
        raise ValueError(f"fault must be one of {', '.join(KINDS)}, got {name!r}; --fault help explains them")
    kind = KINDS[name]
    if argument and not kind.default:
        raise ValueError(f"fault {name} takes no argument, got {argument!r}")
    try:
        return kind.make(argument or kind.default, seed)
    except ValueError as error:
        raise ValueError(
            f"argument of fault {name} must look like {kind.default!r}, got {argument!r} ({error}); "
            "--fault help explains it"
        ) from error


def _pick(argument: str, seed: int) -> Pick:
    """Which frames: numbers, or a part of all."""
    if "." in argument:
        part = float(argument)
        if not 0.0 < part <= 1.0:
            raise ValueError("a part must be above 0 and at most 1")
        return lambda series, frame: int(frame_key(seed, series, frame, 77)) < part * 2.0**64
    numbers = {int(number) for number in argument.split(",")}
    return lambda _series, frame: frame in numbers


def _on_images(change: Callable[[WireMessage, int], list[WireMessage]]) -> Callable[[str, int], Act]:
    """A fault that changes the chosen images; `change` gets the message and a number drawn for it."""

    def make(argument: str, seed: int) -> Act:
        pick = _pick(argument, seed)

        def act(message: WireMessage) -> list[WireMessage]:
            if message.frame is None or message.kind != "image" or not pick(message.series, message.frame):
                return [message]
            return change(message, int(frame_key(seed, message.series, message.frame, 78)))

        return act

    return make


def _with_part(message: WireMessage, index: int, part: bytes) -> WireMessage:
    parts = list(message.parts)
    parts[index] = part
    return replace(message, parts=tuple(parts))


def _with_json(message: WireMessage, index: int, **values: object) -> WireMessage:
    return _with_part(message, index, json.dumps(json.loads(message.parts[index]) | values).encode())


def _truncate(message: WireMessage, number: int) -> list[WireMessage]:
    blob = message.parts[2]
    return [_with_part(message, 2, blob[: len(blob) // 4 + number % (len(blob) // 2)])]


def _corrupt(message: WireMessage, number: int) -> list[WireMessage]:
    blob = np.frombuffer(message.parts[2], np.uint8).copy()
    rng = np.random.Generator(np.random.PCG64(number))
    where = rng.integers(12, blob.size, 8)
    blob[where] ^= rng.integers(1, 256, where.size, dtype=np.uint8)
    return [_with_part(message, 2, blob.tobytes())]


def _wrong_shape(message: WireMessage, _number: int) -> list[WireMessage]:
    cols, rows = json.loads(message.parts[1])["shape"]
    return [_with_json(message, 1, shape=[cols + 8, rows])]


def _foreign(message: WireMessage, _number: int) -> list[WireMessage]:
    stray = _with_json(message, 0, series=message.series + 1000)
    return [replace(stray, series=message.series), message]


def _of_kind(kind: str) -> Callable[[str, int], Act]:
    return lambda _argument, _seed: lambda message: [] if message.kind == kind else [message]


def _reorder(argument: str, seed: int) -> Act:
    """Each chosen image comes after its successor (or right before the end)."""
    pick = _pick(argument, seed)
    held: list[WireMessage] = []

    def act(message: WireMessage) -> list[WireMessage]:
        if message.frame is not None and not held and pick(message.series, message.frame):
            held.append(message)
            return []
        late, held[:] = list(held), []
        return [*late, message] if message.kind == "end" else [message, *late]

    return act


def _late_header(argument: str, _seed: int) -> Act:
    after, seen = int(argument), [0]
    held: list[WireMessage] = []

    def act(message: WireMessage) -> list[WireMessage]:
        if message.kind == "header":
            held[:], seen[0] = [message], 0
            return []
        if message.kind == "image":
            seen[0] += 1
        if held and (message.kind == "end" or seen[0] >= after):
            header, held[:] = held[0], []
            return [header, message] if message.kind == "end" else [message, header]
        return [message]

    return act


def _early_end(argument: str, _seed: int) -> Act:
    last = int(argument)
    ended: set[int] = set()

    def act(message: WireMessage) -> list[WireMessage]:
        if message.kind == "header" or message.series not in ended:
            if message.kind == "image" and message.frame is not None and message.frame >= last:
                ended.add(message.series)
                return [message, end_message(message.series)]
            return [message]
        return []

    return act


def _stall(argument: str, _seed: int) -> Act:
    seconds_text, _, frame_text = argument.partition("@")
    seconds, at = float(seconds_text), int(frame_text)
    if seconds <= 0.0:
        raise ValueError("the silence must be above 0 s")

    def act(message: WireMessage) -> list[WireMessage]:
        return [replace(message, wait_s=seconds)] if message.kind == "image" and message.frame == at else [message]

    return act


KINDS: dict[str, Kind] = {
    "drop": Kind(
        sentence="some frames are never sent; ARG is frames.",
        default="0.1",
        make=_on_images(lambda _message, _number: []),
    ),
    "duplicate": Kind(
        sentence="some frames are sent twice; ARG is frames.",
        default="0.1",
        make=_on_images(lambda message, _number: [message, message]),
    ),
    "reorder": Kind(sentence="some frames come after their successor; ARG is frames.", default="0.1", make=_reorder),
    "truncate": Kind(
        sentence="the blob of some frames is cut short; ARG is frames.", default="0.1", make=_on_images(_truncate)
    ),
    "corrupt": Kind(
        sentence="bytes in the blob of some frames are flipped, the hash is the true one; ARG is frames.",
        default="0.1",
        make=_on_images(_corrupt),
    ),
    "empty-hash": Kind(
        sentence="the hash of some frames is empty, as some senders do; ARG is frames.",
        default="1.0",
        make=_on_images(lambda message, _number: [_with_json(message, 0, hash="")]),
    ),
    "wrong-hash": Kind(
        sentence="the hash of some frames is that of something else; ARG is frames.",
        default="1.0",
        make=_on_images(lambda message, _number: [_with_json(message, 0, hash="0" * 32)]),
    ),
    "wrong-shape": Kind(
        sentence="some frames announce 8 columns more than the detector has; ARG is frames.",
        default="0.1",
        make=_on_images(_wrong_shape),
    ),
    "bad-json": Kind(
        sentence="the second part of some image messages is no JSON; ARG is frames.",
        default="0.1",
        make=_on_images(lambda message, _number: [_with_part(message, 1, b'{"htype": "dimage_d')]),
    ),
    "foreign": Kind(
        sentence="before some frames comes an image of another series; ARG is frames.",
        default="0.1",
        make=_on_images(_foreign),
    ),
    "second-receiver": Kind(
        sentence="another receiver takes every other frame.",
        default="",
        make=lambda _argument, _seed: (
            lambda message: [] if message.kind == "image" and (message.frame or 0) % 2 == 1 else [message]
        ),
    ),
    "no-header": Kind(sentence="the header of a series never comes.", default="", make=_of_kind("header")),
    "late-header": Kind(
        sentence="the header comes after the first frames; ARG is how many.", default="2", make=_late_header
    ),
    "no-end": Kind(sentence="the end of a series never comes.", default="", make=_of_kind("end")),
    "early-end": Kind(
        sentence="the series ends on the wire after frame ARG, the rest is never sent.", default="5", make=_early_end
    ),
    "stall": Kind(
        sentence="silence before one frame; ARG is simulated seconds @ frame number.", default="300@5", make=_stall
    ),
}
