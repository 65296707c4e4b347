"""Read DECTRIS stream v1 ("legacy", EIGER X) multipart messages.

Source: DECTRIS SIMPLON API reference 1.6, "stream interface". Shapes on this wire are [width, height].
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from processing.frame import PIXEL_TYPES, EncodedFrame, Message, PixelType, Refusal, SeriesEnd, SeriesHeader

Part = bytes | memoryview

_MAX_JSON_BYTES = 1 << 20
_MAX_SIDE = 1 << 15


class _ImagePart(BaseModel):
    model_config = ConfigDict(extra="allow")
    series: int | None = Field(default=None, ge=0)
    frame: int = Field(ge=0, lt=1 << 32)
    hash: str = ""


class _ImageDataPart(BaseModel):
    model_config = ConfigDict(extra="allow")
    shape: list[int] = Field(min_length=2, max_length=3)
    type: PixelType
    encoding: str = Field(max_length=32)
    size: int | None = Field(default=None, ge=0)


class _TimesPart(BaseModel):
    model_config = ConfigDict(extra="allow")
    start_time: int = 0
    stop_time: int = 0
    real_time: int = 0


class _Config(BaseModel):
    """The detector's configuration as far as it is used; the rest is kept as it came."""

    model_config = ConfigDict(extra="allow")
    beam_center_x: float | None = None
    beam_center_y: float | None = None
    bit_depth_image: int | None = None
    count_time: float | None = None
    frame_time: float | None = None
    photon_energy: float | None = None
    wavelength: float | None = None
    detector_distance: float | None = None
    x_pixel_size: float | None = None
    nimages: int | None = Field(default=None, ge=0)
    ntrigger: int | None = Field(default=None, ge=0)
    trigger_mode: str = "ints"
    countrate_correction_count_cutoff: int | None = None
    x_pixels_in_detector: int | None = Field(default=None, gt=0, le=_MAX_SIDE)
    y_pixels_in_detector: int | None = Field(default=None, gt=0, le=_MAX_SIDE)


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
    if not parts:
        return Refusal(reason="message has no parts")
    first = _json(parts[0])
    if first is None:
        return Refusal(reason="first part of the message is not a JSON object; is the sender a DECTRIS stream v1?")
    kind = str(first.get("htype", ""))
    if kind.startswith("dimage-"):
        return _read_image(first, parts)
    if kind.startswith("dheader-"):
        return _read_header(first, parts)
    if kind.startswith("dseries_end-"):
        return SeriesEnd(series=_integer(first.get("series")))
    return Refusal(reason=f"message of unknown kind {kind[:40]!r}", series=_integer(first.get("series")))


def _json(part: Part) -> dict[str, Any] | None:
    if len(part) > _MAX_JSON_BYTES:
        return None
    try:
        value = json.loads(bytes(part))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _why(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}, got {first.get('input')!r:.60}"


def _read_image(first: dict[str, Any], parts: Sequence[Part]) -> EncodedFrame | Refusal:
    series, number = _integer(first.get("series")), _integer(first.get("frame"))

    def refuse(reason: str) -> Refusal:
        return Refusal(reason=reason, series=series, frame=number, image=True)

    if len(parts) < 3:
        return refuse(f"image message must have at least 3 parts, got {len(parts)}")
    second = _json(parts[1])
    if second is None or not str(second.get("htype", "")).startswith("dimage_d"):
        return refuse("second part of the image message is not a dimage_d object")
    try:
        image, data = _ImagePart(**first), _ImageDataPart(**second)
        times = _TimesPart(**(_json(parts[3]) or {})) if len(parts) > 3 else _TimesPart()
    except ValidationError as error:
        return refuse(f"image message: {_why(error)}")
    blob = parts[2]
    if data.size is not None and data.size != len(blob):
        return refuse(f"data blob must have the announced {data.size} bytes, got {len(blob)}; it was cut on its way")
    if len(data.shape) == 3 and data.shape[2] != 1:
        return refuse(f"image must hold one frame, got shape {data.shape}")
    width, height = data.shape[:2]
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        return refuse(f"image sides must lie in 1 to {_MAX_SIDE} px, got {width} x {height}")
    return EncodedFrame(
        series=image.series,
        frame=image.frame,
        shape=(height, width),
        pixel_type=data.type,
        encoding=data.encoding,
        blob=blob,
        md5=image.hash,
        start_time_ns=times.start_time,
        stop_time_ns=times.stop_time,
        real_time_ns=times.real_time,
    )


def _read_header(first: dict[str, Any], parts: Sequence[Part]) -> SeriesHeader | Refusal:
    series = _integer(first.get("series"))
    if series is None:
        return Refusal(reason=f"header must name its series as an integer, got {first.get('series')!r:.40}")
    raw: dict[str, Any] = {}
    valid: NDArray[np.bool_] | None = None
    if len(parts) > 1 and (found := _json(parts[1])) is not None and "htype" not in found:
        raw = found
    for index in range(2, len(parts) - 1):
        described = _json(parts[index])
        if described is not None and "pixelmask" in str(described.get("htype", "")):
            valid = _read_mask(described, parts[index + 1])
    try:
        config = _Config(**{str(key): value for key, value in raw.items()})
    except ValidationError as error:
        return Refusal(reason=f"header of series {series}: {_why(error)}", series=series)
    return header_from_config(series, config, raw, valid)


def header_from_config(
    series: int, config: _Config, raw: dict[str, Any], valid: NDArray[np.bool_] | None
) -> SeriesHeader:
    """Build the header from the vendor's configuration keys (SIMPLON names), with SI units."""
    width, height = config.x_pixels_in_detector, config.y_pixels_in_detector
    shape = (height, width) if width and height else None
    if valid is not None and shape is None:
        shape = (valid.shape[0], valid.shape[1])
    if valid is not None and valid.shape != shape:
        valid = None
    images = None
    if config.nimages is not None:
        per_trigger = 1 if config.trigger_mode in ("inte", "exte") else config.nimages
        images = per_trigger * (config.ntrigger if config.ntrigger is not None else 1)
    bits = config.bit_depth_image
    return SeriesHeader(
        series=series,
        shape=shape,
        pixel_type=next((name for name in PIXEL_TYPES if name == f"uint{bits}"), None),
        images=images,
        beam_center_x=config.beam_center_x,
        beam_center_y=config.beam_center_y,
        count_time_s=config.count_time,
        frame_time_s=config.frame_time,
        photon_energy_ev=config.photon_energy,
        wavelength_m=None if config.wavelength is None else config.wavelength * 1e-10,
        distance_m=config.detector_distance,
        pixel_size_m=config.x_pixel_size,
        valid=valid,
        count_cutoff=config.countrate_correction_count_cutoff,
        config=raw,
    )


def _read_mask(described: dict[str, Any], blob: Part) -> NDArray[np.bool_] | None:
    """Return True where the vendor's mask is 0, or None when the part does not hold what it claims."""
    shape = described.get("shape")
    if described.get("type") != "uint32" or not isinstance(shape, list) or len(shape) != 2:
        return None
    width, height = (_integer(side) or 0 for side in shape)
    if width * height * 4 != len(blob) or not width or not height:
        return None
    return np.frombuffer(blob, "<u4").reshape(height, width) == 0
