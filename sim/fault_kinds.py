"""What a fault is, and how one picks its frames and changes a message."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from sim.poisson import frame_key
from sim.wire import WireMessage

Pick = Callable[[int, int], bool]
Act = Callable[[WireMessage], list[WireMessage]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One entry of the registry.

    Attributes
    ----------
    sentence
        For the user.
    default
        The argument used when none is given.
    make
        Makes what stands between the detector and its sender, from the argument and a seed; raises ValueError.
    """

    sentence: str
    default: str
    make: Callable[[str, int], Act]


def leave_alone(message: WireMessage) -> list[WireMessage]:
    """Change nothing."""
    return [message]


def seconds_at_frame(argument: str) -> tuple[float, int]:
    """Seconds and the frame number of ``SECONDS@FRAME``."""
    seconds, _, frame = argument.partition("@")
    return float(seconds), natural(frame)


def positive(argument: str) -> float:
    """Read seconds above 0."""
    seconds = float(argument)
    if not 0.0 < seconds < float("inf"):
        raise ValueError("the time must be above 0 s")
    return seconds


def natural(argument: str) -> int:
    """Read a number from 0."""
    number = int(argument)
    if number < 0:
        raise ValueError("a number must be 0 or more")
    return number


def pick(argument: str, seed: int) -> Pick:
    """Which frames: numbers, or a part of all."""
    if "." in argument:
        part = float(argument)
        if not 0.0 < part <= 1.0:
            raise ValueError("a part must be above 0 and at most 1")
        return lambda series, frame: int(frame_key(seed, series, frame, 77)) < part * 2.0**64
    numbers = {int(number) for number in argument.split(",")}
    return lambda _series, frame: frame in numbers


def on_images(change: Callable[[WireMessage, int], list[WireMessage]]) -> Callable[[str, int], Act]:
    """A fault that changes the chosen images; `change` gets the message and a number drawn for it."""

    def make(argument: str, seed: int) -> Act:
        chosen = pick(argument, seed)

        def act(message: WireMessage) -> list[WireMessage]:
            if message.frame is None or message.kind != "image" or not chosen(message.series, message.frame):
                return [message]
            return change(message, int(frame_key(seed, message.series, message.frame, 78)))

        return act

    return make


def with_part(message: WireMessage, index: int, part: bytes) -> WireMessage:
    """The message with another part."""
    parts = list(message.parts)
    parts[index] = part
    return replace(message, parts=tuple(parts))


def with_json(message: WireMessage, index: int, **values: object) -> WireMessage:
    """The message with other values in a part that is JSON."""
    return with_part(message, index, json.dumps(json.loads(message.parts[index]) | values).encode())
