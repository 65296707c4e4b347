"""The service on a real socket, from the first byte to the result file."""

import json
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import zmq

from processing.frame import CATEGORY_NAMES
from service.config import Settings
from service.errors import ConfigurationError, UserError
from service.live import LiveService
from service.source import PointNote

SHAPE = (40, 50)


@pytest.fixture
def service(tmp_path):
    settings = Settings().changed(
        {
            "stream.bind": "tcp://127.0.0.1:*",
            "stream.drain_s": 0.2,
            "output.directory": tmp_path,
            "output.snapshot_every_s": 0.2,
            "screening.enabled": False,
            "reconstruction.enabled": False,
        }
    )
    running = LiveService(settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def detector(service):
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(service.receiver.endpoint)
    yield socket
    socket.close()
    context.term()


def wait_for(service, state, timeout=15.0):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = service.status()
        assert status.balanced
        if status.state == state:
            return status
        time.sleep(0.02)
    pytest.fail(f"state must become {state} within {timeout} s, got {service.status().state}")


def test_from_the_wire_to_the_file(service, detector, wire):
    frames = np.random.default_rng(0).poisson(5, (6, *SHAPE)).astype(np.uint32)
    frames[:, 3, 3] = 2**32 - 1
    frames[2, 4, 4] = 2**32 - 2
    detector.send_multipart(wire.header(12, SHAPE, ntrigger=6))
    service.book_point(PointNote(series=12, frame=1, point=1, x_um=10, y_um=20))
    for number in (0, 1, 2, 2, 4, 5):
        detector.send_multipart(wire.image(frames[number], 12, number))
    detector.send_multipart(wire.end(12))
    status = wait_for(service, "incomplete")
    assert status.counts.model_dump() == {
        **dict.fromkeys(status.counts.model_dump(), 0),
        "received": 6,
        "accepted": 5,
        "duplicate": 1,
        "missing": 1,
    }
    assert status.missing_frames == [(3, 3)]
    assert status.durable_through == 6
    flags = frames >= 2**32 - 2
    expected = np.where(flags, 0, frames)[[0, 1, 2, 4, 5]].sum(0, dtype=np.uint64)
    with h5py.File(status.result) as file:
        np.testing.assert_array_equal(file["entry/sum/data"][()], expected)
        np.testing.assert_array_equal(file["entry/sum/excluded"][()], flags[[0, 1, 2, 4, 5]].sum(0))
        assert file["entry/sum/data"].dtype == np.uint64
        assert file["entry/sum/frames"][()] == 5
        rows = file["entry/frames"]
        assert list(rows["verdict"].attrs["names"]) == list(CATEGORY_NAMES)
        assert rows["frame"][()].tolist() == [0, 1, 2, 2, 4, 5, 3]
        assert [CATEGORY_NAMES[v] for v in rows["verdict"][()]] == [
            "accepted",
            "accepted",
            "accepted",
            "duplicate",
            "accepted",
            "accepted",
            "missing",
        ]
        assert rows["point"][()].tolist() == [-1, 1, -1, -1, -1, -1, -1]
        assert rows["x"][1] == 10
        assert json.loads(file["entry/process/configuration"][()])["screening"]["enabled"] is False
        assert file.attrs["default"] == "entry"
        assert file["entry"].attrs["default"] == "sum"


def test_the_file_appears_while_the_series_runs_and_is_never_half(service, detector, wire):
    detector.send_multipart(wire.header(3, SHAPE, ntrigger=50))
    result = None
    for number in range(30):
        detector.send_multipart(wire.image(np.ones(SHAPE, np.uint32), 3, number))
        time.sleep(0.07)
        result = service.status().result
        if Path(result).exists():
            with h5py.File(result) as file:
                assert int(file["entry/sum/data"][()].sum()) == int(file["entry/sum/frames"][()]) * 2000
    assert Path(result).exists()
    assert service.status().state == "receiving"


def test_a_second_series_of_the_same_number_gets_a_name_of_its_own(service, detector, wire):
    names = []
    for _ in range(2):
        detector.send_multipart(wire.header(3, SHAPE, ntrigger=1))
        detector.send_multipart(wire.image(np.ones(SHAPE, np.uint32), 3, 0))
        detector.send_multipart(wire.end(3))
        time.sleep(0.3)
        names.append(Path(wait_for(service, "complete").result).name)
    assert names == ["series_3.nxs", "series_3_2.nxs"]


def test_previews_show_what_is_there(service, detector, wire):
    assert service.preview("sum") is None
    detector.send_multipart(wire.header(3, SHAPE, ntrigger=2))
    detector.send_multipart(wire.image(np.full(SHAPE, 7, np.uint32), 3, 0))
    deadline = time.monotonic() + 5
    while service.preview("sum") is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert float(np.nanmax(service.preview("sum").pixels)) == 7
    assert float(np.nanmax(service.preview("last").pixels)) == 7
    assert service.preview("background") is None
    assert service.preview("reconstruction") is None


def test_settings_change_with_a_version_or_are_refused_in_words(service, detector, wire):
    detector.send_multipart(wire.header(3, SHAPE, ntrigger=2))
    wait_for(service, "armed")
    assert service.change_settings({"screening.chi2_ratio_max": 2.0}, "test") == 2
    assert service.status().parameters["screening.chi2_ratio_max"] == 2.0
    for name, words in (("screening.nothing", "does not exist"), ("stream.bind", "cannot change while")):
        with pytest.raises(ValueError, match=words):
            service.change_settings({name: 1}, "test")


def test_a_full_disk_is_said_and_summing_goes_on(service, detector, wire, monkeypatch, no_space):
    monkeypatch.setattr("service.office.write_series_file", no_space)
    detector.send_multipart(wire.header(3, SHAPE, ntrigger=3))
    for number in range(2):
        detector.send_multipart(wire.image(np.ones(SHAPE, np.uint32), 3, number))
    deadline = time.monotonic() + 5
    while not service.status().degraded and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "No space left" in service.status().degraded[0]
    assert service.status().state == "receiving"
    monkeypatch.undo()
    detector.send_multipart(wire.image(np.ones(SHAPE, np.uint32), 3, 2))
    detector.send_multipart(wire.end(3))
    status = wait_for(service, "complete")
    assert status.degraded == []
    assert Path(status.result).exists()


def test_a_file_that_the_disk_refused_at_the_end_is_written_when_there_is_room(
    service, detector, wire, monkeypatch, no_space
):
    monkeypatch.setattr("service.office.write_series_file", no_space)
    for series in (3, 4):
        detector.send_multipart(wire.header(series, SHAPE, ntrigger=1))
        detector.send_multipart(wire.image(np.ones(SHAPE, np.uint32), series, 0))
        detector.send_multipart(wire.end(series))
        status = wait_for(service, "failed")
        while status.series != series or status.state != "failed":
            status = service.status()
        assert "No space left" in status.degraded[0]
    monkeypatch.undo()
    status = wait_for(service, "complete")
    assert status.degraded == []
    for series in (3, 4):
        with h5py.File(Path(status.result).with_name(f"series_{series}.nxs")) as file:
            assert file["entry/sum/frames"][()] == 1


def test_a_fault_of_ours_ends_in_a_named_state_and_not_in_a_wait(service, detector, wire, monkeypatch):
    def break_down(*_):
        raise ZeroDivisionError("made by the test")

    monkeypatch.setattr("service.office.write_series_file", break_down)
    detector.send_multipart(wire.header(3, SHAPE, ntrigger=1))
    detector.send_multipart(wire.image(np.ones(SHAPE, np.uint32), 3, 0))
    detector.send_multipart(wire.end(3))
    status = wait_for(service, "failed")
    assert "made by the test" in status.degraded[0]
    monkeypatch.undo()
    detector.send_multipart(wire.header(4, SHAPE, ntrigger=1))
    detector.send_multipart(wire.image(np.ones(SHAPE, np.uint32), 4, 0))
    detector.send_multipart(wire.end(4))
    assert Path(wait_for(service, "complete").result).exists()


def test_stopping_drains_and_saves(service, detector, wire):
    detector.send_multipart(wire.header(3, SHAPE, ntrigger=9))
    for number in range(4):
        detector.send_multipart(wire.image(np.ones(SHAPE, np.uint32), 3, number))
    wait_for(service, "receiving")
    while service.status().counts.received < 4:
        time.sleep(0.01)
    started = time.monotonic()
    service.stop()
    assert time.monotonic() - started < 10
    status = service.status()
    assert status.state == "incomplete"
    with h5py.File(status.result) as file:
        assert file["entry/sum/frames"][()] == 4


def test_bad_places_and_addresses_are_said_before_anything_starts(tmp_path):
    taken = tmp_path / "file"
    taken.write_text("")
    base = Settings().changed({"stream.connect": "tcp://127.0.0.1:1", "output.directory": taken})
    with pytest.raises(ConfigurationError, match="cannot be written"):
        LiveService(base)
    settings = base.changed({"output.directory": tmp_path, "detector.mask_file": tmp_path / "no.npy"})
    with pytest.raises(ConfigurationError, match=r"mask_file .* cannot be read"):
        LiveService(settings)
    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    settings = base.changed(
        {"output.directory": tmp_path, "stream.connect": None, "stream.bind": f"tcp://127.0.0.1:{port}"}
    )
    with pytest.raises(UserError, match="is it taken"):
        LiveService(settings)
    socket.close()
    context.term()
