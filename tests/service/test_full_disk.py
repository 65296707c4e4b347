"""A disk that takes no more: the file of before stays, the next one is written, and nothing ends the process."""

import json
import os
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest

from service.store import write_whole
from service.whole_file import WholeFile, aside_of

FILL = """
def fill(file):
    for name in ("total", "excluded"):
        file.create_dataset(name, data=np.arange(size, dtype=np.uint64), chunks=(4096,))
"""
CHILD = f"""
import gc, json, resource, sys
from pathlib import Path
import numpy as np
import structlog
from service.cli.output import set_up_logging
from service.store import write_whole
{FILL}
class Broken:
    def __repr__(self):
        sys.exit("its __repr__ was called")

def write(path, limit):
    broken = Broken()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_whole(path, fill)
    except OSError as error:
        structlog.get_logger().exception("told")
        return error.errno
    return 0

set_up_logging()
path, size = Path(sys.argv[1]), 100_000
told = [write(path, limit) for limit in (1 << 30, 0, 4096, 300_000, 1 << 30)]
gc.collect()
print(json.dumps(told))
"""


def test_a_disk_that_takes_no_more_costs_that_file_only(tmp_path):
    path = tmp_path / "series_1.nxs"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    too_big = 27  # EFBIG, what a process over its limit hears
    assert json.loads(done.stdout) == [0, too_big, too_big, too_big, 0]
    assert done.stderr.count("OSError: [Errno 27]") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["series_1.nxs"]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["total"][()], np.arange(100_000))


def test_the_file_of_before_stays_when_the_disk_refuses(tmp_path, monkeypatch, no_space):
    path = tmp_path / "series_1.nxs"
    write_whole(path, lambda file: file.create_dataset("total", data=[1, 2, 3]))
    monkeypatch.setattr(WholeFile, "write", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, lambda file: file.create_dataset("total", data=[4]))
    assert not aside_of(path).exists()
    with h5py.File(path) as file:
        assert file["total"][()].tolist() == [1, 2, 3]


def test_a_write_that_the_system_takes_in_part_goes_on():
    ours, theirs = os.pipe()
    data, got = np.arange(1 << 20, dtype=np.uint16), bytearray()

    def read():
        while piece := os.read(ours, 1000):
            got.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with WholeFile(theirs, "wb") as file:
        assert file.write(data) == data.nbytes
    reader.join(10.0)
    assert bytes(got) == data.tobytes()
