"""Read DECTRIS Stream2 messages (CBOR; EIGER2, firmware 2022.1 and later).

Source: DECTRIS stream v2 documentation. Dimensions on this wire are [rows, columns]. Unknown keys are ignored, optional
ones may be missing. All energy channels of an exposure come in one message; one of them is summed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from processing.cbor import Tag, read_map
from processing.decode import decode
from processing.frame import (
    MAX_FRAMES,
    MAX_SERIES,
    PIXEL_TYPES,
    EncodedFrame,
    Message,
    Refusal,
    SeriesEnd,
    SeriesHeader,
)
from processing.header import Count, Finite, Positive, Side, believable_images, believable_shape, read_config
from processing.header_v1 import natural
from processing.typed_array import read_array

_IMAGE_START = b"\x64type\x65image"
_MAX_CHANNELS = 16


class _Start(BaseModel):
    """The start message as far as it is used."""

    model_config = ConfigDict(extra="ignore")
    beam_center_x: Finite | None = None
    beam_center_y: Finite | None = None
    channels: list[str] = []
    count_time: Positive | None = None
    frame_time: Positive | None = None
    detector_translation: tuple[Finite, Finite, Finite] | None = None
    image_dtype: str | None = None
    image_size_x: Side | None = None
    image_size_y: Side | None = None
    incident_energy: Positive | None = None
    incident_wavelength: Positive | None = None
    number_of_images: Count | None = None
    pixel_size_x: Positive | None = None
    saturation_value: Count | None = None


def read_message(
    data: bytes | memoryview, *, channel: str | None = None, channels: Mapping[int, Sequence[str]] | None = None
) -> Message:
    """Turn one message into a typed one; what cannot be read becomes a `Refusal`.

    Parameters
    ----------
    data : bytes-like
        The whole message. The pixels of an image stay a view of it.
    channel : str or None
        The energy channel to take; None: the first one.
    channels : mapping of int to sequence of str, or None
        The detector's channels in its order, by series, as the start messages told them.

    Returns
    -------
    SeriesHeader, EncodedFrame, SeriesEnd or Refusal
    """
    entries, wrong = read_map(data)
    kind = entries.get("type")
    series = natural(entries.get("series_id"), MAX_SERIES)
    if kind == "image" or (kind is None and _IMAGE_START in bytes(data[:24])):
        frame = natural(entries.get("image_id"), MAX_FRAMES - 1)
        found = wrong or _read_image(entries, series, frame, channel, channels or {}, len(data))
        return (
            found if isinstance(found, EncodedFrame) else Refusal(reason=found, series=series, frame=frame, image=True)
        )
    if wrong:
        return Refusal(reason=wrong, series=series)
    if kind not in ("start", "end"):
        return Refusal(reason=f"message must be of type start, image or end, got {kind!r:.40}", series=series)
    if series is None:
        given = entries.get("series_id")
        return Refusal(reason=f"{kind} message must name its series_id, 0 to {MAX_SERIES}, got {given!r:.40}")
    return SeriesEnd(series=series) if kind == "end" else _read_start(entries, series, channel)


def _read_image(
    entries: dict[str, Any],
    series: int | None,
    frame: int | None,
    channel: str | None,
    channels: Mapping[int, Sequence[str]],
    message_bytes: int,
) -> EncodedFrame | str:
    if series is None or frame is None:
        given = f"{entries.get('series_id')!r:.30} and {entries.get('image_id')!r:.30}"
        return f"image must name its series_id and its image_id below {MAX_FRAMES}, got {given}"
    data = entries.get("data")
    if not isinstance(data, dict) or not data:
        return "image must have data of at least one channel"
    wanted = channel or next(iter(channels.get(series) or data))
    if wanted not in data:
        return f"image must hold the channel {wanted!r}, got {_listed(data)}; set stream.channel to one of them"
    array = read_array(data[wanted])
    if isinstance(array, str):
        return f"channel {wanted}: {array}"
    blob = array.blob
    if 2 * len(blob) < message_bytes:  # a view would keep the whole message in memory, other channels and all
        blob = memoryview(bytes(blob))
    return replace(
        array,
        series=series,
        frame=frame,
        channel=wanted,
        blob=blob,
        start_time_ns=_nanoseconds(entries.get("start_time")),
        stop_time_ns=_nanoseconds(entries.get("stop_time")),
        real_time_ns=_nanoseconds(entries.get("real_time")),
    )


def _nanoseconds(rational: Any) -> int:
    """Return a time given as [numerator, denominator] in seconds; 0 where it is none: times decide nothing."""
    match rational:
        case [int() as numerator, int() as denominator] if denominator > 0 <= numerator:
            return min(numerator * 10**9 // denominator, (1 << 63) - 1)
    return 0


def _listed(channels: Any) -> str:
    return ", ".join(f"{name:.40}" for name in list(channels)[:_MAX_CHANNELS])


def _read_start(entries: dict[str, Any], series: int, channel: str | None) -> SeriesHeader:
    start, remarks = read_config(_Start, entries)
    shape = believable_shape(start.image_size_y, start.image_size_x, remarks)
    channels = tuple(start.channels[:_MAX_CHANNELS])
    chosen = channel or (channels[0] if channels else "")
    if channels and chosen not in channels:
        remarks.append(
            f"channel {chosen!r} is not among those of the detector: {_listed(channels)}; "
            "set stream.channel to one of them"
        )
    valid = _valid(entries.get("pixel_mask"), chosen, shape, remarks)
    return SeriesHeader(
        series=series,
        shape=shape if shape or valid is None else (valid.shape[0], valid.shape[1]),
        pixel_type=next((name for name in PIXEL_TYPES if name == start.image_dtype), None),
        images=believable_images(start.number_of_images, remarks),
        beam_center_x=start.beam_center_x,
        beam_center_y=start.beam_center_y,
        count_time_s=start.count_time,
        frame_time_s=start.frame_time,
        photon_energy_ev=start.incident_energy,
        wavelength_m=None if start.incident_wavelength is None else start.incident_wavelength * 1e-10,
        distance_m=_distance(start),
        pixel_size_m=start.pixel_size_x,
        valid=valid,
        count_cutoff=start.saturation_value,
        config=_without_arrays({"description": entries.get("detector_description"), **entries}),
        channels=channels,
        channel=chosen,
        remarks=tuple(remarks),
    )


def _distance(start: _Start) -> float | None:
    """Return how far the detector stands along the beam; the vendor's axis may point either way."""
    along = start.detector_translation[2] if start.detector_translation else 0.0
    return abs(along) or None


def _valid(masks: Any, channel: str, shape: tuple[int, int] | None, remarks: list[str]) -> NDArray[np.bool_] | None:
    """Return True where the vendor's mask of a channel is 0; a mask that cannot be used leaves a remark."""
    if not isinstance(masks, dict) or not masks:
        return None
    found = masks.get(channel, next(iter(masks.values())) if len(masks) == 1 else None)
    if found is None:
        remarks.append(f"pixel mask must be that of channel {channel!r}, got those of {_listed(masks)}; none is used")
        return None
    array = read_array(found)
    if isinstance(array, str):
        remarks.append(f"pixel mask of the header: {array}; it is not used")
        return None
    mask = decode(array, shape or array.shape)
    if isinstance(mask, Refusal):
        remarks.append(f"pixel mask of the header: {mask.reason}; it is not used")
        return None
    return mask == 0


def _without_arrays(value: Any) -> Any:
    """Return the start message as plain values for the result file; bytes and arrays are left out."""
    match value:
        case dict():
            plain = {key: _without_arrays(item) for key, item in value.items()}
            return {key: item for key, item in plain.items() if item is not None}
        case list():
            return [_without_arrays(item) for item in value]
        case Tag(0 | 1, inner):
            return _without_arrays(inner)
        case Tag() | memoryview():
            return None
    return value
