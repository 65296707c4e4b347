"""Read one CBOR message (RFC 8949) without copying its byte strings, whatever its bytes claim.

Own code and not the library cbor2, for three reasons: a byte string stays a view of the message (8 MB a frame); a
message of millions of tiny items costs the library seconds and hundreds of megabytes, here it is refused after
`MAX_ITEMS`; and of a message damaged in the middle the keys before the damage can still be told, so that the frame
it was can be booked by its number. cbor2 is the reference in the tests.
"""

import struct
from dataclasses import dataclass
from typing import Any

MAX_ITEMS = 100_000
MAX_DEPTH = 32
MAX_TEXT_BYTES = 1 << 20

_SELF_DESCRIBED = 55799
_INDEFINITE = -1
_BREAK = object()
_FLOATS = {25: (struct.Struct(">e"), 2), 26: (struct.Struct(">f"), 4), 27: (struct.Struct(">d"), 8)}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}


class CborError(ValueError):
    """The bytes are not the CBOR they claim to be, or claim too much."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A tagged item whose meaning is left to the reader.

    Attributes
    ----------
    number : int
    value : object
    """

    number: int
    value: Any


def looks_like_cbor(first_byte: int) -> bool:
    """Whether a message starts as a CBOR map does, bare or self-described; JSON never does."""
    return 0xA0 <= first_byte <= 0xBF or first_byte == 0xD9


def read_map(data: bytes | memoryview) -> tuple[dict[str, Any], str]:
    """Read a message that is one map.

    Parameters
    ----------
    data : bytes-like
        The whole message; byte strings in the result are views of it.

    Returns
    -------
    entries : dict
        The map's entries with a text as key. When the message is damaged: those before the damage.
    wrong : str
        What is wrong with the message, empty when nothing is.
    """
    entries: dict[str, Any] = {}
    reader = _Reader(memoryview(data).cast("B"))
    try:
        reader.top_map(entries)
    except CborError as error:
        return entries, str(error)
    return entries, ""


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0
        self._items = 0
        self._text_bytes = 0

    def top_map(self, entries: dict[str, Any]) -> None:
        major, value = self._head()
        while major == 6 and value == _SELF_DESCRIBED:
            major, value = self._head()
        if major != 5:
            raise CborError(f"message must be a CBOR map, got major type {major}")
        self._fill(entries, value, 1)
        if self._at != len(self._data):
            raise CborError(f"message must end with its map, got {len(self._data) - self._at} bytes more")

    def _bytes(self, count: int) -> memoryview:
        stop = self._at + count
        if stop > len(self._data):
            raise CborError(f"item of {count} bytes at byte {self._at} reaches beyond the {len(self._data)} bytes")
        part = self._data[self._at : stop]
        self._at = stop
        return part

    def _head(self) -> tuple[int, int]:
        """Return major type and argument; the argument is -1 for an indefinite length."""
        self._items += 1
        if self._items > MAX_ITEMS:
            raise CborError(f"message must have at most {MAX_ITEMS} items")
        first = self._bytes(1)[0]
        major, short = first >> 5, first & 31
        if short < 24:
            return major, short
        if short < 28 and major != 7:
            return major, int.from_bytes(self._bytes(1 << (short - 24)), "big")
        if short == 31 and major in (2, 3, 4, 5):
            return major, _INDEFINITE
        if major == 7:
            return major, short
        raise CborError(f"item at byte {self._at - 1} has no valid length")

    def _item(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise CborError(f"message must be nested at most {MAX_DEPTH} deep")
        major, value = self._head()
        match major:
            case 0:
                return value
            case 1:
                return -1 - value
            case 2:
                return self._bytes(value) if value >= 0 else memoryview(b"".join(self._chunks(2)))
            case 3:
                return self._text(value)
            case 4:
                return self._list(value, depth + 1)
            case 5:
                entries: dict[str, Any] = {}
                self._fill(entries, value, depth + 1)
                return entries
            case 6:
                inner = self._item(depth + 1)
                if inner is _BREAK:
                    raise CborError(f"tag {value} has no value")
                return inner if value == _SELF_DESCRIBED else Tag(value, inner)
        return self._simple(value)

    def _simple(self, value: int) -> Any:
        if value == 31:
            return _BREAK
        if value in _FLOATS:
            form, size = _FLOATS[value]
            return form.unpack(self._bytes(size))[0]
        if value == 24:
            self._bytes(1)
            return None
        if value > 27:
            raise CborError(f"simple value {value} at byte {self._at - 1} does not exist")
        return _SIMPLE.get(value)

    def _chunks(self, wanted: int) -> list[memoryview]:
        """Return the definite pieces of a string of indefinite length."""
        pieces: list[memoryview] = []
        while True:
            major, value = self._head()
            if major == 7 and value == 31:
                return pieces
            if major != wanted or value < 0:
                raise CborError(f"string at byte {self._at} has a piece that is none")
            pieces.append(self._bytes(value))

    def _text(self, length: int) -> str:
        raw = self._bytes(length) if length >= 0 else memoryview(b"".join(self._chunks(3)))
        self._text_bytes += len(raw)
        if self._text_bytes > MAX_TEXT_BYTES:
            raise CborError(f"texts of a message must have at most {MAX_TEXT_BYTES} bytes")
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError:
            raise CborError(f"text before byte {self._at} is not UTF-8") from None

    def _list(self, length: int, depth: int) -> list[Any]:
        items: list[Any] = []
        while length < 0 or len(items) < length:
            item = self._item(depth)
            if item is _BREAK:
                if length >= 0:
                    raise CborError(f"list of {length} ends after {len(items)}")
                break
            items.append(item)
        return items

    def _fill(self, entries: dict[str, Any], length: int, depth: int) -> None:
        """Read a map. Keys that are no text are read over: the vendor has none, and integers can be made to collide."""
        count = 0
        while length < 0 or count < length:
            key = self._item(depth)
            if key is _BREAK and length < 0:
                return
            value = self._item(depth)
            if key is _BREAK or value is _BREAK:
                raise CborError(f"map ends after {count} entries in the middle of one")
            if isinstance(key, str):
                entries[key] = value
            count += 1
