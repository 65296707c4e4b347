"""A checkpoint of a series: one checksummed file with everything, never torn, two generations.

The file is written aside, synced and renamed; the one before it stays as `<name>.before`. Layout: eight bytes that
name the format, the length of the description, the description (JSON) with its CRC-32, then the arrays one after the
other, each with its CRC-32 in the description. Integers are stored in the smallest type that holds them.
"""

import contextlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from service.whole_file import aside_of, written_whole

_MAGIC = b"XEDMCP1\n"
_START = struct.Struct("<8sIIQ")  # magic, length and CRC-32 of the description, length of the file
_MAX_DESCRIPTION = 256 << 20
_BEFORE = ".before"


class DamagedCheckpointError(Exception):
    """A checkpoint that cannot be believed; the text says why."""


Arrays = Mapping[str, NDArray[Any]]


def write_checkpoint(path: Path, facts: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a checkpoint; the one of that name becomes the generation before.

    Parameters
    ----------
    path : Path
    facts : dict
        What JSON can hold.
    arrays : dict of str to ndarray
        Any shape; boolean, integer or float.

    Raises
    ------
    OSError
        When the disk refuses; both generations are as they were.
    """
    stored = {name: _narrow(array) for name, array in arrays.items()}
    described = {
        name: {
            "type": arrays[name].dtype.str,
            "stored": part.dtype.str,
            "shape": list(part.shape),
            "bytes": part.nbytes,
            "crc": isal_zlib.crc32(_bytes(part)),
        }
        for name, part in stored.items()
    }
    text = json.dumps({"facts": facts, "arrays": described}).encode()
    length = _START.size + len(text) + sum(part.nbytes for part in stored.values())
    with written_whole(path, before=generation_before(path)) as file:
        file.write(_START.pack(_MAGIC, len(text), isal_zlib.crc32(text), length))
        file.write(text)
        for part in stored.values():
            file.write(_bytes(part))


def generation_before(path: Path) -> Path:
    """Return the name of the older generation of a checkpoint."""
    return path.with_name(path.name + _BEFORE)


def remove_checkpoints(path: Path) -> None:
    """Remove both generations and what a killed writer left."""
    for name in (path, generation_before(path), aside_of(path)):
        with contextlib.suppress(OSError):
            name.unlink()


def read_newest(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]], list[str]] | None:
    """Return facts and arrays of the newest generation that is whole, and what is wrong with newer ones; None: none.

    Parameters
    ----------
    path : Path
        Name of the newest generation.
    """
    troubles: list[str] = []
    for name in (path, generation_before(path)):
        try:
            facts, arrays = read_checkpoint(name)
        except FileNotFoundError:
            continue
        except (DamagedCheckpointError, OSError) as error:
            troubles.append(f"checkpoint {name} cannot be used: {error}")
            continue
        return facts, arrays, troubles
    return None


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read one file whole.

    Raises
    ------
    DamagedCheckpointError
        When anything in it does not fit its checksum.
    OSError
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(_START.size)
        if len(start) < _START.size:
            raise DamagedCheckpointError(f"it must have at least {_START.size} bytes, got {len(start)}")
        magic, length, crc, whole = _START.unpack(start)
        if magic != _MAGIC or whole != size or length > min(size, _MAX_DESCRIPTION):
            raise DamagedCheckpointError(f"it must be a checkpoint of {whole} bytes, got {size} bytes")
        text = file.read(length)
        if isal_zlib.crc32(text) != crc:
            raise DamagedCheckpointError("its description does not fit its checksum")
        described = json.loads(text)
        arrays = {name: _read_array(file, name, entry, size) for name, entry in described["arrays"].items()}
    return described["facts"], arrays


def _read_array(file: Any, name: str, entry: Mapping[str, Any], size: int) -> NDArray[Any]:
    if entry["bytes"] > size:
        raise DamagedCheckpointError(f"array {name} must fit the file of {size} bytes, got {entry['bytes']}")
    part = np.empty(entry["bytes"], np.uint8)
    if file.readinto(part) != part.size or isal_zlib.crc32(part) != entry["crc"]:
        raise DamagedCheckpointError(f"array {name} does not fit its checksum")
    return part.view(entry["stored"]).reshape(entry["shape"]).astype(entry["type"], copy=False)


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """Return unsigned integers in the smallest type that holds them; everything else as it is."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind != "u" or array.dtype.itemsize == 1 or not array.size:
        return array
    return array.astype(np.min_scalar_type(int(array.max())), copy=False)


def _bytes(part: NDArray[Any]) -> memoryview:
    return part.reshape(-1).view(np.uint8).data if part.size else memoryview(b"")
