"""`make bench`: kernel, files, phasing and live path in one run, into docs/reference/performance.md with a plot.

    python tests/benchmarks/run_bench.py [--quick]

All routes of a stage are timed in turn within the same run, so the ratios hold on a machine that wanders; the times
belong to the machine that is named. The last line is JSON.
"""

import argparse
import datetime as dt
import json
from pathlib import Path
from typing import Any

import bench_files
import bench_kernel
import bench_phase
import bench_socket
import bench_start
import matplotlib as mpl
from frames import LEVELS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "performance.md"
ROUTES = {
    "ours": "XEDM",
    "bitshuffle": "bitshuffle + numba",
    "sparse": "bslz4_to_sparse + numba",
    "dectris": "dectris-compression + numpy",
    "hdf5": "h5py + hdf5plugin + numpy",
}
STAGES = {
    "read": "read, score, decide",
    "add": "add to the sum",
    "lz4_alone": "our LZ4 alone",
    "liblz4_alone": "liblz4 alone",
    "memory": "add a decoded frame",
}
Row = dict[str, Any]


def table(columns: dict[str, str], rows: list[Row]) -> str:
    """Return a Markdown table of the named columns."""
    present = {key: title for key, title in columns.items() if any(key in row for row in rows)}
    lines = ["| " + " | ".join(present.values()) + " |", "|" + "---|" * len(present)]
    lines += ["| " + " | ".join(str(row.get(key, "")) for key in present) + " |" for row in rows]
    return "\n".join(lines)


def page(found: Row) -> str:
    """Return the page for a person."""
    frame = {"level": "frame", "type": "type", "MB": "MB"}
    machine = found["machine"]
    flags = ", ".join(machine["avx512"]) or "no AVX-512"
    return f"""# Performance

Written by `make bench` on {found["date"]}: {machine["processor"]}, {machine["cores"]} cores, {
        flags
    }. Times are medians in
milliseconds a frame of 4371 x 4150 pixels and belong to this machine; the ratios were taken within one run.

## From compressed bytes to verdict and sum, one core

Each route does the same work: decode, mask, total, chi^2 of the ring, sum. Ours decides before it adds.

{table(frame | ROUTES | {"times_faster": "times faster than the best other"}, found["kernel"])}

![Milliseconds a frame of each route](performance.png)

Where the time of ours goes, and what it could not go below:

{table(frame | STAGES | {"two_threads": "two threads, times one"}, found["kernel"])}

## Files: `xedm reprocess`, both cores

{
        table(
            {
                "level": "frame",
                "type": "type",
                "frames": "frames",
                "ours_ms": "XEDM",
                "h5py_ms": "h5py + numpy",
                "libertem_ms": "LiberTEM",
                "times_h5py": "times h5py",
                "times_libertem": "times LiberTEM",
                "exact": "same sum",
            },
            found["files"],
        )
    }

Ours includes opening the files and writing the result.

## Phase retrieval

Iterations of HIO a second, both cores, one seed's iteration counting as one. The others are what one would write:
numpy.fft with complex transforms as in a textbook, scipy.fft and pyfftw with real ones in single precision.

{
        table(
            {
                "n": "array",
                "ours": "XEDM",
                "scipy": "scipy.fft",
                "pyfftw": "pyfftw",
                "numpy": "numpy.fft",
                "times_numpy": "times numpy.fft",
                "times_best": "times the best other",
            },
            found["phase"],
        )
    }

Whole reconstructions on one core, of the same complete data without noise and with the same support, best of the
seeds; the error is the sum of |image - truth| over that of the truth:

{
        table(
            {
                "n": "array",
                "seeds": "seeds",
                "iterations": "iterations",
                "ours_s": "XEDM s",
                "ours_error": "error",
                "cohere_s": "cohere-core s",
                "cohere_error": "its error",
                "ours_to_same_s": "XEDM to that error, s",
            },
            found["cohere"],
        )
    }

## Starting

`xedm live` is ready after {found["start"]["cold_s"]} s with a cold compile cache and {
        found["start"]["warm_s"]
    } s with a warm one. From
sending to being in the books the first dense 16M frame of a fresh service took {
        found["start"]["first_ms"]
    } ms, the second
{found["start"]["second_ms"]} ms, the tenth {found["start"]["tenth_ms"]} ms (medians over services).

## The live path: socket, service, page; sender on the same two cores

{
        table(
            {
                "level": "frame",
                "type": "type",
                "MB": "MB",
                "asked_hz": "asked Hz",
                "sent_hz": "taken Hz",
                "frames": "frames",
                "missing": "missing",
                "exact": "sum exact",
                "balanced": "balanced",
                "service_cpu_ms": "service CPU",
                "memory_mb": "memory MB",
                "memory_growth_percent": "growth %",
            },
            found["live"],
        )
    }

An asked rate of 0 is as fast as frames are taken. What is not taken in time waits in the detector's buffer.
"""


def plot(rows: list[Row]) -> None:
    """Draw the routes side by side."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    names = [f"{row['level']}\n{row['type']}" for row in rows]
    routes = {key: title for key, title in ROUTES.items() if all(key in row for row in rows)}
    for place, (key, title) in enumerate(routes.items()):
        where = [number + (place - len(routes) / 2 + 0.5) * 0.8 / len(routes) for number in range(len(rows))]
        axes.bar(where, [row[key] for row in rows], 0.8 / len(routes), label=title)
    axes.set_yscale("log")
    axes.set_xticks(range(len(rows)), names)
    axes.set_ylabel("ms a frame, one core")
    figure.legend(loc="outside upper center", fontsize="small", ncols=3)
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and frames; the page is left as it is")
    quick = parser.parse_args().quick
    found: Row = {"date": dt.datetime.now(dt.UTC).date().isoformat(), "machine": bench_kernel.machine()}
    rounds, different = (3, 1) if quick else (9, 3)
    found["kernel"] = bench_kernel.run(
        list(LEVELS), ["uint32", "uint16"], rounds=rounds, different=different, threads=True
    )
    found["files"] = [bench_files.run(100, 8) if quick else bench_files.run(1000, 32)]
    found["phase"] = bench_phase.run(rounds=2 if quick else 7)
    found["cohere"] = bench_phase.run_cohere()
    found["start"] = bench_start.run(1 if quick else 5)
    asked = [("sparse", 133.0), ("dense", 133.0)] if quick else [*((level, 133.0) for level in LEVELS), ("dense", 0.0)]
    seconds = 10 if quick else 30
    found["live"] = [
        bench_socket.run(level, "uint32", rate, round(seconds * (rate or 100)), []) for level, rate in asked
    ]
    if not quick:
        PAGE.write_text(page(found), encoding="utf-8")
        plot(found["kernel"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
