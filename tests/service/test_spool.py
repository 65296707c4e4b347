"""The spool: the same bytes back through HDF5 and through the index, and what happens when there is no room."""

import os
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from processing.frame import EncodedFrame, SeriesHeader
from service import config, spool_budget
from service.eiger_file import EigerFile
from service.errors import UserError
from service.reprocess import reprocess_file
from service.spool import Spool
from service.spool_file import DataFile, _PartFile
from service.spool_index import RECORD_BYTES, SpoolNames
from service.spool_reader import SpoolReader

SHAPE = (37, 41)


class Spooling:
    """A spool in a folder, with what it told."""

    def __init__(self, folder, wire, *, series=5, pixel_type="uint16", images=100, **settings):
        self.stem = folder / f"series_{series}_spool"
        self.wire, self.series, self.pixel_type = wire, series, pixel_type
        self.valid = np.ones(SHAPE, bool)
        self.valid[2, 3] = False
        self.header = SeriesHeader(
            series=series, shape=SHAPE, images=images, beam_center_x=20.0, beam_center_y=18.0, count_time_s=0.5,
            frame_time_s=0.51, photon_energy_ev=8820.0, wavelength_m=1.40556e-10, distance_m=2.08,
            pixel_size_m=75e-6, valid=self.valid, config={"description": "Dectris EIGER1 Si 1M"},
        )  # fmt: skip
        self.settings = config.Spool(enabled=True, **{"frames_per_file": 4, **settings})
        self.kept, self.troubles = {}, []
        self.spool = self.start()

    def start(self):
        return Spool(self.stem, self.header, self.settings, kept=self._keep, troubled=self.troubles.append)

    def _keep(self, kept):
        self.kept[kept.frame] = kept

    def pixels(self, number):
        dtype = np.dtype(self.pixel_type)
        return np.random.default_rng(number).poisson(3, SHAPE).astype(dtype)

    def frame(self, number, codec="bslz4", **changes):
        name, blob = self.wire.encode(self.pixels(number), codec)
        about = {"series": self.series, "shape": SHAPE, "pixel_type": self.pixel_type, "encoding": name, "blob": blob}
        return EncodedFrame(frame=number, **{**about, **changes})

    def offer(self, *numbers):
        return [self.spool.offer(self.frame(number)) for number in numbers]

    def files(self):
        return sorted(path.name.removeprefix(self.stem.name) for path in self.stem.parent.glob(f"{self.stem.name}*"))

    @property
    def master(self):
        return self.stem.with_name(f"{self.stem.name}_master.h5")


@pytest.fixture
def spooling(tmp_path, wire, no_thread_left):  # noqa: ARG001 - a check behind the test
    """Make spools; those still open are closed at the end."""
    made = []

    def make(folder=tmp_path, **settings):
        made.append(Spooling(folder, wire, **settings))
        return made[-1]

    yield make
    for each in made:
        each.spool.close(5)


@pytest.mark.parametrize("pixel_type", ["uint8", "uint16", "uint32"])
def test_frames_come_back_bit_for_bit_through_hdf5_and_through_the_index(spooling, pixel_type):
    run = spooling(pixel_type=pixel_type)
    assert all(run.offer(*range(10)))
    assert run.spool.close(5)
    assert run.troubles == []
    assert sorted(run.kept) == list(range(10))
    assert [name for name in run.files() if name.endswith(".h5")] == [
        "_data_000001.h5", "_data_000002.h5", "_data_000003.h5", "_master.h5",
    ]  # fmt: skip
    eiger, reader = EigerFile(run.master), SpoolReader(run.stem)
    assert reader.numbers().tolist() == list(range(10))
    for number in range(10):
        assert eiger.frame(5, number) == reader.frame(5, number) == run.frame(number)
    assert reader.frame(5, 10) is None
    eiger.close()
    with h5py.File(run.master) as file:  # as any HDF5 program sees it
        np.testing.assert_array_equal(file["entry/data/data_000002"][1], run.pixels(5))
        assert file["entry/data"].attrs["signal"] == "data_000001"
        attributes = file["entry/data/data_000003"].attrs
        assert (attributes["image_nr_low"], attributes["image_nr_high"]) == (9, 10)


def test_the_master_says_what_the_header_said(spooling):
    run = spooling(images=1234)
    run.offer(0)
    run.spool.close(5)
    eiger = EigerFile(run.master)
    header = eiger.header(5)
    eiger.close()
    np.testing.assert_array_equal(header.valid, run.valid)
    assert (header.images, header.shape) == (1234, SHAPE)
    assert header.wavelength_m == pytest.approx(1.40556e-10, rel=1e-12)
    assert header.config["description"] == "Dectris EIGER1 Si 1M"
    for name in ("beam_center_x", "beam_center_y", "count_time_s", "frame_time_s", "photon_energy_ev", "distance_m",
                 "pixel_size_m"):  # fmt: skip
        assert getattr(header, name) == getattr(run.header, name)


def test_the_bytes_are_with_the_operating_system_when_a_frame_is_kept(spooling, tmp_path):
    run = spooling()
    seen = {}

    def look(kept):
        part = tmp_path / f"{kept.file}.part"
        descriptor = os.open(part, os.O_RDONLY)
        seen[kept.frame] = os.pread(descriptor, kept.size, kept.offset)
        os.close(descriptor)
        assert part.with_name(kept.file).with_suffix(".index").stat().st_size == RECORD_BYTES * len(seen)

    run.spool._kept = look
    run.offer(0, 1, 2)
    run.spool.close(5)
    assert seen == {number: run.frame(number).blob for number in range(3)}


def test_a_reader_follows_a_spool_that_is_being_written(spooling, wait_until):
    run = spooling()
    reader = SpoolReader(run.stem)
    assert reader.numbers().size == 0
    for count in range(1, 7):
        run.offer(count - 1)
        wait_until(lambda count=count: len(run.kept) == count)
        assert reader.frame(5, count - 1) is None  # not looked yet
        reader.refresh()
        assert reader.numbers().tolist() == list(range(count))
        assert reader.frame(5, count - 1) == run.frame(count - 1)
        assert reader.frame(5, 0) == run.frame(0)


def test_frames_out_of_order_and_duplicates(spooling, wait_until):
    run = spooling()
    order = [5, 1, 0, 7, 3, 2, 6, 4]
    assert all(run.offer(*order))
    twice = run.frame(5, blob=run.frame(50).blob)
    run.spool.offer(twice)
    wait_until(lambda: run.spool.refused == 1)
    run.offer(9)  # the third file: the first is closed
    wait_until(lambda: 9 in run.kept)
    assert "_data_000001.h5" in run.files()
    run.offer(3, 8)
    run.spool.close(5)
    assert run.spool.refused == 2
    assert sorted(run.kept) == list(range(10))
    assert SpoolReader(run.stem).frame(5, 5) == run.frame(5)


def sum_of(master, folder):
    settings = config.Settings().changed(
        {"output.directory": folder, "screening.enabled": False, "reconstruction.enabled": False}
    )
    done = reprocess_file(master, settings, lambda *_: None)
    with h5py.File(done.result) as file:
        return done.counts, file["entry/frames/frame"][()].tolist(), file["entry/sum/data"][()]


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3, 4, 5], [500, 501, 503, 504, 530, 531], [2, 13]])
def test_a_spool_is_reprocessed_to_the_same_sum_with_the_right_frame_numbers(spooling, tmp_path, numbers):
    run = spooling(images=600)
    assert all(run.offer(*numbers))
    run.spool.close(5)
    counts, frames, total = sum_of(run.master, tmp_path / "out")
    assert counts["accepted"] == len(numbers)
    assert counts["missing"] == 600 - len(numbers)
    assert [frame for frame in frames if frame in numbers] == numbers
    expected = sum(run.pixels(number).astype(np.uint64) for number in numbers) * run.valid
    np.testing.assert_array_equal(total, expected)
    eiger = EigerFile(run.master)
    assert len(eiger) == numbers[-1] + 1
    assert [number for number in range(600) if eiger.frame(5, number) is not None] == numbers
    eiger.close()


def test_a_data_file_that_is_gone_leaves_the_numbers_of_the_others(spooling):
    run = spooling()
    run.offer(*range(10))
    run.spool.close(5)
    for number in (1, 2):
        SpoolNames(run.stem).data(number).unlink()
    eiger, reader = EigerFile(run.master), SpoolReader(run.stem)
    assert eiger.frame(5, 3) is None
    assert eiger.frame(5, 9) == run.frame(9)
    eiger.close()
    assert reader.numbers().tolist() == [8, 9]


def test_plain_pixels_and_an_empty_header_can_be_spooled(spooling):
    run = spooling()
    plain, packed = run.frame(0, "plain"), run.frame(1)
    assert run.spool.offer(plain)
    assert run.spool.offer(run.frame(1, blob=memoryview(bytes(12) + packed.blob[12:])))
    run.spool.close(5)
    eiger, reader = EigerFile(run.master), SpoolReader(run.stem)
    assert eiger.frame(5, 0) == reader.frame(5, 0) == plain
    assert eiger.frame(5, 1) == reader.frame(5, 1) == packed
    eiger.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": "lz4<"},
        {"encoding": "lz4hdf5<"},
        {"encoding": "bs16-lz4>"},
        {"encoding": "bs16-lz4<T"},
        {"encoding": "bs32-lz4<"},
        {"encoding": "<"},
        {"blob": b"short"},
        {"blob": b"\xff" * 100},
        {"blob": bytes(10_000)},
        {"shape": (1 << 15, 1 << 15)},
        {"series": 6},
    ],
    ids=repr,
)
def test_what_cannot_go_into_an_eiger_file_is_refused(spooling, changes):
    run = spooling()
    assert not run.spool.offer(run.frame(0, **changes))
    assert run.spool.offer(run.frame(1))
    run.spool.close(5)
    assert not run.spool.offer(run.frame(2))  # closed
    assert list(run.kept) == [1]


def test_a_frame_of_another_shape_or_type_than_its_file_is_not_kept(spooling, wire):
    run = spooling()
    run.offer(0)
    name, blob = wire.encode(np.zeros((8, 8), np.uint16))
    assert run.spool.offer(run.frame(1, shape=(8, 8), encoding=name, blob=blob))
    name, blob = wire.encode(np.zeros(SHAPE, np.uint32))
    assert run.spool.offer(run.frame(2, pixel_type="uint32", encoding=name, blob=blob))
    run.spool.close(5)
    assert run.spool.refused == 2
    assert list(run.kept) == [0]


def test_a_full_queue_refuses_at_once_and_takes_again_later(spooling, monkeypatch, wait_until):
    go, write = threading.Event(), DataFile.write
    monkeypatch.setattr(DataFile, "write", lambda file, frame: (go.wait(5), write(file, frame))[1])
    run = spooling(queue_mib=1)
    frame = run.frame(0, "plain")
    room = 2**20 // len(frame.blob)
    begin = time.monotonic()
    taken = [run.spool.offer(run.frame(0, blob=frame.blob, encoding="<")) for _ in range(room + 3)]
    assert time.monotonic() - begin < 1
    assert taken == [True] * room + [False] * 3
    go.set()
    wait_until(lambda: run.spool.offer(run.frame(1)))
    assert run.spool.close(5)
    assert sorted(run.kept) == [0, 1]


def test_closing_in_too_little_time_lets_waiting_frames_go(spooling, monkeypatch):
    go, write = threading.Event(), DataFile.write
    monkeypatch.setattr(DataFile, "write", lambda file, frame: (go.wait(5), write(file, frame))[1])
    run = spooling()
    run.offer(0, 1, 2)
    assert not run.spool.close(0.1)
    go.set()
    assert run.spool.close(5)
    assert sorted(run.kept) == [0]
    assert run.spool.failed == 2
    assert SpoolReader(run.stem).numbers().tolist() == [0]


def test_a_disk_that_fails_costs_frames_and_is_said_once_and_it_heals(spooling, monkeypatch, wait_until, no_space):
    run = spooling()
    run.offer(0)
    wait_until(lambda: 0 in run.kept)

    with monkeypatch.context() as patch:
        patch.setattr(_PartFile, "write", no_space)
        assert all(run.offer(1, 2, 5))
        wait_until(lambda: run.spool.failed == 3)
    assert len(run.troubles) == 1
    assert "must be writable, got: No space left on device; free space on the disk" in run.troubles[0]
    run.offer(2, 3, 6)
    run.spool.close(5)
    assert run.troubles[1:] == [None]
    assert sorted(run.kept) == [0, 2, 3, 6]
    eiger = EigerFile(run.master)
    assert [number for number in range(8) if eiger.frame(5, number)] == [0, 2, 3, 6]
    eiger.close()


def test_a_file_that_could_not_be_finished_is_finished_at_the_end(spooling, monkeypatch, wait_until):
    run = spooling()
    run.offer(0, 1)
    wait_until(lambda: len(run.kept) == 2)
    with monkeypatch.context() as patch:
        patch.setattr(h5py.File, "flush", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        run.offer(4, 8)
        wait_until(lambda: run.troubles)
    assert "_data_000001.h5.part" in run.files()
    assert SpoolReader(run.stem).frame(5, 1) == run.frame(1)
    run.spool.close(5)
    assert not [name for name in run.files() if ".part" in name or name.endswith(".new")]
    eiger = EigerFile(run.master)
    assert eiger.frame(5, 1) == run.frame(1)
    eiger.close()


def test_a_folder_that_cannot_be_made_is_said_and_no_exception(spooling, tmp_path, wait_until):
    (tmp_path / "taken").write_text("a file")
    run = spooling(tmp_path / "taken")
    assert run.offer(0) == [True]
    wait_until(lambda: run.spool.failed == 1)
    assert "must be writable, got: " in run.troubles[0]
    (tmp_path / "taken").unlink()
    run.offer(1)
    run.spool.close(5)
    assert run.troubles[-1] is None
    assert list(run.kept) == [1]


def test_a_listener_that_fails_does_not_stop_the_writing(spooling):
    run = spooling()

    def fail(_):
        raise RuntimeError("listener")

    run.spool._kept = fail
    run.offer(0, 1)
    assert run.spool.close(5)
    assert SpoolReader(run.stem).numbers().tolist() == [0, 1]


def old_spool(folder: Path, series: int, size: int, age_s: float, *, suffix=".h5") -> None:
    for name in (f"series_{series}_spool_data_000001{suffix}", f"series_{series}_spool_master.h5"):
        (folder / name).write_bytes(bytes(size))
        os.utime(folder / name, (time.time() - age_s,) * 2)


def test_the_oldest_series_makes_room_for_the_running_one(spooling, tmp_path):
    old_spool(tmp_path, 1, 60_000, age_s=100)
    old_spool(tmp_path, 2, 60_000, age_s=300)
    old_spool(tmp_path, 3, 60_000, age_s=500, suffix=".h5.part")
    (tmp_path / "series_2.nxs").write_bytes(b"a result is not a spool")
    run = spooling(budget_gib=182_000 / 2**30)
    run.offer(*range(5))
    run.spool.close(5)
    assert len(run.kept) == 5
    assert run.troubles == []
    left = {path.name for path in tmp_path.iterdir() if "series_5" not in path.name}
    assert left == {
        "series_1_spool_data_000001.h5", "series_1_spool_master.h5",
        "series_3_spool_data_000001.h5.part", "series_3_spool_master.h5", "series_2.nxs",
    }  # fmt: skip


def test_a_budget_that_is_used_up_is_said_and_frames_are_refused_until_there_is_room(
    spooling, tmp_path, monkeypatch, wait_until
):
    monkeypatch.setattr("service.spool._SYNC_S", 0.05)
    old_spool(tmp_path, 3, 60_000, age_s=500, suffix=".h5.part")
    run = spooling(budget_gib=70_000 / 2**30)
    number = 0
    while run.spool.offer(run.frame(number, "plain")) and number < 50:
        number += 1
        wait_until(lambda number=number: len(run.kept) + run.spool.failed >= number)
    assert 1 <= len(run.kept) < 5
    assert "must take at most 6.519e-05 GiB (spool.budget_gib), got" in run.troubles[0]
    assert "remove old *_spool_* files or raise spool.budget_gib" in run.troubles[0]
    (tmp_path / "series_3_spool_data_000001.h5.part").unlink()
    wait_until(lambda: run.troubles[-1] is None)
    assert run.spool.offer(run.frame(number, "plain"))
    run.spool.close(5)
    assert number in run.kept


def test_the_spool_leaves_room_on_the_disk_for_the_result(spooling, monkeypatch, wait_until):
    monkeypatch.setattr(spool_budget, "_free_bytes", lambda _: 100 << 20)
    run = spooling()
    run.offer(0)
    wait_until(lambda: run.troubles)
    assert "must have 512 MiB free beside the spool, got 100 MiB; free space on it" in run.troubles[0]
    assert run.offer(1) == [False]
    assert (run.kept, run.spool.failed) == ({}, 1)


def test_a_chunk_that_claims_more_than_a_frame_can_have_is_not_believed(spooling):
    run = spooling()
    run.offer(0, 1)
    run.spool.close(5)
    path = SpoolNames(run.stem).data(1)
    with h5py.File(path, "r+") as file:
        file["entry/data/data"].id.write_direct_chunk((1, 0, 0), bytes(1 << 20))
    eiger = EigerFile(run.master)
    assert len(eiger.frame(5, 1).blob) < 2 * 37 * 41 * 2 + 5000  # too long to be decoded, and no longer
    eiger.close()
    with h5py.File(path, "r+") as file:
        file["entry/data/data"].id.write_direct_chunk((1, 0, 0), bytes(1 << 21), filter_mask=1)
    eiger = EigerFile(run.master)
    assert eiger.frame(5, 1) is None
    assert eiger.frame(5, 0) == run.frame(0)
    eiger.close()


def test_a_file_number_beyond_measure_is_not_believed(spooling):
    run = spooling()
    run.offer(0)
    run.spool.close(5)
    with h5py.File(SpoolNames(run.stem).data(1), "r+") as file:
        file["entry/data/data"].attrs["image_nr_low"] = np.uint64(1 << 40)
    eiger = EigerFile(run.master)
    assert (len(eiger), eiger.frame(5, 0)) == (1, run.frame(0))
    eiger.close()
    with h5py.File(SpoolNames(run.stem).data(1), "r+") as file:
        file["entry/data/data"].attrs["image_nr_low"] = np.uint64(1 << 23)
        del file["entry/data/data"]
        file.create_dataset("entry/data/data", (1 << 23, *SHAPE), "u2", maxshape=(None, *SHAPE), chunks=(1, *SHAPE))
        file["entry/data/data"].attrs["image_nr_low"] = np.uint64(2)
    with pytest.raises(UserError, match="frames must be at most 8388608, got 8388609; the file is damaged"):
        EigerFile(run.master)
