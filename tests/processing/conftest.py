"""The test vectors, kept in the tests so that a clean clone has them."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "vectors"


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], list[list[bytes]]]:
    """Read a .msgs container: the messages, each a list of parts."""

    def read(name: str) -> list[list[bytes]]:
        data = (FOLDER / name).read_bytes()
        position = 0

        def word() -> int:
            nonlocal position
            position += 4
            return struct.unpack_from("<I", data, position - 4)[0]

        def part() -> bytes:
            nonlocal position
            length = word()
            position += length
            return data[position - length : position]

        return [[part() for _ in range(word())] for _ in range(word())]

    return read


@pytest.fixture(scope="session")
def vector_folder() -> Path:
    """The folder of the vectors with their manifest."""
    return FOLDER
