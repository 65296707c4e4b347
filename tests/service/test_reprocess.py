"""Eiger files through the same pipeline; a real captured frame as a file and as a stream."""

import json
import time

import h5py
import hdf5plugin
import numpy as np
import pytest
import zmq

from processing.frame import EncodedFrame
from service.config import Settings
from service.eiger_file import EigerFile
from service.errors import ConfigurationError, UserError
from service.live import LiveService
from service.office import Folder, series_file
from service.reprocess import reprocess_file, series_number
from service.series import Series
from service.source import PointNote
from service.store import write_series_file

BITSHUFFLE = hdf5plugin.Bitshuffle(nelems=0, cname="lz4")


def write_eiger_files(folder, blobs, shape, dtype, *, per_file=3, mask=None, images=None):
    """Write a master and data files as the detector's FileWriter lays them out."""
    master = folder / "series_9_master.h5"
    with h5py.File(master, "w") as file:
        data = file.create_group("/entry/data")
        for part, start in enumerate(range(0, len(blobs), per_file), start=1):
            chunk = blobs[start : start + per_file]
            name = f"series_9_data_{part:06d}.h5"
            with h5py.File(folder / name, "w") as piece:
                dataset = piece.create_dataset(
                    "/entry/data/data",
                    (len(chunk), *shape),
                    dtype,
                    chunks=(1, *shape),
                    maxshape=(None, *shape),
                    **BITSHUFFLE,
                )
                for index, blob in enumerate(chunk):
                    dataset.id.write_direct_chunk((index, 0, 0), blob)
            data[f"data_{part:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
        detector = file.create_group("/entry/instrument/detector")
        specific = detector.create_group("detectorSpecific")
        specific["pixel_mask"] = np.zeros(shape, "<u4") if mask is None else mask
        specific["nimages"], specific["ntrigger"] = 1, images or len(blobs)
        detector["beam_center_x"], detector["beam_center_y"] = (shape[1] - 1) / 2, (shape[0] - 1) / 2
        detector["x_pixel_size"], detector["detector_distance"] = 75e-6, 2.08
        file["/entry/instrument/beam/incident_wavelength"] = 1.40556
    return master


def settings_for(folder, **changes):
    return Settings().changed(
        {"output.directory": folder, "screening.enabled": False, "reconstruction.enabled": False, **changes}
    )


def test_files_give_the_plain_sum(tmp_path, wire):
    shape = (37, 41)
    frames = np.random.default_rng(1).poisson(4, (8, *shape)).astype(np.uint32)
    mask = np.zeros(shape, "<u4")
    mask[2, 2] = 1
    master = write_eiger_files(tmp_path, [wire.encode(f)[1] for f in frames], shape, "<u4", mask=mask)
    for workers in (1, 3):
        steps = []
        done = reprocess_file(
            master,
            settings_for(tmp_path / str(workers)),
            lambda a, b, steps=steps: steps.append((a, b)),
            workers=workers,
        )
        assert done.counts["accepted"] == 8
        assert steps[-1] == (8, 8)
        assert done.result.name == "series_9.nxs"
        with h5py.File(done.result) as file:
            np.testing.assert_array_equal(file["entry/sum/data"][()], frames.sum(0, dtype=np.uint64) * (mask == 0))


def test_a_missing_data_file_is_counted_as_missing_frames(tmp_path, wire):
    shape = (16, 16)
    blobs = [wire.encode(np.full(shape, n, np.uint16))[1] for n in range(6)]
    master = write_eiger_files(tmp_path, blobs, shape, "<u2")
    (tmp_path / "series_9_data_000002.h5").unlink()
    done = reprocess_file(master, settings_for(tmp_path), lambda *_: None)
    assert (done.counts["accepted"], done.counts["missing"]) == (3, 3)


@pytest.fixture
def scanned(tmp_path, wire):
    """Give the files of a detector armed for 8 triggers, and the live result of a scan that used 4."""
    shape = (16, 16)
    frames = [np.full(shape, n, np.uint16) for n in range(4)]
    master = write_eiger_files(tmp_path, [wire.encode(frame)[1] for frame in frames], shape, "<u2", images=8)
    live = Series(EigerFile(master).header(9), settings_for(tmp_path))
    live.expected = 4
    for number, frame in enumerate(frames):
        encoding, blob = wire.encode(frame)
        sent = EncodedFrame(series=9, frame=number, shape=shape, pixel_type="uint16", encoding=encoding, blob=blob)
        live.note_point(PointNote(series=9, frame=number, point=number, x_um=10.0 * number, y_um=0.0, void=number == 2))
        live.book(sent, *live.reader.read(sent))
    live.finish()
    live.ended = True
    write_series_file(tmp_path / "live.nxs", series_file(Folder(series=live, path=tmp_path / "live.nxs")))
    return master, tmp_path / "live.nxs"


def test_triggers_that_were_only_spare_are_missing_without_the_scan_and_not_with_it(scanned, tmp_path):
    master, live = scanned
    alone = reprocess_file(master, settings_for(tmp_path / "alone"), lambda *_: None)
    assert (alone.counts["accepted"], alone.counts["gated"], alone.counts["missing"]) == (4, 0, 4)
    with_scan = reprocess_file(master, settings_for(tmp_path / "scan"), lambda *_: None, points=live)
    assert (with_scan.counts["accepted"], with_scan.counts["gated"], with_scan.counts["missing"]) == (3, 1, 0)
    with h5py.File(with_scan.result) as file:
        assert file["entry/frames/frame"][()].tolist() == [0, 1, 2, 3]
        assert file["entry/frames/point"][()].tolist() == [0, 1, -1, 3]
        assert json.loads(file["entry/process/summary"][()])["announced"] == 4


def test_a_frame_that_the_scan_wanted_and_the_files_lack_is_still_missing(scanned, tmp_path):
    master, live = scanned
    (tmp_path / "series_9_data_000002.h5").unlink()
    done = reprocess_file(master, settings_for(tmp_path / "scan"), lambda *_: None, points=live)
    assert (done.counts["accepted"], done.counts["gated"], done.counts["missing"]) == (2, 1, 1)


def test_points_that_are_no_result_file_are_refused(scanned, tmp_path):
    master, _ = scanned
    with pytest.raises(UserError, match=r"--points .*series_9_master.h5 must be a result file of the live service"):
        reprocess_file(master, settings_for(tmp_path / "scan"), lambda *_: None, points=master)


def test_a_damaged_chunk_costs_one_frame(tmp_path, wire):
    shape = (16, 16)
    blobs = [wire.encode(np.full(shape, n, np.uint16))[1] for n in range(4)]
    blobs[2] = blobs[2][:20]
    master = write_eiger_files(tmp_path, blobs, shape, "<u2")
    done = reprocess_file(master, settings_for(tmp_path), lambda *_: None)
    assert (done.counts["accepted"], done.counts["corrupt"]) == (3, 1)


def test_a_mask_of_another_detector_is_a_mistake_of_the_configuration(tmp_path, wire):
    master = write_eiger_files(tmp_path, [wire.encode(np.ones((16, 16), np.uint16))[1]], (16, 16), "<u2")
    np.save(tmp_path / "mask.npy", np.ones((5, 6), bool))
    settings = settings_for(tmp_path / "out", **{"detector.mask_file": tmp_path / "mask.npy"})
    with pytest.raises(ConfigurationError, match=r"_master.h5: mask file must have 16 x 16 pixels .* got 5 x 6;"):
        reprocess_file(master, settings, lambda *_: None)


def test_what_is_no_eiger_file_is_said(tmp_path):
    with pytest.raises(UserError, match="must be an Eiger master file, got no such file; look at its folder and name"):
        EigerFile(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(UserError, match="cannot be read as HDF5"):
        EigerFile(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(UserError, match="must be an Eiger master file"):
        EigerFile(tmp_path / "other.h5")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    with h5py.File(tmp_path / "x_master.h5", "w") as file:
        file.create_group("/entry/data")["data_000001"] = h5py.ExternalLink("../secret.h5", "/entry/data/data")
    with pytest.raises(UserError, match="must point into its own folder"):
        EigerFile(tmp_path / "x_master.h5")


@pytest.mark.parametrize(
    ("name", "number"), [("series_5_master.h5", 5), ("run7_0012_master.h5", 12), ("x_master.h5", 0)]
)
def test_the_series_number_comes_from_the_name(tmp_path, name, number):
    assert series_number(tmp_path / name) == number


def test_a_real_frame_as_file_and_as_stream_gives_the_independent_sum(tmp_path, captured, wire):
    blob, shape = captured("frame_sample").read_bytes(), (4362, 4148)
    master = write_eiger_files(tmp_path, [blob, blob], shape, "<u2")
    with h5py.File(tmp_path / "series_9_data_000001.h5") as file:
        pixels = file["/entry/data/data"][0]  # decoded by hdf5plugin
    modules = np.ones(shape, bool)
    modules[np.arange(4362) % 550 >= 512, :] = False
    modules[:, np.arange(4148) % 1040 >= 1028] = False
    expected = 2 * np.where((pixels >= 65534) | ~modules, 0, pixels).astype(np.uint64)

    from_file = reprocess_file(master, settings_for(tmp_path / "a"), lambda *_: None)
    live = LiveService(settings_for(tmp_path / "b", **{"stream.bind": "tcp://127.0.0.1:*"}))
    live.start()
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect(live.receiver.endpoint)
    socket.send_multipart(wire.header(9, shape, ntrigger=2, bit_depth_image=16))
    for number in range(2):
        parts = wire.image(np.zeros(shape, np.uint16), 9, number)
        meta = parts[1].replace(b'"size": %d' % len(parts[2]), b'"size": %d' % len(blob))
        socket.send_multipart([parts[0], meta, blob, parts[3]])
    socket.send_multipart(wire.end(9))
    deadline = time.monotonic() + 30
    while live.status().state != "complete" and time.monotonic() < deadline:
        time.sleep(0.05)
    socket.close()
    context.term()
    live.stop()
    assert live.status().state == "complete"
    for path in (from_file.result, live.status().result):
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["entry/sum/data"][()], expected)
