"""A whole series without motors: raster, independent frames, the truth, the wire."""

import json
import subprocess
import sys

import numpy as np
import pytest
import zmq

from sim.settings import SimSettings
from sim.stream_run import SERIES, StreamRun, main, raster
from sim.truth import read_books, sum_of


def test_raster_is_a_snake_about_the_origin():
    points = raster(1676)
    assert len(points) == len(set(points)) == 1676
    steps = np.hypot(*np.diff(np.array(points), axis=0).T)
    np.testing.assert_allclose(steps, 10.0)
    assert np.abs(np.mean(points, axis=0)).max() < 5.0
    with pytest.raises(ValueError, match="frames must be at least 1, got 0"):
        raster(0)


def test_frames_are_independent_and_follow_from_seed_and_number():
    drawn = [StreamRun(SimSettings(seed=seed), 3, workers) for seed, workers in ((1, 1), (1, 3), (2, 1))]
    first, same, other = ([frame for _, frame, _ in run._drawn()] for run in drawn)
    for one, two in zip(first, same, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], first[1])


@pytest.fixture(scope="module")
def received(tmp_path_factory):
    """All messages of eight frames, and the truth."""
    truth = tmp_path_factory.mktemp("truth")
    words = ["--frames", "8", "--seed", "3", "--workers", "2", "--truth", str(truth), "--with-parent"]
    with subprocess.Popen(
        [sys.executable, "-m", "sim.stream_run", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        ready = json.loads(process.stdout.readline())
        with zmq.Context() as context, context.socket(zmq.PULL) as socket:
            socket.setsockopt(zmq.RCVTIMEO, 60_000)
            socket.connect(ready["stream"])
            messages = []
            while not messages or json.loads(messages[-1][0])["htype"] != "dseries_end-1.0":
                messages.append(socket.recv_multipart())
        last = json.loads(process.stdout.readline())
        assert process.wait(30) == 0
    return messages, last, truth


def test_the_series_goes_over_the_wire_as_the_detector_sends_it(received, wire):
    messages, last, truth = received
    header, *images, end = messages
    assert json.loads(header[0])["header_detail"] == "all"
    config = json.loads(header[1])
    assert (config["ntrigger"], config["nimages"], config["count_time"]) == (8, 1, 60.0)
    assert [json.loads(parts[0])["frame"] for parts in images] == list(range(8))
    assert json.loads(end[0])["series"] == SERIES
    assert last["sent"] == 8
    books = read_books(truth, SERIES)
    assert [entry["sent"] for entry in books["frames"]] == [1] * 8
    frames = [wire.decode_bslz4(parts[2], tuple(books["shape"]), "<u4") for parts in images]
    exact = sum_of(truth, SERIES, [0, 5])
    with np.load(truth / f"series_{SERIES}_sums.npz") as stored:
        valid = stored["valid"] != 0
    total = sum(np.where(frame < 2**32 - 2, frame, 0).astype(np.uint64) for frame in (frames[0], frames[5]))
    np.testing.assert_array_equal(exact.total, np.where(valid, total, 0))


def test_packing_dims_the_middle():
    plain, packed = (StreamRun(SimSettings(packing=packing), 1, 1).source.maps.sample for packing in (0.0, 0.3))
    ratio = packed / plain
    row, col = 488, 514
    assert ratio[row, col + 30] < 0.2  # q R below the structure's first peak
    assert ratio[row, col + 400] == pytest.approx(1.0, abs=0.1)
    with pytest.raises(ValueError, match=r"packing must be from 0 to 0\.6, got 0\.8"):
        SimSettings(packing=0.8)


@pytest.mark.parametrize("words", [["--frames", "0"], ["--packing", "0.9"], ["--sample", "gold"]])
def test_wrong_usage_ends_with_code_two(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err
