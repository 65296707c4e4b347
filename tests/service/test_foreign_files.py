"""The detector's files in a process of their own: the same frames, and no file that takes the service with it."""

import os
import signal
import threading
import time

import h5py
import hdf5plugin
import numpy as np
import pytest

from processing.decode import decode
from processing.frame import Refusal
from service.contained import Contained
from service.eiger_file import EigerFile
from service.errors import ConfigurationError, UserError
from service.foreign_files import ForeignFrames, detector_master

SHAPE = (37, 41)
TIMEOUT_S = 20.0
FRAMES = np.random.default_rng(5).poisson(4, (5, *SHAPE)).astype(np.uint32)


@pytest.fixture
def master(tmp_path, wire):
    """A master and two data files, of three and two frames."""
    path = tmp_path / "series_9_master.h5"
    with h5py.File(path, "w") as file:
        data = file.create_group("/entry/data")
        for part, chunk in ((1, FRAMES[:3]), (2, FRAMES[3:])):
            name = f"series_9_data_{part:06d}.h5"
            with h5py.File(tmp_path / name, "w") as piece:
                dataset = piece.create_dataset(
                    "/entry/data/data",
                    chunk.shape,
                    "<u4",
                    chunks=(1, *SHAPE),
                    **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
                )
                for index, pixels in enumerate(chunk):
                    dataset.id.write_direct_chunk((index, 0, 0), wire.encode(pixels)[1])
            data[f"data_{part:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
        mask = np.zeros(SHAPE, "<u4")
        mask[2, 3] = 1
        file["/entry/instrument/detector/detectorSpecific/pixel_mask"] = mask
        file["/entry/instrument/detector/beam_center_x"] = 20.5
        file["/entry/instrument/detector/description"] = "<script>alert(1)</script>" + "x" * 5000
    return path


def data_file(master, part):
    return master.with_name(f"series_9_data_{part:06d}.h5")


def test_the_same_bytes_as_without_a_process(master):
    here = EigerFile(master)
    with ForeignFrames(master, TIMEOUT_S) as there:
        assert len(there) == len(here) == 5
        assert there.shape == SHAPE
        for number in (3, 0, 4, 1, 2):
            assert there.frame(9, number) == here.frame(9, number)
        assert there.frame(9, 5) is None
        assert there.frame(9, -1) is None
        mine, theirs = here.header(9), there.header(9)
        np.testing.assert_array_equal(theirs.valid, mine.valid)
        assert (theirs.series, theirs.shape, theirs.beam_center_x) == (9, SHAPE, 20.5)
        assert theirs.config["source"] == master.name
        assert len(theirs.config["description"]) == 1000
    here.close()


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "cannot be read as HDF5"), (b"\x89HDF\r\n\x1a\n" + b"\xff" * 500, "cannot be read as")]
)
def test_what_is_no_hdf5_is_a_sentence(tmp_path, content, words):
    (tmp_path / "x_master.h5").write_bytes(content)
    with pytest.raises(UserError, match=f"x_master.h5 {words}"):
        ForeignFrames(tmp_path / "x_master.h5", TIMEOUT_S)


def test_no_such_file_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="must be an Eiger master file, got no such file"):
        ForeignFrames(tmp_path / "nothing.h5", TIMEOUT_S)


def test_a_file_cut_in_the_middle_costs_sentences(master):
    """HDF5 refuses a file that is shorter than it says; cut behind that check, single frames fail."""
    whole = master.read_bytes()
    master.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read as"):
        ForeignFrames(master, TIMEOUT_S)
    master.write_bytes(whole)
    with ForeignFrames(master, TIMEOUT_S) as frames:
        whole = [frames.frame(9, number) for number in range(5)]
        os.truncate(data_file(master, 1), os.path.getsize(data_file(master, 1)) // 3)
        damaged = 0
        for number in range(3):
            try:
                found = frames.frame(9, number)
            except UserError as error:
                damaged += f"frame {number} of {master} cannot be read" in str(error)
            else:
                damaged += isinstance(decode(found, SHAPE), Refusal)
                assert found == whole[number] or isinstance(decode(found, SHAPE), Refusal)
        assert damaged
        assert frames.frame(9, 3) == whole[3]


def test_frames_of_a_data_file_that_is_not_there_are_none(master):
    data_file(master, 2).unlink()
    with ForeignFrames(master, TIMEOUT_S) as frames:
        assert len(frames) == 3
        assert frames.frame(9, 3) is None
        assert frames.frame(9, 2) is not None


def test_a_child_killed_while_it_is_asked_is_a_sentence_and_the_next_question_is_answered(master):
    with ForeignFrames(master, TIMEOUT_S) as frames:
        pid = frames._child.process.pid
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        begun = time.monotonic()
        with pytest.raises(UserError, match=r"frame 1 of .* the reading process was killed by SIGKILL"):
            frames.frame(9, 1)
        assert time.monotonic() - begun < 5
        assert frames.frame(9, 1) == EigerFile(master).frame(9, 1)
        assert frames._child.process.pid != pid


def test_a_child_that_hangs_is_stopped_in_time(master):
    with ForeignFrames(master, 1.5) as frames:
        pid = frames._child.process.pid
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(UserError, match="did not answer in time and was stopped"):
            frames.frame(9, 0)
        assert 1.4 < time.monotonic() - begun < 4
        assert not os.path.exists(f"/proc/{pid}")


def test_a_data_file_that_never_opens_is_a_sentence_within_the_timeout(master):
    data_file(master, 1).unlink()
    os.mkfifo(data_file(master, 1))
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"opening it of .* did not answer in time and was stopped"):
        ForeignFrames(master, 1.5)
    assert time.monotonic() - begun < 4


def test_a_chunk_that_claims_the_moon_ends_at_the_limit(master, monkeypatch, tmp_path):
    """What a file says of its sizes is believed by libraries; the child's limit is not theirs to move."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import service.eiger_file as e\ne.EigerFile.frame = lambda *_: bytearray(1 << 34)\n"
    )
    with ForeignFrames(master, TIMEOUT_S, memory_mib=512) as frames:
        for _ in range(3):
            with pytest.raises(UserError, match="the reading process ran out of memory"):
                frames.frame(9, 0)
        with pytest.raises(UserError, match="is not read any more: 3 reading processes in a row have failed"):
            frames.frame(9, 0)


class Speaks(Contained):
    """A child that says what it likes."""

    words = ""

    def __init__(self, _module, _arguments, **options):
        super().__init__("speaks", [Speaks.words], **options)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("x" * 70_000, "must answer in lines of at most 65536 bytes"),
        ("rubbish\n", "an answer that cannot be understood"),
        ("[" * 60_000 + "\n", "an answer that cannot be understood"),
        ('{"frames": 5, "rows": 37, "cols": 41, "bytes": 99999999999}\n', "must send at most 0 bytes, and announced"),
        ('{"frames": 5, "rows": 37, "cols": 41, "bytes": -1}\n', "an answer that cannot be understood"),
        ('{"frames": 5, "rows": 1000000, "cols": 1000000, "bytes": 0}\n', "image sides must lie in"),
        ('{"frames": 5, "rows": 37, "cols": 41, "bytes": 0, "more": 1}\n', "an answer that cannot be understood"),
    ],
)
def test_a_child_taken_over_by_its_file_cannot_harm_by_its_answers(master, tmp_path, monkeypatch, words, sentence):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "speaks.py").write_text(
        "import sys, time\nsys.stdout.write(sys.argv[1])\nsys.stdout.flush()\ntime.sleep(60)"
    )
    monkeypatch.setattr("service.foreign_files.Contained", Speaks)
    monkeypatch.setattr(Speaks, "words", words)
    with pytest.raises(UserError, match=sentence):
        ForeignFrames(master, 5.0)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/data/series_$id", "/data/series_7_master.h5"),
        ("/data/$id/series_$id_master.h5", "/data/7/series_7_master.h5"),
        ("a..b_$id.h5", "a..b_7.h5"),
    ],
)
def test_a_pattern_names_the_master_of_a_series(pattern, path):
    assert str(detector_master(pattern, 7)) == path


@pytest.mark.parametrize(
    ("pattern", "series", "words"),
    [
        ("/data/../etc/$id", 7, "without '..' and NUL"),
        ("..", 7, "without '..' and NUL"),
        ("/data/$id\0.h5", 7, "without '..' and NUL"),
        ("/data/series_master.h5", 7, "must contain \\$id"),
        ("/data/$id", "../../etc/passwd", "series must be a whole number"),
        ("/data/$id", -1, "series must be a whole number"),
        ("/data/$id", 2**31, "series must be a whole number"),
        ("/data/$id", True, "series must be a whole number"),
    ],
)
def test_a_pattern_that_could_lead_elsewhere_is_refused(pattern, series, words):
    with pytest.raises(ConfigurationError, match=words):
        detector_master(pattern, series)
