"""`xedm reprocess` against LiberTEM's offline sum and against h5py + numpy, on the same Eiger files in the page cache.

    python tests/benchmarks/bench_files.py [--frames 1000] [--level medium] [--others 60]

Every side may use both cores. The others sum fewer frames of the same file, for they take as long a frame however many
there are. The last line is JSON.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import frames
import h5py
import hdf5plugin
import numpy as np

from service.config import Settings
from service.reprocess import reprocess_file
from sim.eiger_files import SeriesFiles
from sim.wire import EncodedImage

DIFFERENT = 8
PER_FILE = 1000


def write(folder: Path, count: int, level: str, dtype: str) -> Path:
    """Write Eiger files of `count` frames, a few different ones in turn; return the master."""
    valid = frames.static_mask()
    images = [
        EncodedImage(
            shape=frames.SHAPE,
            type=dtype,
            encoding=f"bs{8 * np.dtype(dtype).itemsize}-lz4<",
            blob=frames.compress(frames.counts(frames.LEVELS[level], valid, seed), valid, dtype),
        )
        for seed in range(DIFFERENT)
    ]
    rows, cols = frames.SHAPE
    config = {
        "description": "Dectris Eiger simulated, pooled frames",
        "detector_number": "E-32-0000",
        "eiger_fw_version": "release-1.6.5",
        "flatfield_correction_applied": True,
        "threshold_energy": 4410.5,
        "detector_readout_time": 3e-6,
        "auto_summation": True,
        "roi_mode": "disabled",
        "number_of_excluded_pixels": int((valid == 0).sum()),
        "nimages": 1,
        "ntrigger": count,
        "trigger_mode": "ints",
        "bit_depth_image": 8 * np.dtype(dtype).itemsize,
        "bit_depth_readout": 12,
        "compression": "bslz4",
        "countrate_correction_applied": True,
        "countrate_correction_count_cutoff": 2**31,
        "beam_center_x": frames.CENTER[1],
        "beam_center_y": frames.CENTER[0],
        "count_time": 1 / 133,
        "frame_time": 1 / 133,
        "photon_energy": 8821.0,
        "wavelength": 1.40556,
        "detector_distance": 2.08,
        "x_pixel_size": 75e-6,
        "y_pixel_size": 75e-6,
        "x_pixels_in_detector": cols,
        "y_pixels_in_detector": rows,
        "pixel_mask_applied": True,
        "sensor_material": "Si",
        "sensor_thickness": 450e-6,
        "data_collection_date": "2026-11-26T00:00:00.000",
        "software_version": "1.6.0",
    }
    mask = np.where(valid, 0, 1).astype(np.uint32)
    files = SeriesFiles(folder, "series_1", images_per_file=PER_FILE, config=config, pixel_mask=mask)
    for number in range(count):
        files.add(images[number % DIFFERENT])
    files.close()
    return files.master


def data_files(master: Path) -> list[Path]:
    """The data files beside a master."""
    return sorted(master.parent.glob("series_1_data_*.h5"))


def ours(master: Path, output: Path) -> tuple[float, Path]:
    """Return seconds of the whole reprocessing, result file included, and that file."""
    settings = Settings().changed(
        {"output.directory": output, "reconstruction.enabled": False, "screening.enabled": False}
    )
    begun = time.perf_counter()
    result = reprocess_file(master, settings, lambda *_: None).result
    return time.perf_counter() - begun, result


def with_h5py(master: Path, count: int) -> tuple[float, np.ndarray]:
    """Return seconds and the sum of the first frames with h5py and numpy."""
    total, valid = np.zeros(frames.SHAPE, np.uint64), frames.static_mask() != 0
    begun = time.perf_counter()
    with h5py.File(data_files(master)[0]) as file:
        data = file["/entry/data/data"]
        limit = np.iinfo(data.dtype).max - 1
        for number in range(count):
            frame = data[number]
            total += np.where((frame < limit) & valid, frame, 0)
    return time.perf_counter() - begun, total


def with_libertem(master: Path, count: int) -> float | None:
    """Return seconds of LiberTEM's sum over the first frames on two workers, None where it is not installed."""
    try:
        from libertem.api import Context
        from libertem.executor.dask import DaskJobExecutor, cluster_spec
        from libertem.udf.sum import SumUDF
    except ImportError:
        return None
    part = master.parent / "libertem.h5"
    with h5py.File(part, "w") as file, h5py.File(data_files(master)[0]) as source:
        origin = source["/entry/data/data"]
        chunk = (1, *frames.SHAPE)
        packed = hdf5plugin.Bitshuffle(cname="lz4")
        made = file.create_dataset("data", (count, *frames.SHAPE), origin.dtype, chunks=chunk, **packed)
        for number in range(count):
            made.id.write_direct_chunk((number, 0, 0), origin.id.read_direct_chunk((number, 0, 0))[1])
    executor = DaskJobExecutor.make_local(cluster_spec(cpus=[0, 1], cudas=[], has_cupy=False))
    with Context(executor=executor) as context:
        data = context.load("hdf5", path=str(part), ds_path="/data", nav_shape=(count,), sig_shape=frames.SHAPE)
        context.run_udf(dataset=data, udf=SumUDF(), roi=np.arange(count) < 2)  # workers import and compile
        begun = time.perf_counter()
        context.run_udf(dataset=data, udf=SumUDF(), roi=np.ones(count, bool))
        return time.perf_counter() - begun


def run(count: int, others: int, level: str = "medium", dtype: str = "uint32") -> dict[str, object]:
    """Measure all sides; milliseconds a frame, and how many times faster ours is."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("XEDM_BENCH_DIR")) as folder:
        master = write(Path(folder), count, level, dtype)
        first, result = ours(master, Path(folder) / "warm")  # compiles, and fills the page cache
        second, result = ours(master, Path(folder) / "out")
        plain, total = with_h5py(master, DIFFERENT)
        with h5py.File(result) as file:
            wanted = total * np.uint64(count // DIFFERENT)
            exact = bool(np.array_equal(file["entry/sum/data"][()], wanted)) if count % DIFFERENT == 0 else None
        plain = with_h5py(master, others)[0]
        libertem = with_libertem(master, others)
        row: dict[str, object] = {
            "level": level,
            "type": dtype,
            "frames": count,
            "ours_ms": round(1e3 * second / count, 2),
            "first_run_ms": round(1e3 * first / count, 2),
            "h5py_ms": round(1e3 * plain / others, 1),
            "times_h5py": round(plain / others / (second / count), 1),
            "exact": exact,
        }
        if libertem is not None:
            row |= {
                "libertem_ms": round(1e3 * libertem / others, 1),
                "times_libertem": round(libertem / others / (second / count), 1),
            }
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--others", type=int, default=60, help="frames that the others sum")
    parser.add_argument("--level", default="medium", choices=frames.LEVELS)
    parser.add_argument("--type", default="uint32", choices=("uint16", "uint32"))
    options = parser.parse_args()
    print(json.dumps(run(options.frames, options.others, options.level, options.type)))


if __name__ == "__main__":
    main()
