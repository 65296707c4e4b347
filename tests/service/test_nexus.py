"""The result file is what viewers and validators of NeXus take it for, also while it is being replaced."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import silx.io
from silx.io import nxdata

from service.store import write_image_file, write_series_file

BIN = Path(sys.executable).parent
EXPECTED = {
    "/entry/sum": ("data", 2), "/entry/background": ("data", 2), "/entry/frames": ("total", 1),
    "/entry/prepared": ("amplitude", 2), "/entry/reconstruction": ("image", 2), "/entry/snr": ("snr", 1),
    "/entry/transfer": ("prtf", 1),
}  # fmt: skip


def test_silx_opens_the_sum_and_knows_every_plot(finished_result, finished):
    with silx.io.open(str(finished_result)) as file:
        plot = nxdata.get_default(file, validate=True)
        assert plot.group.name == "/entry/sum"
        assert plot.interpretation == "image"
        np.testing.assert_array_equal(plot.signal[()], finished.accepted.data)
        for name, (signal, dimensions) in EXPECTED.items():
            plot = nxdata.NXdata(file[name])
            assert plot.is_valid, (name, plot.issues)
            assert (plot.signal_dataset_name, plot.signal.ndim) == (signal, dimensions)


def test_a_strict_reader_finds_default_signal_and_axes(finished_result):
    """The rules that h5web goes by: the chain of `default`, a numeric signal, one axis of its length a dimension."""
    with h5py.File(finished_result) as file:
        assert file.attrs["NX_class"] == "NXroot"
        assert file.attrs["creator"] == "xedm"
        assert file[file.attrs["default"]].attrs["NX_class"] == "NXentry"
        assert file["entry"].attrs["default"] == "sum"
        for name, (signal, dimensions) in EXPECTED.items():
            group = file[name]
            assert group.attrs["NX_class"] == "NXdata"
            assert group.attrs["signal"] == signal
            axes = np.atleast_1d(group.attrs["axes"])
            assert len(axes) == group[signal].ndim == dimensions
            for axis, length in zip(axes, group[signal].shape, strict=True):
                assert axis == "." or group[axis].shape == (length,), (name, axis)


def test_axes_of_image_and_amplitude_have_their_zero_in_the_middle(finished_result):
    with h5py.File(finished_result) as file:
        image, prepared = file["entry/reconstruction"], file["entry/prepared"]
        for name in ("y", "x"):
            np.testing.assert_allclose(image[name][()], (np.arange(41) - 20) * 4e-9, atol=1e-20)
            assert image[name].attrs["units"] == "m"
        q = prepared["qx"][()]
        assert q[20] == 0.0
        # the width of the array in real space is 2 pi over a step in q
        np.testing.assert_allclose(2 * np.pi / np.diff(q), 41 * 4e-9)


def said_by(tool, path):
    done = subprocess.run([str(BIN / tool), str(path)], capture_output=True, text=True, timeout=60, check=False)
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    assert "Traceback" not in said
    return said


def complaints_of_nxcheck(path):
    """Return what nxcheck says of a file; its exit code is 0 in any case, and a lost signal only a warning to it."""
    said = said_by("nxcheck", path)
    counts = dict(re.findall(r"Total number of (warnings|errors): (\d+)", said))
    lines = re.findall(r"^ {8,}(?!Field: |NX\w+: )(\S.*)$", said, re.MULTILINE)
    assert int(counts["errors"]) + int(counts["warnings"]) == len(lines), said
    return int(counts["errors"]), [line.strip() for line in lines]


def test_the_validators_find_no_error(finished_result):
    errors, complaints = complaints_of_nxcheck(finished_result)
    assert errors == 0
    # NeXus lets a process hold more than it names, and says so
    assert set(complaints) == {"This field is not defined in NXprocess"}
    said = said_by("nxvalidate", finished_result)
    assert "error" not in said.lower(), said


def test_the_file_of_an_image_alone_is_clean_too(finished, tmp_path):
    path = tmp_path / "series_9_image.nxs"
    write_image_file(path, finished.imaging, source="series_9.nxs")
    assert complaints_of_nxcheck(path) == (0, [])


def test_nxcheck_would_see_a_fault(finished_result, tmp_path):
    broken = tmp_path / "broken.nxs"
    broken.write_bytes(finished_result.read_bytes())
    with h5py.File(broken, "r+") as file:
        file["entry/sum"].attrs["signal"] = "nothing"
    _, complaints = complaints_of_nxcheck(broken)
    assert 'Signal "nothing" is not present in the group' in complaints


def test_readers_never_meet_half_a_file(finished, tmp_path):
    """While the file is replaced again and again, h5py and silx open it and read it whole."""
    path = tmp_path / "series_9.nxs"
    write_series_file(path, finished)
    stop, written = threading.Event(), [1]

    def write():
        while not stop.is_set():
            write_series_file(path, finished)
            written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    reads, deadline = 0, time.monotonic() + 60
    try:
        while (reads < 20 or written[0] < 10) and time.monotonic() < deadline:
            with h5py.File(path) as file:
                assert int(file["entry/sum/data"][()].sum()) == int(finished.accepted.data.sum())
            with silx.io.open(str(path)) as file:
                assert nxdata.get_default(file).signal[()].shape == finished.accepted.data.shape
            reads += 1
    finally:
        stop.set()
        writer.join(30)
    assert reads >= 20
    assert written[0] >= 10


def test_readers_follow_a_run_without_one_failure(bench_of, scan):
    """A service sums and saves; meanwhile silx and h5py open the file over and over, from its first snapshot on."""
    frames = scan(300)
    bench = bench_of(output__snapshot_every_s=0.1)
    bench.start()
    bench.open(frames)
    bench.send(frames, range(10))
    result = Path(bench.wait(lambda status: status.result is not None and Path(status.result).exists()).result)
    seen, versions = [], set()
    for number in range(10, 300):
        bench.send(frames, [number])
        if len(versions) > 3 and len(seen) > 30:
            continue
        time.sleep(0.02)
        with silx.io.open(str(result)) as file:
            assert nxdata.get_default(file).group.name == "/entry/sum"
        with h5py.File(result) as file:
            seen.append(int(file["entry/sum/frames"][()]))
            assert (file["entry/frames/verdict"][()] == 0).sum() == seen[-1]
            versions.add(file["entry/end_time"].asstr()[()])
    bench.end()
    frames.assert_exact(bench.wait_ended().result)
    assert seen == sorted(seen)
    assert len(versions) > 3, "the file must have been replaced while it was read"
