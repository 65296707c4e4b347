"""What is left of a spool after a kill, a full disk and damage to its files."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from processing.frame import SeriesHeader
from service import config
from service.eiger_file import EigerFile
from service.spool import Spool
from service.spool_file import DataFile
from service.spool_index import RECORD_BYTES, IndexWriter, Record, SpoolNames, unpack
from service.spool_reader import SpoolReader

CHILD = Path(__file__).with_name("spool_child.py")
SHAPE = (64, 80)
_spec = importlib.util.spec_from_file_location("spool_child", CHILD)
child = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(child)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).poisson(30, (7, *SHAPE)).astype(np.uint16)


@pytest.fixture
def stem(tmp_path):
    return tmp_path / "series_5_spool"


def start_child(folder, pixels, *arguments):
    folder.mkdir(exist_ok=True)
    np.save(folder / "pixels.npy", pixels)
    command = [sys.executable, str(CHILD), str(folder / "series_5_spool"), str(folder / "pixels.npy")]
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parents[2])}
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip


def go_on(stem, pixels, numbers=(), per_file=20):
    """Construct a spool over what is there, offer frames and close it; return what was kept and the troubles."""
    kept, troubles = [], []
    header = SeriesHeader(series=5, shape=SHAPE, images=5000)
    spool = Spool(
        stem, header, config.Spool(enabled=True, frames_per_file=per_file),
        kept=lambda each: kept.append(each.frame), troubled=troubles.append,
    )  # fmt: skip
    for number in numbers:
        assert spool.offer(child.frame_of(pixels, number))
    assert spool.close(20)
    return kept, troubles


def part_of(stem, pixels, numbers, per_file=20):
    """Leave a part and its index as a killed service does."""
    stem.parent.mkdir(exist_ok=True)
    file = DataFile.create(SpoolNames(stem), 1, per_file)
    kept = [file.write(child.frame_of(pixels, number)) for number in numbers]
    file.give_up()
    return kept


def check_all(stem, pixels, numbers):
    """All these frames are there through the index."""
    reader = SpoolReader(stem)
    assert set(numbers) <= set(reader.numbers().tolist())
    for number in numbers:
        assert reader.frame(5, number) == child.frame_of(pixels, number)


def no_asides(stem):
    return not [path.name for path in stem.parent.iterdir() if ".part" in path.name or path.suffix == ".new"]


def test_a_kill_at_any_moment_loses_no_frame_that_was_kept(tmp_path, pixels):
    rng = random.Random(7)
    children = [(tmp_path / str(run), start_child(tmp_path / str(run), pixels, 0, 4000)) for run in range(4)]
    for folder, process in children:
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        first = process.stdout.readline()
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        lines = [first, *process.stdout.read().split("\n")[:-1]]
        process.wait(10)
        process.stdin.close()
        process.stdout.close()
        kept = [int(line) for line in lines]
        assert len(kept) > 1
        assert len(kept) < 4000
        stem = folder / "series_5_spool"
        check_all(stem, pixels, kept)
        for path in folder.glob("*.h5"):
            with h5py.File(path) as file:  # whole under its final name
                assert "entry" in file
        more = range(4000, 4003)
        late = kept[-1] + 1
        again, troubles = go_on(stem, pixels, [late, *more])
        assert again[-3:] == list(more)
        assert troubles == []
        check_all(stem, pixels, [*kept, late, *more])
        assert no_asides(stem)
        eiger = EigerFile(stem.with_name("series_5_spool_master.h5"))
        for number in [*kept, late, *more]:
            assert eiger.frame(5, number) == child.frame_of(pixels, number)
        eiger.close()


def test_a_disk_that_runs_full_and_is_emptied(tmp_path, pixels):
    size = len(child.frame_of(pixels, 0).blob)
    process = start_child(tmp_path, pixels, 0, 60, 8 * size + size // 2)
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    lines = []
    while len(lines) < 60 and "trouble" not in "".join(lines):
        lines.append(process.stdout.readline().strip())
    said, _ = process.communicate("room again\n", timeout=30)
    lines += said.split("\n")
    assert any("File too large; free space on the disk" in line for line in lines)
    assert "trouble None" in lines
    assert "closed" in lines
    kept = [int(line) for line in lines if line.isdigit()]
    assert {0, 1, 2, 3, 59} <= set(kept)
    assert len(kept) < 60
    stem = tmp_path / "series_5_spool"
    check_all(stem, pixels, kept)
    assert no_asides(stem)
    eiger = EigerFile(stem.with_name("series_5_spool_master.h5"))
    assert all(eiger.frame(5, number) == child.frame_of(pixels, number) for number in kept)
    eiger.close()


def test_a_torn_record_is_dropped_and_written_over(stem, pixels):
    part_of(stem, pixels, range(5))
    index = SpoolNames(stem).index(1)
    os.truncate(index, 4 * RECORD_BYTES + 13)
    assert SpoolReader(stem).numbers().tolist() == [0, 1, 2, 3]
    kept, _ = go_on(stem, pixels, [4, 5])
    assert kept == [4, 5]
    check_all(stem, pixels, range(6))
    assert index.stat().st_size == 6 * RECORD_BYTES


def test_half_a_record_is_written_over_by_the_next(tmp_path):
    path = tmp_path / "x.index"
    record = Record(
        frame=3, shape=SHAPE, offset=2048, size=100, blob_crc=77, pixel_type="uint16", encoding=1
    )  # fmt: skip
    path.write_bytes(record.pack() + record.pack()[:9])
    index = IndexWriter(path, keep=True)
    index.add(record)
    index.close()
    assert path.read_bytes() == 2 * record.pack()
    assert unpack(path.read_bytes(), RECORD_BYTES) == record


@pytest.mark.parametrize("position", range(RECORD_BYTES))
def test_a_flipped_bit_in_a_record_is_seen(position):
    packed = bytearray(
        Record(frame=3, shape=SHAPE, offset=2048, size=100, blob_crc=77, pixel_type="uint16", encoding=1).pack()
    )
    assert unpack(bytes(packed)) is not None
    packed[position] ^= 1 << position % 8
    assert unpack(bytes(packed)) is None


def test_damaged_records_and_bytes_cost_their_frames_only(stem, pixels):
    kept = part_of(stem, pixels, range(6))
    names = SpoolNames(stem)
    with names.index(1).open("r+b") as index:
        index.seek(2 * RECORD_BYTES + 9)
        index.write(b"\xa5")
    with names.part(1).open("r+b") as part:
        part.seek(kept[4].offset + 50)
        byte = part.read(1)
        part.seek(kept[4].offset + 50)
        part.write(bytes([byte[0] ^ 1]))
    reader = SpoolReader(stem)
    assert reader.numbers().tolist() == [0, 1, 3, 4, 5]
    assert reader.frame(5, 2) is None
    assert reader.frame(5, 4) is None
    check_all(stem, pixels, [0, 1, 3, 5])
    assert go_on(stem, pixels, [2])[0] == [2]
    check_all(stem, pixels, [0, 1, 2, 3, 5])
    eiger = EigerFile(names.master)
    assert [number for number in range(20) if eiger.frame(5, number)] == [0, 1, 2, 3, 5]
    eiger.close()


def test_a_reader_survives_what_is_no_spool(stem, pixels):
    part_of(stem, pixels, range(2))
    names = SpoolNames(stem)
    good = names.index(1).read_bytes()
    far = Record(frame=7, shape=SHAPE, offset=2**64 - 1, size=100, blob_crc=0, pixel_type="uint8", encoding=0)
    names.index(1).write_bytes(os.urandom(RECORD_BYTES * 3) + far.pack() + good)
    names.index(2).write_bytes(good)  # without a data file
    reader = SpoolReader(stem)
    assert reader.numbers().tolist() == [0, 1, 7]
    assert reader.frame(5, 7) is None
    assert reader.frame(5, 1) == child.frame_of(pixels, 1)
    names.part(1).write_bytes(b"")
    assert reader.frame(5, 1) is None
    names.part(1).unlink()
    assert reader.frame(5, 1) is None
    reader.refresh()
    assert reader.numbers().size == 0


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_during_the_salvage_loses_nothing(stem, pixels, monkeypatch, renames):
    part_of(stem, pixels, range(5))
    reader = SpoolReader(stem)
    names, done, replace = SpoolNames(stem), [], os.replace

    def killed(old, new):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(new)
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            DataFile.salvage(names, 1, 20)
    check_all(stem, pixels, range(5))
    assert reader.frame(5, 4) == child.frame_of(pixels, 4)  # opened before
    assert go_on(stem, pixels, [5])[0] == [5]
    check_all(stem, pixels, range(6))
    assert no_asides(stem)


def test_a_part_without_frames_goes(stem, pixels):
    part_of(stem, pixels, [])
    assert go_on(stem, pixels) == ([], [])
    assert [path.name for path in stem.parent.iterdir()] == ["series_5_spool_master.h5"]


def test_a_service_that_ended_well_goes_on_in_the_same_files(stem, pixels):
    assert go_on(stem, pixels, [0, 1, 2])[0] == [0, 1, 2]
    kept, troubles = go_on(stem, pixels, [2, 3, 25, 4], per_file=7)  # the files keep their 20 frames
    assert (kept, troubles) == ([3, 25, 4], [])
    check_all(stem, pixels, [0, 1, 2, 3, 4, 25])
    eiger = EigerFile(SpoolNames(stem).master)
    assert [number for number in range(30) if eiger.frame(5, number)] == [0, 1, 2, 3, 4, 25]
    eiger.close()


def test_old_parts_beyond_the_newest_two_are_finished(stem, pixels):
    for number in (1, 2, 3):
        file = DataFile.create(SpoolNames(stem), number, 20)
        file.write(child.frame_of(pixels, 20 * number - 20))
        file.give_up()
    kept, _ = go_on(stem, pixels, [1, 21, 41])
    assert kept == [21, 41]
    check_all(stem, pixels, [0, 20, 21, 40, 41])
