"""Our kernel against what users would take instead, in one run, interleaved, on one core.

    python tests/benchmarks/bench_kernel.py [--rounds 9] [--frames 3] [--levels dense] [--types uint32]

A route is everything from the compressed bytes to mask, total, chi^2 of the ring and the running sum;
ours decides before it adds. Medians; times depend on the machine, so judge by the ratios. The last line is JSON.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # bitshuffle would use all cores

import argparse
import ctypes
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import bitshuffle
import frames
import h5py
import hdf5plugin
import lz4.block
import numba
import numpy as np
from dectris.compression import decompress
from frames import BLOCK, CENTER, LEVELS

from processing.bitplane import FrameScorer, PlaneSpill
from processing.lz4_planes import decode_block, repeat_table
from processing.memory_words import address_of
from processing.plane_layout import PlaneLayout, lanes
from processing.plane_sum import AT_ONCE, PlaneSum
from processing.screen import ring_pixels

try:  # not among our dependencies: measured where it is installed
    import bslz4_to_sparse
except ImportError:
    bslz4_to_sparse = None


@numba.njit(nogil=True)
def _fused(pixels, valid, limit, total):
    found = np.uint64(0)
    for i in range(pixels.size):
        value = pixels[i]
        if value < limit and valid[i]:
            found += np.uint64(value)
            total[i] += np.uint32(value)
    return found


@numba.njit(nogil=True)
def _sparse_add(values, where, count, limit, total):
    found = np.uint64(0)
    for i in range(count):
        if values[i] < limit:
            found += np.uint64(values[i])
            total[where[i]] += np.uint32(values[i])
    return found


@numba.njit(nogil=True)
def _lz4_alone(blob, blocks, work, table, size, period, repeats):
    position = address_of(blob) + 12
    bad = 0
    for _ in range(blocks):
        length = 0
        for i in range(4):
            length = length << 8 | np.int64(blob[position - address_of(blob) + i])
        position += 4
        bad += decode_block(position, position + length, address_of(work), size, period, repeats, address_of(table))[0]
        position += length
    return bad


@numba.njit(nogil=True)
def _liblz4_alone(function, blob, blocks, work, size):
    position = 12
    good = 0
    for _ in range(blocks):
        length = 0
        for i in range(4):
            length = length << 8 | np.int64(blob[position + i])
        position += 4
        good += function(blob[position:].ctypes, work.ctypes, length, size)
        position += length
    return good


class Routes:
    """The ways from compressed bytes to a verdict and a sum, with the memory each wants to keep."""

    def __init__(self, valid: np.ndarray, dtype: str, blobs: list[bytes]) -> None:
        self.blobs, self.dtype, self.flat = blobs, np.dtype(dtype), valid.reshape(-1)
        self.ring = ring_pixels(valid, *CENTER, 28.6, 31.2)
        self.limit = self.dtype.type(np.iinfo(dtype).max - 1)
        self.good = self.flat != 0
        self.total = np.zeros(valid.size, np.uint32)  # quicker than 64 bits, though it may overflow
        self.layout = PlaneLayout(valid, self.dtype, BLOCK)
        self.scorer = FrameScorer(self.layout, self.ring)
        self.spills = [PlaneSpill(self.layout) for _ in range(AT_ONCE)]
        self.sum = PlaneSum(self.layout)
        self.work, self.table = lanes(1, 3 * BLOCK)[0], repeat_table()
        self.next = 0
        self.file = h5py.File(f"memory {id(self)}", "w", driver="core", backing_store=False, rdcc_nbytes=0)
        self.chunk = self.file.create_dataset(
            "data", valid.shape, self.dtype, chunks=valid.shape, **hdf5plugin.Bitshuffle(cname="lz4")
        )
        self.to_sparse = bslz4_to_sparse.chunk2sparse(valid, self.dtype) if bslz4_to_sparse else None

    def blob(self) -> bytes:
        self.next += 1
        return self.blobs[self.next % len(self.blobs)]

    def chi2(self, values: np.ndarray) -> float:
        values = values[values < self.limit].astype(np.float64)
        return float(((values - values.mean()) ** 2).sum() / values.mean()) if values.any() else 0.0

    def ours(self) -> tuple[float, float]:
        """Return seconds a frame of reading with its score, and of adding."""
        start = time.perf_counter()
        for spill in self.spills:
            read = self.scorer.read(self.blob(), spill)
            assert isinstance(read, PlaneSpill), read
            read.score.chi2  # noqa: B018 - the decision
        middle = time.perf_counter()
        self.sum.add(self.spills)
        end = time.perf_counter()
        return (middle - start) / AT_ONCE, (end - middle) / AT_ONCE

    def bitshuffle(self) -> None:
        body = np.frombuffer(self.blob(), np.uint8)[12:]
        pixels = bitshuffle.decompress_lz4(body, (self.flat.size,), self.dtype, BLOCK // self.dtype.itemsize)
        _fused(pixels, self.flat, self.limit, self.total)
        self.chi2(pixels[self.ring])

    def dectris(self) -> None:
        pixels = np.frombuffer(decompress(self.blob(), "bslz4", elem_size=self.dtype.itemsize), self.dtype)
        counted = np.where((pixels < self.limit) & self.good, pixels, 0)
        counted.sum(dtype=np.uint64)
        np.add(self.total, counted, out=self.total)
        self.chi2(pixels[self.ring])

    def hdf5(self) -> None:
        """As with h5py: the chunk goes through the HDF5 filter of hdf5plugin."""
        self.chunk.id.write_direct_chunk((0, 0), self.blob())
        pixels = self.chunk[()].reshape(-1)
        counted = np.where((pixels < self.limit) & self.good, pixels, 0)
        counted.sum(dtype=np.uint64)
        np.add(self.total, counted, out=self.total)
        self.chi2(pixels[self.ring])

    def memory(self) -> None:
        """Add a decoded frame to a sum: what any route that decodes pays on top."""
        np.add(self.total, self.good, out=self.total)

    def sparse(self) -> None:
        count, (values, where) = self.to_sparse(np.frombuffer(self.blob(), np.uint8), 0)
        _sparse_add(values, where, count, self.limit, self.total)
        self.chi2(self.total[self.ring])  # its ring would need a search: this is less work

    def lz4_alone(self) -> None:
        row, full = self.layout.stride, self.layout.full_blocks
        blob = np.frombuffer(self.blob(), np.uint8)
        assert _lz4_alone(blob, full, self.work, self.table, BLOCK, row, self.dtype.itemsize == 4) == 0

    def liblz4_alone(self) -> None:
        function = _liblz4()
        full = self.layout.full_blocks
        assert _liblz4_alone(function, np.frombuffer(self.blob(), np.uint8), full, self.work, BLOCK) == full * BLOCK


def _liblz4() -> Callable[..., int]:
    library = next(Path(lz4.block.__file__).parent.glob("_block*.so"))
    function = ctypes.CDLL(str(library)).LZ4_decompress_safe
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    function.restype = ctypes.c_int
    return function


def measure(routes: Routes, rounds: int) -> dict[str, float]:
    """Return median milliseconds a frame of each route and stage."""
    others = {name: getattr(routes, name) for name in ("bitshuffle", "dectris", "hdf5", "lz4_alone", "memory")}
    if bslz4_to_sparse is not None:
        others["sparse"] = routes.sparse
    try:
        routes.liblz4_alone()
        others["liblz4_alone"] = routes.liblz4_alone
    except (AttributeError, StopIteration, OSError):
        pass  # a build of lz4 that hides its symbols
    seen: dict[str, list[float]] = {name: [] for name in ("read", "add", "ours", *others)}
    for number in range(rounds + 1):
        read, add = routes.ours()
        taken = {"read": read, "add": add, "ours": read + add}
        for name, route in others.items():
            start = time.perf_counter()
            route()
            taken[name] = time.perf_counter() - start
        if number:  # the first compiles and touches memory
            for name, seconds in taken.items():
                seen[name].append(seconds * 1e3)
    return {name: round(float(np.median(values)), 2) for name, values in seen.items()}


def two_threads(routes: Routes, rounds: int) -> float:
    """Return how much faster two threads with a sum each are than one; the median of three, memory touched before."""

    def work(layout: PlaneLayout, count: int, ready: threading.Barrier) -> None:
        scorer, total = FrameScorer(layout, routes.ring), PlaneSum(layout)
        spills = [PlaneSpill(layout) for _ in range(AT_ONCE)]
        for turn in range(count + 1):
            if turn == 1:
                ready.wait(60)
            for number, spill in enumerate(spills):
                scorer.read(routes.blobs[number % len(routes.blobs)], spill)
            total.add(spills)

    def seconds(threads: int) -> float:
        ready = threading.Barrier(threads + 1)
        running = [threading.Thread(target=work, args=(routes.layout, rounds, ready)) for _ in range(threads)]
        for thread in running:
            thread.start()
        ready.wait(60)
        start = time.perf_counter()
        for thread in running:
            thread.join()
        return time.perf_counter() - start

    return round(float(np.median([2 * seconds(1) / seconds(2) for _ in range(3)])), 2)


def machine() -> dict[str, object]:
    """Name the processor, for times depend on it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    of = {
        key: next((line.split(":")[1].strip() for line in lines if line.startswith(key)), "")
        for key in ("model name", "flags")
    }
    return {
        "processor": of["model name"],
        "cores": os.cpu_count(),
        "avx512": sorted(flag for flag in of["flags"].split() if flag.startswith("avx512")),
    }


def run(levels: list[str], types: list[str], *, rounds: int, different: int, threads: bool) -> list[dict[str, object]]:
    """Measure every level and type; print a line each."""
    valid = frames.static_mask()
    rows = []
    for level in levels:
        drawn = [frames.counts(LEVELS[level], valid, seed) for seed in range(different)]
        for dtype in types:
            blobs = [frames.compress(one, valid, dtype) for one in drawn]
            routes = Routes(valid, dtype, blobs)
            row: dict[str, object] = {"level": level, "type": dtype, "MB": round(len(blobs[0]) / 1e6, 2)}
            measured = measure(routes, rounds)
            best = min(measured[name] for name in ("bitshuffle", "dectris", "hdf5", "sparse") if name in measured)
            row |= measured | {"times_faster": round(best / measured["ours"], 2)}
            row["spill_MB"] = round(routes.spills[0].nbytes / 1e6, 2)
            if threads:
                row["two_threads"] = two_threads(routes, rounds)
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frames", type=int, default=3, help="different frames a level")
    parser.add_argument("--levels", nargs="+", default=list(LEVELS), choices=LEVELS)
    parser.add_argument("--types", nargs="+", default=["uint32", "uint16"])
    parser.add_argument("--threads", action="store_true", help="measure two threads too")
    options = parser.parse_args()
    print(machine())
    rows = run(options.levels, options.types, rounds=options.rounds, different=options.frames, threads=options.threads)
    print(json.dumps({"machine": machine(), "rows": rows}))


if __name__ == "__main__":
    main()
