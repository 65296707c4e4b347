"""Read DECTRIS stream v1 ("legacy", EIGER X) multipart messages.

Source: DECTRIS SIMPLON API reference 1.6, "stream interface". Shapes on this wire are [width, height]. Real senders
differ from that text: what can be read safely is read, the rest is refused with a reason.
"""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from processing.frame import (
    MAX_FRAMES,
    MAX_SERIES,
    EncodedFrame,
    Message,
    PixelType,
    Refusal,
    SeriesEnd,
    why_not_shape,
)
from processing.header import what_is_wrong
from processing.header_v1 import HeaderParts, Part, natural, read_json

_MAX_HEAD_BYTES = 4096
_HTYPE = re.compile(rb'"htype"\s*:\s*"([a-z_]{1,32})')
_HEADS = ("dheader", "dimage", "dseries_end")
_BEFORE_BLOB = ("dimage_d", "flatfield", "pixelmask", "countrate")
_MAX_TIME_NS = (1 << 63) - 1


class _ImageDataPart(BaseModel):
    model_config = ConfigDict(extra="ignore")
    shape: list[int] = Field(min_length=2, max_length=3)
    type: PixelType
    encoding: str = Field(max_length=32)
    size: int | None = Field(default=None, ge=0)


def split(parts: Sequence[Part]) -> list[Sequence[Part]]:
    """Cut a multipart message where another message begins: some senders put all they have into one."""
    starts, blob_next = [0], False
    for index, part in enumerate(parts):
        kind = "" if blob_next else _kind(part)
        if index and kind in _HEADS:
            starts.append(index)
        blob_next = any(word in kind for word in _BEFORE_BLOB)
    return [parts[start:stop] for start, stop in zip(starts, [*starts[1:], len(parts)], strict=True)]


def _kind(part: Part) -> str:
    """Return the letters of a part's htype without its version, without parsing the part."""
    if len(part) > _MAX_HEAD_BYTES or not len(part) or part[0] != ord("{"):
        return ""
    found = _HTYPE.search(part)
    return found[1].decode() if found else ""


def read_message(parts: Sequence[Part]) -> Message:
    """Turn one multipart message into a typed one; what cannot be read becomes a `Refusal`.

    Parameters
    ----------
    parts : sequence of bytes
        The parts of one ZeroMQ message.

    Returns
    -------
    SeriesHeader, EncodedFrame, SeriesEnd or Refusal
    """
    message = read_parts(parts)
    return message.header() if isinstance(message, HeaderParts) else message


def read_parts(parts: Sequence[Part]) -> EncodedFrame | SeriesEnd | Refusal | HeaderParts:
    """Do as `read_message`, but leave a header open for parts that may follow on their own."""
    if not parts:
        return Refusal(reason="message has no parts")
    first = read_json(parts[0])
    if first is None:
        image = len(parts) > 2 and _kind(parts[1]) == "dimage_d"
        return Refusal(
            reason="first part of the message is not a JSON object; is the sender a DECTRIS stream?", image=image
        )
    kind = str(first.get("htype", ""))
    if kind.startswith("dimage-"):
        return _read_image(first, parts)
    if kind.startswith("dheader-"):
        return _read_header(first, parts)
    if kind.startswith("dseries_end-"):
        return _read_end(first)
    return Refusal(
        reason=f"message must be a dheader, dimage or dseries_end, got htype {kind[:40]!r}",
        series=natural(first.get("series"), MAX_SERIES),
    )


def _read_end(first: dict[str, Any]) -> SeriesEnd | Refusal:
    series = natural(first.get("series"), MAX_SERIES)
    if series is None and first.get("series") is not None:
        return Refusal(reason=f"end message must name its series as an integer, got {first['series']!r:.40}")
    return SeriesEnd(series=series)


def _read_header(first: dict[str, Any], parts: Sequence[Part]) -> HeaderParts | Refusal:
    header = HeaderParts(first)
    if header.series is None:
        return Refusal(
            reason=f"header must name its series as an integer up to {MAX_SERIES}, got {first.get('series')!r:.40}"
        )
    for part in parts[1:]:
        header.add(part)
    return header


def _read_image(first: dict[str, Any], parts: Sequence[Part]) -> EncodedFrame | Refusal:
    series, number = natural(first.get("series"), MAX_SERIES), natural(first.get("frame"), MAX_FRAMES - 1)

    def refuse(reason: str) -> Refusal:
        return Refusal(reason=reason, series=series, frame=number, image=True)

    if series is None and first.get("series") is not None:
        return refuse(f"image must name its series as an integer up to {MAX_SERIES}, got {first['series']!r:.40}")
    if number is None:
        return refuse(f"image must name its frame, 0 to {MAX_FRAMES - 1}, got {first.get('frame')!r:.40}")
    if len(parts) < 3:
        return refuse(f"image message must have at least 3 parts, got {len(parts)}")
    second = read_json(parts[1])
    if second is None or not str(second.get("htype", "")).startswith("dimage_d"):
        return refuse("second part of the image message is not a dimage_d object")
    try:
        data = _ImageDataPart(**second)
    except ValidationError as error:
        return refuse(f"image message: {what_is_wrong(error)}")
    blob = parts[2]
    if data.size is not None and data.size != len(blob):
        return refuse(f"data blob must have the announced {data.size} bytes, got {len(blob)}; it was cut on its way")
    if len(data.shape) == 3 and data.shape[2] != 1:
        return refuse(f"image must hold one frame, got shape {data.shape}")
    width, height = data.shape[:2]
    reason = why_not_shape(height, width)
    if reason:
        return refuse(reason)
    start, stop, real = _times(parts)
    digest = first.get("hash")
    return EncodedFrame(
        series=series,
        frame=number,
        shape=(height, width),
        pixel_type=data.type,
        encoding=data.encoding,
        blob=blob,
        md5=digest if isinstance(digest, str) else "",
        start_time_ns=start,
        stop_time_ns=stop,
        real_time_ns=real,
    )


def _times(parts: Sequence[Part]) -> tuple[int, int, int]:
    """Return start, stop and real time in ns; 0 where they are missing or make no sense: they decide nothing."""
    told = (read_json(parts[3]) if len(parts) > 3 else None) or {}
    start, stop, real = (natural(told.get(f"{name}_time"), _MAX_TIME_NS) or 0 for name in ("start", "stop", "real"))
    return start, stop, real
