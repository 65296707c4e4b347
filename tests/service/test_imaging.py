"""The child process: an image from sums, a sentence instead of one, and never a wait without end."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import zmq

from processing.models import sample
from processing.snapshot import SumSnapshot
from service.config import Settings
from service.imaging import ImagingError, ImagingJob, run_imaging
from service.live import LiveService

SIDE = 195
CENTER = (97.2, 96.7)
WAVELENGTH_M, DISTANCE_M, PIXEL_M = 1.40556e-10, 2.08, 375e-6


def sums(scale=2e-4):
    """A noisy pattern of the core-shell particles on pixels as large as five by five of the detector's."""
    rows, cols = np.indices((SIDE, SIDE))
    radius = np.hypot(rows - CENTER[0], cols - CENTER[1]) * PIXEL_M
    q = 4 * np.pi / WAVELENGTH_M * np.sin(np.arctan(radius / DISTANCE_M) / 2)
    expected = scale * sample("au-sio2").amplitude(q) ** 2 / 1e6
    data = np.random.default_rng(4).poisson(expected * 30).astype(np.uint64)
    return SumSnapshot(data=data, excluded=np.zeros((SIDE, SIDE), np.uint32), frames=300)


EMPTY = SumSnapshot(data=np.zeros((SIDE, SIDE), np.uint64), excluded=np.zeros((SIDE, SIDE), np.uint32), frames=0)


def job(accepted, **changes):
    settings = Settings().changed(
        {
            "reconstruction.width_px": SIDE,
            "reconstruction.reduction": 1,
            "reconstruction.central_px": 30.0,
            "reconstruction.background": "none",
            "reconstruction.object_diameter_m": 55e-9,
            "reconstruction.seeds": 10,
            "reconstruction.iterations": 60,
            **changes,
        }
    )
    return ImagingJob(
        accepted=accepted,
        background=EMPTY,
        valid=np.ones((SIDE, SIDE), np.uint8),
        center=CENTER,
        origin=(100, 200),
        wavelength_m=WAVELENGTH_M,
        distance_m=DISTANCE_M,
        pixel_size_m=PIXEL_M,
        settings=json.loads(json.dumps(settings.reconstruction.model_dump())),
    )


def test_a_sum_becomes_an_image_with_its_figures(tmp_path):
    result = run_imaging(job(sums()), tmp_path, 100, lambda: False)
    assert result.image.shape == result.amplitude.shape == (65, 65)
    assert result.amplitude_valid.dtype == np.uint8
    assert result.prepared["center_row"] == pytest.approx(100 + CENTER[0], abs=0.3)
    assert result.prepared["center_col"] == pytest.approx(200 + CENTER[1], abs=0.3)
    assert result.pixel_size_m == pytest.approx(WAVELENGTH_M * DISTANCE_M / (SIDE * PIXEL_M), rel=0.01)
    assert result.frames == 300
    assert result.prtf.shape == result.q_per_m.shape
    assert result.figures["confidence"] in ("high", "low")
    assert result.settings["seeds"] == 10
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def halo():
    """A sum of air and membrane alone."""
    rows, cols = np.indices((SIDE, SIDE))
    expected = 3e4 * np.exp(-np.hypot(rows - CENTER[0], cols - CENTER[1]) / 12)
    data = np.random.default_rng(4).poisson(expected).astype(np.uint64)
    return SumSnapshot(data=data, excluded=np.zeros((SIDE, SIDE), np.uint32), frames=300)


@pytest.mark.parametrize(
    ("accepted", "changes", "words"),
    [
        (sums(), {"object_diameter_m": 0.7 * 55e-9}, "must agree with the pattern, which shows 5"),
        (sums(), {"object_diameter_m": 1.5 * 55e-9}, "must agree with the pattern, which shows 5"),
        (sums(), {"central_px": 90.6}, "removed centre must be at most 4 speckles wide, got 6."),
        (halo(), {}, "must go up and down as that of a particle does, got a smooth one"),
        (halo(), {"object_diameter_m": None}, "must go up and down as that of a particle does, got a smooth one"),
    ],
)
def test_an_image_that_may_be_wrong_is_marked(tmp_path, accepted, changes, words):
    """With seeds and iterations enough that nothing else would have to be said of them."""
    more = {"seeds": 32, "iterations": 700} | changes
    settings = {f"reconstruction.{name}": value for name, value in more.items()}
    result = run_imaging(job(accepted, **settings), tmp_path, 100, lambda: False)
    assert result.figures["confidence"] == "low"
    assert any(words in warning for warning in result.warnings)


@pytest.mark.parametrize("name", ["raar", "dm"])
def test_algorithm_and_support_reach_the_child(tmp_path, name):
    changes = {"reconstruction.algorithm": name, "reconstruction.support": "shrinkwrap"}
    result = run_imaging(job(sums(), **changes), tmp_path, 100, lambda: False)
    assert (result.settings["algorithm"], result.settings["support"]) == (name, "shrinkwrap")
    assert result.image.any()


def test_the_same_job_gives_the_same_image(tmp_path):
    first, second = (run_imaging(job(sums()), tmp_path, 100, lambda: False) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)


@pytest.mark.parametrize(
    ("accepted", "changes", "words"),
    [
        (EMPTY, {}, "must hold at least 1 frame, got 0"),
        (replace(EMPTY, frames=9), {}, "must hold counts on valid pixels, got none"),
        (sums(), {"reconstruction.width_px": 193}, "width must be an odd multiple"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path, accepted, changes, words):
    with pytest.raises(ImagingError, match=words):
        run_imaging(job(accepted, **changes), tmp_path, 100, lambda: False)


def test_amplitudes_without_an_image_are_still_delivered(tmp_path):
    result = run_imaging(job(sums(), **{"reconstruction.object_diameter_m": 5e-7}), tmp_path, 100, lambda: False)
    assert result.image is None
    assert "diameter" in result.message
    assert result.amplitude.any()


def test_a_child_that_takes_too_long_or_is_not_wanted_any_more_is_stopped(tmp_path):
    told = []
    with pytest.raises(ImagingError, match=r"within 0\.2 s and was stopped; given up after 2 tries; lower recons"):
        run_imaging(job(sums()), tmp_path, 0.2, lambda: False, told.append)
    assert told == ["reconstruction must end within 0.2 s and was stopped; this was try 1, trying again"]
    with pytest.raises(ImagingError, match="was stopped, because"):
        run_imaging(job(sums()), tmp_path, 100, lambda: True, told.append)
    assert len(told) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_breaks_is_named(tmp_path):
    broken = job(sums(), **{"reconstruction.retries": 0})
    broken.settings["seeds"] = 0
    with pytest.raises(ImagingError, match=r"ended with code 1: .*seeds"):
        run_imaging(broken, tmp_path, 100, lambda: False)


COUNT = "import os, sys\nwith open(os.environ['TRIES'], 'a') as file: file.write('x')\n"
ENDS = {
    "code": ("os._exit(9)", "ended with code 9"),
    "signal": ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
    "fault": ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV"),
    "memory": ("held = []\nwhile True: held.append(bytearray(1 << 24))", "ran out of memory"),
    "silence": ("sys.exit(0)", "ended with code 0: no message"),
}


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Put another program in the child's place; give what counts its starts."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TRIES", str(tmp_path / "tries"))
    monkeypatch.setattr("service.imaging._CHILD", "stand_in")

    def make(text):
        (tmp_path / "stand_in.py").write_text(COUNT + text)
        (tmp_path / "tries").write_text("")
        return lambda: len((tmp_path / "tries").read_text())

    return make


def test_the_settings_say_how_often(child, tmp_path):
    for retries, words in (
        (0, "no message; the sums"),
        (2, "given up after 3 tries"),
        (None, "given up after 3 tries"),
    ):
        tries = child("os._exit(9)")
        changes = {} if retries is None else {"reconstruction.retries": retries}
        with pytest.raises(ImagingError, match=words):
            run_imaging(job(EMPTY, **changes), tmp_path, 30, lambda: False)
        assert tries() == 1 + (2 if retries is None else retries)


@pytest.mark.parametrize("end", ENDS)
def test_a_child_that_crashes_is_tried_again_a_bounded_number_of_times(child, tmp_path, end):
    text, words = ENDS[end]
    tries, told = child(text), []
    small = job(EMPTY, **{"reconstruction.memory_mib": 256, "reconstruction.retries": 1})
    with pytest.raises(ImagingError, match=f"{words}.*; given up after 2 tries; the sums are not touched") as failure:
        run_imaging(small, tmp_path, 30, lambda: False, told.append)
    assert tries() == 2
    assert "raise reconstruction.memory_mib (now 256)" in str(failure.value)
    assert len(told) == 1
    assert words in told[0]
    assert told[0].endswith("this was try 1, trying again")


def test_a_crash_that_does_not_come_again_costs_only_time(child, tmp_path):
    tries = child(
        "if os.path.getsize(os.environ['TRIES']) < 2: os.abort()\n"
        "import pathlib, service.imaging_child as real; real.main(pathlib.Path(sys.argv[1]))"
    )
    result = run_imaging(job(sums()), tmp_path, 100, lambda: False)
    assert result.image.any()
    assert tries() == 2


def test_a_refusal_is_not_tried_again(child, tmp_path):
    tries = child("import pathlib, service.imaging_child as real; real.main(pathlib.Path(sys.argv[1]))")
    with pytest.raises(ImagingError, match="must hold at least 1 frame"):
        run_imaging(job(EMPTY), tmp_path, 100, lambda: False)
    assert tries() == 1


def test_the_status_forecasts_the_frames_still_needed_and_the_result_holds_the_signal_to_noise(
    tmp_path, wire, wait_until
):
    shape = (SIDE, SIDE)
    settings = Settings().changed(
        {
            "stream.bind": "tcp://127.0.0.1:*",
            "output.directory": tmp_path / "out",
            "screening.enabled": False,
            "detector.wavelength_m": WAVELENGTH_M,
            "detector.distance_m": DISTANCE_M,
            "detector.pixel_size_m": PIXEL_M,
            "detector.beam_center_y": CENTER[0],
            "detector.beam_center_x": CENTER[1],
            "reconstruction.at_frames": (20,),
            "reconstruction.width_px": SIDE,
            "reconstruction.reduction": 1,
            "reconstruction.central_px": 30.0,
            "reconstruction.background": "none",
            "reconstruction.object_diameter_m": 55e-9,
            "reconstruction.seeds": 10,
            "reconstruction.iterations": 60,
            "reconstruction.wanted_resolution_m": 8e-9,
        }
    )
    service, context = LiveService(settings), zmq.Context()
    service.start()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(service.receiver.endpoint)
    mean = sums().data / 30_000
    rng = np.random.default_rng(1)
    try:
        socket.send_multipart(wire.header(3, shape, ntrigger=20))
        for number in range(20):
            socket.send_multipart(wire.image(rng.poisson(mean).astype(np.uint16), 3, number))
        socket.send_multipart(wire.end(3))
        wait_until(lambda: service.status().state == "complete", 60)
        forecast = service.status().forecast
        assert forecast.frames == 20
        assert forecast.wanted_resolution_m == 8e-9
        assert forecast.resolution_m > 3.9e-9
        assert forecast.frames_needed is None or forecast.frames_missing == max(0, forecast.frames_needed - 20)
        with h5py.File(service.status().result) as file:
            group = file["entry/snr"]
            assert group.attrs["frames"] == 20
            assert group["snr"].shape == group["q"].shape == group["correlation"].shape == (33,)
            assert np.nanmax(group["snr"]) > 3
    finally:
        socket.close()
        context.term()
        service.stop()


STAND_IN = """
import json, pathlib
import numpy as np
if os.path.getsize(os.environ["TRIES"]) < 3: os.abort()
desk = pathlib.Path(sys.argv[1])
one = np.ones((4, 4), np.float32)
np.savez(desk / "result.npz", amplitude=one, amplitude_valid=one.astype("u1"), image=one, prtf=one[0], q=one[0])
(desk / "result.json").write_text(json.dumps({"prepared": {}, "figures": {"resolution_m": 1e-8}}))
"""


def test_a_failed_image_is_said_and_the_next_mark_tries_again(child, tmp_path, wire, wait_until):
    tries = child(STAND_IN)
    settings = Settings().changed(
        {
            "stream.bind": "tcp://127.0.0.1:*",
            "output.directory": tmp_path / "out",
            "screening.enabled": False,
            "reconstruction.at_frames": (1, 2),
            "reconstruction.retries": 1,
        }
    )
    service, context = LiveService(settings), zmq.Context()
    service.start()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(service.receiver.endpoint)
    try:
        socket.send_multipart(wire.header(3, (40, 50), ntrigger=9))
        socket.send_multipart(wire.image(np.ones((40, 50), np.uint16), 3, 0))
        wait_until(lambda: service.status().reconstruction.state == "failed", 15)
        errors = service.status().errors
        assert [error.name for error in errors] == ["image tried again", "no image"]
        assert "was killed by SIGABRT" in errors[0].message
        assert "given up after 2 tries" in errors[1].message
        assert tries() == 2
        assert service.status().counts.accepted == 1
        socket.send_multipart(wire.image(np.ones((40, 50), np.uint16), 3, 1))
        wait_until(lambda: service.status().reconstruction.state == "done", 15)
        assert service.status().reconstruction.frames == 2
        assert tries() == 3
    finally:
        socket.close()
        context.term()
        service.stop()
