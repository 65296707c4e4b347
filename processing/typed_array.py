"""Arrays in CBOR: RFC 8746 typed and multi-dimensional arrays, with DECTRIS' tag 56500 for compressed bytes.

Source: DECTRIS stream v2 documentation; RFC 8746. Dimensions are [rows, columns].
"""

from typing import Any

from processing.cbor import Tag
from processing.frame import PIXEL_TYPES, EncodedFrame, why_not_shape

_COLUMN_MAJOR = 1040


def type_of_tag(tag: int) -> tuple[str, str]:
    """Return the NumPy name of a typed array's elements and their byte order, by RFC 8746's bit field ``010fsell``.

    Raises
    ------
    ValueError
        When the tag is no typed array of RFC 8746.
    """
    if not 64 <= tag <= 87 or tag == 76:
        raise ValueError(f"array must have a tag of RFC 8746 from 64 to 87, got {tag}")
    is_float, signed, little, size = tag >> 4 & 1, tag >> 3 & 1, tag >> 2 & 1, tag & 3
    if is_float:
        return f"float{16 << size}", "<" if little else ">"
    return f"{'int' if signed else 'uint'}{8 << size}", "<" if little or not size else ">"


def read_array(value: Any) -> EncodedFrame | str:
    """Read an image or a mask as a frame without series and number; a text says why it is none.

    Parameters
    ----------
    value : object
        As the CBOR reader gives it.
    """
    match value:
        case Tag(40 | 1040 as order, [[*dimensions], Tag(number, inner)]):
            pass
        case _:
            return "array must be a multi-dimensional one (tag 40 or 1040) of a typed one"
    try:
        name, byte_order = type_of_tag(number)
    except ValueError as error:
        return str(error)
    pixel_type = next((known for known in PIXEL_TYPES if known == name), None)
    if pixel_type is None:
        return f"array must hold {', '.join(PIXEL_TYPES)}, got {name}"
    shape = _shape(dimensions)
    if isinstance(shape, str):
        return shape
    codec, blob = _bytes(inner)
    if blob is None:
        return codec
    turned = "T" if order == _COLUMN_MAJOR else ""
    encoding = f"{codec}{byte_order}{turned}"
    return EncodedFrame(series=None, frame=0, shape=shape, pixel_type=pixel_type, encoding=encoding, blob=blob)


def _shape(dimensions: list[Any]) -> tuple[int, int] | str:
    sides = [side for side in dimensions if side != 1] if len(dimensions) > 2 else dimensions
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        return f"array must have two dimensions, got {dimensions!s:.60}"
    rows, cols = sides
    return why_not_shape(rows, cols) or (rows, cols)


def _bytes(value: Any) -> tuple[str, memoryview | None]:
    """Return codec and bytes of a byte string, compressed or not; without bytes the text says why."""
    match value:
        case memoryview():
            return "", value
        case Tag(56500, ["bslz4", int() as item_bytes, memoryview() as blob]):
            return f"bs{8 * item_bytes}-lz4", blob
        case Tag(56500, ["lz4", _, memoryview() as blob]):
            return "lz4hdf5", blob
        case Tag(56500, [str() as algorithm, *_]):
            return f"compression must be bslz4 or lz4, got {algorithm!r:.20}", None
    return "array must hold a byte string, bare or in tag 56500", None
