"""Faults of a series on the wire: its header, its end, the order of its messages, their times."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from sim.fault_kinds import Act, Kind, natural, pick, seconds_at_frame, with_json
from sim.wire import WireMessage, end_message

_TIMES = 3
"""Part of an image message that holds its times."""


def _of_kind(kind: str) -> Callable[[str, int], Act]:
    return lambda _argument, _seed: lambda message: [] if message.kind == kind else [message]


def _reorder(argument: str, seed: int) -> Act:
    """Each chosen image comes after its successor (or right before the end)."""
    chosen = pick(argument, seed)
    held: list[WireMessage] = []

    def act(message: WireMessage) -> list[WireMessage]:
        if message.frame is not None and not held and chosen(message.series, message.frame):
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
    seconds, at = seconds_at_frame(argument)
    if seconds <= 0.0:
        raise ValueError("the silence must be above 0 s")

    def act(message: WireMessage) -> list[WireMessage]:
        return [replace(message, wait_s=seconds)] if message.kind == "image" and message.frame == at else [message]

    return act


def _two_ends(_argument: str, _seed: int) -> Act:
    return lambda message: [message, message] if message.kind == "end" else [message]


def _end_first(argument: str, _seed: int) -> Act:
    last = natural(argument)
    held: deque[WireMessage] = deque()

    def act(message: WireMessage) -> list[WireMessage]:
        if message.kind == "header":
            left = list(held)
            held.clear()
            return [*left, message]
        if message.kind == "end":
            late = [message, *held]
            held.clear()
            return late
        held.append(message)
        return [held.popleft()] if len(held) > last else []

    return act


def _replay(_argument: str, _seed: int) -> Act:
    sent: list[WireMessage] = []

    def act(message: WireMessage) -> list[WireMessage]:
        if message.kind == "header":
            sent.clear()
        sent.append(message)
        return [message, *sent] if message.kind == "end" else [message]

    return act


def _interleave(argument: str, _seed: int) -> Act:
    """The last frames and the end of a series wait for the next one, and come one by one after its messages."""
    last = natural(argument)
    own: deque[WireMessage] = deque()
    before: deque[WireMessage] = deque()

    def act(message: WireMessage) -> list[WireMessage]:
        if message.kind == "header":
            before.extend(own)
            own.clear()
            return [message]
        late = [before.popleft()] if before and message.kind == "image" else []
        if message.kind == "end":
            late = list(before)
            before.clear()
        own.append(message)
        ready = [own.popleft()] if len([one for one in own if one.kind == "image"]) > last else []
        return [*ready, *late]

    return act


def _restart(argument: str, _seed: int) -> Act:
    at = natural(argument)
    headers: dict[int, WireMessage] = {}

    def act(message: WireMessage) -> list[WireMessage]:
        if message.kind == "header":
            headers[message.series] = message
        again = message.kind == "image" and message.frame == at and message.series in headers
        return [headers[message.series], message] if again else [message]

    return act


def _lone_config(_argument: str, _seed: int) -> Act:
    def act(message: WireMessage) -> list[WireMessage]:
        if message.kind != "header" or len(message.parts) < 2:
            return [message]
        first, config, *rest = message.parts
        return [replace(message, parts=(first, *rest)), replace(message, parts=(config,))]

    return act


def _missing_header_part(argument: str, _seed: int) -> Act:
    lost = natural(argument)
    if lost == 0:
        raise ValueError("the first part is the header itself; count from 1")

    def act(message: WireMessage) -> list[WireMessage]:
        if message.kind != "header":
            return [message]
        return [replace(message, parts=message.parts[:lost] + message.parts[lost + 1 :])]

    return act


def _clock_jump(argument: str, _seed: int) -> Act:
    seconds, at = seconds_at_frame(argument)
    jump_ns = round(seconds * 1e9)

    def act(message: WireMessage) -> list[WireMessage]:
        if message.kind != "image" or message.frame is None or message.frame < at or len(message.parts) <= _TIMES:
            return [message]
        times = json.loads(message.parts[_TIMES])
        moved = {name: times[name] + jump_ns for name in ("start_time", "stop_time")}
        return [with_json(message, _TIMES, **moved)]

    return act


SERIES: dict[str, Kind] = {
    "reorder": Kind(sentence="some frames come after their successor; ARG is frames.", default="0.1", make=_reorder),
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
    "two-ends": Kind(sentence="the end of a series is sent twice.", default="", make=_two_ends),
    "end-first": Kind(
        sentence="the end of a series comes before its last frames; ARG is how many.", default="2", make=_end_first
    ),
    "replay": Kind(sentence="after its end the whole series is sent again.", default="", make=_replay),
    "interleave": Kind(
        sentence="the last frames and the end of a series come among those of the next; ARG is how many frames.",
        default="3",
        make=_interleave,
    ),
    "restart": Kind(sentence="the header of a series comes again before frame ARG.", default="5", make=_restart),
    "lone-config": Kind(
        sentence="the configuration of a series comes after its header, in a message of its own.",
        default="",
        make=_lone_config,
    ),
    "missing-header-part": Kind(
        sentence="one part of the header is not sent; ARG is which, 1 is the configuration.",
        default="1",
        make=_missing_header_part,
    ),
    "clock-jump": Kind(
        sentence="the times of the frames jump; ARG is seconds, also backward, @ frame number.",
        default="-3600@5",
        make=_clock_jump,
    ),
}
