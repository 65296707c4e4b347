"""What all tests share: frames encoded as the detector encodes them, by third-party libraries only."""

import hashlib
import importlib.util
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import bitshuffle
import h5py
import hdf5plugin
import lz4.block
import numpy as np
import pytest

_KEPT: list[object] = []
collect_ignore = [] if importlib.util.find_spec("playwright") else ["page"]
"""What needs packages of a group of its own is not even read without them."""
_VECTORS = Path(__file__).parent / "processing" / "vectors"


@pytest.fixture(scope="session", autouse=True)
def kept_pvs() -> Iterator[None]:
    """Keep every PV to the end: one that is collected while its server still speaks takes the whole process down.

    pyepics clears its subscription then, which the thread of the client library may be in the middle of.
    """
    import epics

    with pytest.MonkeyPatch.context() as patch:
        made = epics.PV.__init__

        def make(self: object, *args: object, **kwargs: object) -> None:
            _KEPT.append(self)
            made(self, *args, **kwargs)

        patch.setattr(epics.PV, "__init__", make)
        yield


def encode(pixels: np.ndarray, encoding: str = "bslz4", block_bytes: int = 8192) -> tuple[str, bytes]:
    """Return the stream's encoding string and the blob."""
    if encoding == "bslz4":
        flat = np.ascontiguousarray(pixels).ravel()
        body = bitshuffle.compress_lz4(flat, block_bytes // pixels.itemsize).tobytes()
        return f"bs{pixels.itemsize * 8}-lz4<", struct.pack(">QI", pixels.nbytes, block_bytes) + body
    if encoding == "lz4":
        return "lz4<", lz4.block.compress(pixels.tobytes(), store_size=False)
    return "<", pixels.tobytes()


def decode_bslz4(blob: bytes, shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Return the pixels as the HDF5 filter sees them."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("data", shape, dtype, chunks=shape, **hdf5plugin.Bitshuffle(cname="lz4"))
        data.id.write_direct_chunk((0, 0), blob)
        return data[()]


def image_parts(pixels: np.ndarray, series: int, frame: int, encoding: str = "bslz4") -> list[bytes]:
    """Return a stream v1 image message; on the wire a shape is [width, height]."""
    name, blob = encode(pixels, encoding)
    first = {"htype": "dimage-1.0", "series": series, "frame": frame, "hash": hashlib.md5(blob).hexdigest()}
    height, width = pixels.shape
    second = {
        "htype": "dimage_d-1.0",
        "shape": [width, height],
        "type": pixels.dtype.name,
        "encoding": name,
        "size": len(blob),
    }
    third = {"htype": "dconfig-1.0", "start_time": 0, "stop_time": 10**9, "real_time": 10**9}
    return [json.dumps(first).encode(), json.dumps(second).encode(), blob, json.dumps(third).encode()]


def header_parts(series: int, shape: tuple[int, int], *, nimages: int = 1, ntrigger: int, **config) -> list[bytes]:
    """Return a stream v1 header message with detail "basic"."""
    height, width = shape
    first = {"htype": "dheader-1.0", "series": series, "header_detail": "basic"}
    second = {
        "nimages": nimages,
        "ntrigger": ntrigger,
        "trigger_mode": "ints",
        "bit_depth_image": 32,
        "beam_center_x": (width - 1) / 2,
        "beam_center_y": (height - 1) / 2,
        "count_time": 1.0,
        "frame_time": 1.0,
        "photon_energy": 8821.0,
        "wavelength": 1.40556,
        "detector_distance": 2.08,
        "x_pixel_size": 75e-6,
        "x_pixels_in_detector": width,
        "y_pixels_in_detector": height,
        "description": "Dectris Eiger",
        **config,
    }
    return [json.dumps(first).encode(), json.dumps(second).encode()]


def end_parts(series: int) -> list[bytes]:
    """Return a stream v1 end message."""
    return [json.dumps({"htype": "dseries_end-1.0", "series": series}).encode()]


class Wire:
    """The functions above, as a fixture, since tests are not a package."""

    encode = staticmethod(encode)
    decode_bslz4 = staticmethod(decode_bslz4)
    image = staticmethod(image_parts)
    header = staticmethod(header_parts)
    end = staticmethod(end_parts)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files first that run whole scans: the other worker does the many quick ones meanwhile."""
    long = (
        "test_whole_way.py",
        "test_catalog.py",
        "test_ensemble_scan.py",
        "test_interruptions.py",
        "test_session.py",
        "test_reconstruct.py",
    )
    items.sort(key=lambda item: long.index(item.path.name) if item.path.name in long else len(long))
    if "ophyd" in sys.modules:
        _teach_fakes()


def _teach_fakes() -> None:
    """Let ophyd's `make_fake_device` replace our own kinds of signals too; it knows only its own."""
    from ophyd.sim import FakeEpicsSignal, FakeEpicsSignalRO, fake_device_cache

    from devices.guarded import GuardedSignal, StateSignal
    from devices.live_result import Threshold

    fake_device_cache.update(
        {GuardedSignal: FakeEpicsSignal, Threshold: FakeEpicsSignal, StateSignal: FakeEpicsSignalRO}
    )


class ReservedPort:
    """A TCP and UDP port of loopback that nobody else takes until it is given free."""

    def __init__(self) -> None:
        while True:
            self._sockets = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
            self._sockets[0].bind(("127.0.0.1", 0))
            self.number = int(self._sockets[0].getsockname()[1])
            try:
                self._sockets[1].bind(("127.0.0.1", self.number))
            except OSError:
                self.give_free()
            else:
                return

    def give_free(self) -> None:
        """Let somebody else have it."""
        for held in self._sockets:
            held.close()


@pytest.fixture(scope="session")
def c_ioc_port() -> Iterator[ReservedPort]:
    """Reserve the port of the C IOC of tests/devices."""
    port = ReservedPort()
    yield port
    port.give_free()


@pytest.fixture(scope="session")
def xedm_beamline(xedm_beamline, c_ioc_port):
    """The simulated beamline; clients also look at the port where a C IOC may come later in the session.

    The client library reads its settings once, so the port must be among them before the first PV.
    """
    os.environ["EPICS_CA_ADDR_LIST"] += f" 127.0.0.1:{c_ioc_port.number}"
    return xedm_beamline


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    """Encoders of stream v1 messages."""
    return Wire


@pytest.fixture(scope="session")
def captured() -> Callable[[str], Path]:
    """Give the path of a file of the captured EIGER2 16M data that the package tickit-devices ships."""
    from importlib.metadata import distribution

    files = distribution("tickit-devices").files or []

    def find(name: str) -> Path:
        return Path(str(next(file.locate() for file in files if file.name == name)))

    return find


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], list[list[bytes]]]:
    """Read a .msgs container: the messages, each a list of parts."""

    def read(name: str) -> list[list[bytes]]:
        data = (_VECTORS / name).read_bytes()
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
    return _VECTORS
