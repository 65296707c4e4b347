"""The header of a stream v1 series, collected from its parts (DECTRIS SIMPLON API reference 1.6).

The parts come as one message or, from some senders, one by one.
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from processing.frame import MAX_PIXELS, MAX_SERIES, PIXEL_TYPES, SeriesHeader
from processing.header import Count, Finite, Positive, Side, believable_images, believable_shape, read_config

Part = bytes | memoryview

_MAX_JSON_BYTES = 1 << 20
_TABLES = ("flatfield", "pixelmask", "countrate")


class Config(BaseModel):
    """The detector's configuration as far as it is used."""

    model_config = ConfigDict(extra="ignore")
    beam_center_x: Finite | None = None
    beam_center_y: Finite | None = None
    bit_depth_image: int | None = None
    count_time: Positive | None = None
    frame_time: Positive | None = None
    photon_energy: Positive | None = None
    wavelength: Positive | None = None
    detector_distance: Positive | None = None
    x_pixel_size: Positive | None = None
    nimages: Count | None = None
    ntrigger: Count | None = None
    trigger_mode: str = "ints"
    countrate_correction_count_cutoff: Count | None = None
    x_pixels_in_detector: Side | None = None
    y_pixels_in_detector: Side | None = None


def read_json(part: Part) -> dict[str, Any] | None:
    """Return the JSON object of a part, None when it is none."""
    if len(part) > _MAX_JSON_BYTES:
        return None
    try:
        value = json.loads(bytes(part))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def natural(value: object, limit: int) -> int | None:
    """Return a JSON number that is a whole one from 0 to `limit`, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit else None


class HeaderParts:
    """Collects the parts of one header.

    Parameters
    ----------
    first : dict
        The `dheader` object.

    Attributes
    ----------
    series : int or None
        None when the header does not name its series properly.
    """

    def __init__(self, first: dict[str, Any]) -> None:
        self.series = natural(first.get("series"), MAX_SERIES)
        self._without_config = first.get("header_detail") == "none"
        self._raw: dict[str, Any] | None = None
        self._mask: NDArray[np.bool_] | None = None
        self._appendix: bytes | None = None
        self._table: dict[str, Any] | None = None
        self._mask_remark = ""

    @property
    def known(self) -> tuple[bool, bool]:
        """Whether the configuration and the mask have come."""
        return self._raw is not None, self._mask is not None

    def claims(self, part: Part) -> bool:
        """Whether a part that comes on its own is one of this header's."""
        if self._table is not None:
            shape = _table_shape(self._table)
            if shape and len(part) == 4 * shape[0] * shape[1]:
                return True
            self._table = None  # its blob did not come
        found = read_json(part)
        return found is not None and (self._is_config(found) or _is_table(found))

    def add(self, part: Part) -> None:
        """Take the next part; one that is nothing else is the user's appendix."""
        if self._table is not None:
            table, self._table = self._table, None
            if "pixelmask" in str(table["htype"]):
                self._take_mask(table, part)
            return
        found = read_json(part)
        if found is not None and _is_table(found):
            self._table = found
        elif found is not None and self._is_config(found):
            self._raw = found
        elif self._appendix is None and len(part) <= _MAX_JSON_BYTES:
            self._appendix = bytes(part)

    def _is_config(self, found: dict[str, Any]) -> bool:
        """A configuration has no htype; an appendix in JSON behind a header without detail may look the same."""
        if "htype" in found or self._raw is not None:
            return False
        return not self._without_config or not Config.model_fields.keys().isdisjoint(found)

    def _take_mask(self, table: dict[str, Any], blob: Part) -> None:
        shape = _table_shape(table)
        if shape and table.get("type") == "uint32" and len(blob) == 4 * shape[0] * shape[1]:
            self._mask = np.frombuffer(blob, "<u4").reshape(shape) == 0
        else:
            self._mask_remark = f"pixel mask must have the bytes it announces, got {len(blob)}; it is not used"

    def header(self, *, completes: bool = False) -> SeriesHeader:
        """Return what is known so far, in SI units."""
        raw = self._raw or {}
        config, remarks = read_config(Config, raw)
        shape = believable_shape(config.y_pixels_in_detector, config.x_pixels_in_detector, remarks)
        valid = self._mask
        if valid is not None and shape is None:
            shape = (valid.shape[0], valid.shape[1])
        if valid is not None and valid.shape != shape:
            rows, cols = valid.shape
            remarks.append(f"pixel mask must have the detector's size, got {cols} x {rows}; it is not used")
            valid = None
        if self._mask_remark:
            remarks.append(self._mask_remark)
        return SeriesHeader(
            series=self.series or 0,
            shape=shape,
            pixel_type=next((name for name in PIXEL_TYPES if name == f"uint{config.bit_depth_image}"), None),
            images=believable_images(_images(config), remarks),
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
            appendix=self._appendix,
            remarks=tuple(remarks),
            completes=completes,
        )


def _is_table(found: dict[str, Any]) -> bool:
    kind = found.get("htype")
    return isinstance(kind, str) and any(word in kind for word in _TABLES)


def _table_shape(table: dict[str, Any]) -> tuple[int, int] | None:
    """Return (rows, columns) of a table of 4-byte values, None where its shape is none."""
    shape = table.get("shape")
    if not isinstance(shape, list) or len(shape) != 2:
        return None
    width, height = (natural(side, MAX_PIXELS) for side in shape)
    return (height, width) if width and height else None


def _images(config: Config) -> int | None:
    if config.nimages is None:
        return None
    per_trigger = 1 if config.trigger_mode in ("inte", "exte") else config.nimages
    return per_trigger * (config.ntrigger if config.ntrigger is not None else 1)
