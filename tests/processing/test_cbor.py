import time

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.cbor import Tag, looks_like_cbor, read_map

ITEMS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=30)
        | st.dictionaries(st.text(max_size=9), inner, max_size=9)
        | st.tuples(st.integers(60, 90) | st.just(56500), inner).map(lambda pair: cbor2.CBORTag(*pair))
    ),
    max_leaves=40,
)


def plain(item):
    """Bring both readers' results to one form."""
    match item:
        case memoryview():
            return bytes(item)
        case Tag(number, value) | cbor2.CBORTag(tag=number, value=value):
            return ("tag", number, plain(value))
        case list() | tuple():
            return [plain(value) for value in item]
        case dict() | cbor2.frozendict():
            return {key: plain(value) for key, value in item.items()}
    return item


@settings(max_examples=60, deadline=None)
@given(message=st.dictionaries(st.text(max_size=9), ITEMS, max_size=9), indefinite=st.booleans(), wrapped=st.booleans())
def test_a_message_reads_as_with_the_reference_library(message, indefinite, wrapped):
    data = cbor2.dumps(message, indefinite_containers=indefinite)
    entries, wrong = read_map(b"\xd9\xd9\xf7" + data if wrapped else data)
    assert wrong == ""
    assert plain(entries) == plain(cbor2.loads(data))


def test_a_byte_string_is_a_view_of_the_message():
    data = cbor2.dumps({"blob": b"12345678"})
    assert read_map(data)[0]["blob"].obj is data


def test_strings_in_pieces_are_joined():
    entries, wrong = read_map(bytes.fromhex("a2 6161 5f 42 0102 41 03 ff 6162 7f 61 78 61 79 ff"))
    assert wrong == ""
    assert entries["a"] == b"\x01\x02\x03"
    assert entries["b"] == "xy"


def test_of_a_damaged_message_the_keys_before_the_damage_are_told():
    data = cbor2.dumps({"type": "image", "series_id": 5, "image_id": 9, "data": bytes(1000)})
    entries, wrong = read_map(data[:500])
    assert entries == {"type": "image", "series_id": 5, "image_id": 9}
    assert "beyond the 500 bytes" in wrong


def big(count, size=8):
    return count.to_bytes(size, "big")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "beyond"),
        (b"\xa1\x61a" + b"\x81" * 100_000, "deep"),
        (b"\xa1\x61a" + b"\xc6" * 100_000, "deep"),
        (b"\xd9\xd9\xf7" * 200_000, "items"),
        (b"\xa1\x61a\x5b" + big(1 << 60), "beyond"),
        (b"\xa1\x61a\x7b" + big(1 << 60), "beyond"),
        (b"\xa1\x61a\x9b" + big(1 << 60) + b"\x00", "beyond"),
        (b"\xbb" + big(1 << 60) + b"\x00", "beyond"),
        (b"\xa1\x61a\x9a" + big(8_000_000, 4) + b"\x80" * 8_000_000, "items"),
        (b"\xa1\x61a\x9f" + b"\xa0" * 8_000_000, "items"),
        (b"\xa1\x61a\x5f" + b"\x40" * 8_000_000, "items"),
        (b"\xa1\x61a\x7a" + big(2_000_000, 4) + b"a" * 2_000_000, "texts"),
        (b"\xa1\x61a\x61\xff", "UTF-8"),
        (b"\xa1\x61a\xff", "middle"),
        (b"\xa1\x61a\x82\x00\xff", "ends after 1"),
        (b"\xa1\x61a\xc1\xff", "no value"),
        (b"\xa1\x61a\x5f\x61a\xff", "piece"),
        (b"\xa1\x61a\x1c", "valid length"),
        (b"\xa1\x61a\xfc", "does not exist"),
        (b"\xa1\x61a\x00\x00", "1 bytes more"),
        (b"\x80", "must be a CBOR map"),
    ],
)
def test_hostile_bytes_are_refused_quickly(data, words):
    started = time.thread_time()
    assert words in read_map(data)[1]
    assert time.thread_time() - started < 1.0


def test_keys_that_are_no_text_are_read_over():
    step = (1 << 61) - 1  # integers that would collide in a table of Python
    data = b"\xb9" + big(20_001, 2) + b"".join(b"\x1b" + big((step * n) % 2**64) + b"\x00" for n in range(20_000))
    started = time.thread_time()
    assert read_map(data + cbor2.dumps("type") + cbor2.dumps("end"))[0] == {"type": "end"}
    assert time.thread_time() - started < 1.0


def test_json_is_told_from_cbor_by_its_first_byte():
    assert not any(looks_like_cbor(byte) for byte in b'{[" \n\t')
    assert all(looks_like_cbor(cbor2.dumps(cbor2.CBORTag(55799, {"a": 1}))[i]) for i in (0, 3))
