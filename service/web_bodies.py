"""What the bodies of requests say, or a sentence about what they should."""

import json
from collections.abc import Mapping
from typing import TypeGuard

from service.access import Refusal

MAX_SETTINGS = 50


def _json_of(body: bytes) -> object:
    def no_constant(name: str) -> object:
        raise ValueError(f"a number must be finite, got {name}")

    try:
        return json.loads(body, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:120]
        raise Refusal(status=422, sentence=f"the body must be JSON, got something else: {reason}") from None


def _are_settings(changes: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(changes, dict) and 0 < len(changes) <= MAX_SETTINGS


def settings_of(body: bytes) -> Mapping[str, object]:
    """Read `{"section.key": value, ...}`; the limits of the values are the source's business."""
    changes = _json_of(body)
    if not _are_settings(changes):
        raise Refusal(
            status=422,
            sentence=f"the body must be a JSON object of 1 to {MAX_SETTINGS} settings, "
            'such as {"screening.chi2_ratio_max": 1.8}',
        )
    return changes


def cases_of(body: bytes) -> list[Mapping[str, object]]:
    """Read `{"cases": [settings, ...]}`."""
    told = _json_of(body)
    cases = told.get("cases") if isinstance(told, dict) else None
    if not isinstance(cases, list) or not all(map(_are_settings, cases)):
        raise Refusal(
            status=422,
            sentence="the body must be a JSON object with a list of settings to try, "
            'such as {"cases": [{"screening.chi2_ratio_max": 1.8}]}',
        )
    return cases


def mark_of(body: bytes) -> tuple[list[int], bool]:
    """Read `{"frames": [numbers], "out": true}`."""
    told = _json_of(body)
    frames = told.get("frames") if isinstance(told, dict) else None
    out = told.get("out") if isinstance(told, dict) else None
    whole = isinstance(frames, list) and all(type(frame) is int for frame in frames)
    if not whole or not isinstance(frames, list) or not isinstance(out, bool):
        raise Refusal(
            status=422,
            sentence='the body must be a JSON object with the numbers of frames, such as {"frames": [17], "out": true}',
        )
    return frames, out


def text_of(body: bytes) -> str:
    """Read `{"text": words}`."""
    told = _json_of(body)
    text = told.get("text") if isinstance(told, dict) else None
    if not isinstance(text, str):
        raise Refusal(status=422, sentence='the body must be a JSON object with a text, such as {"text": "lens moved"}')
    return text
