"""`xedm live` as a user starts it: ready line, exit codes, sentences instead of tracebacks."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import zmq

from service.cli.live import _summary
from service.status import Counts, Status

SHAPE = (24, 24)
QUICK = ["--set", "reconstruction.enabled=false", "--set", "screening.enabled=false", "--set", "stream.drain_s=0.2"]


def command(*words):
    return [sys.executable, "-m", "service.cli", "live", *map(str, words)]


def run(*words, timeout=60):
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--stream", "127.0.0.1:9999"], 2, "stream address must look like tcp://HOST:PORT"),
        ([], 2, "no stream to receive"),
        (["--stream", "tcp://127.0.0.1:1", "--stream-bind", "tcp://127.0.0.1:2"], 2, "not both"),
        (["--stream", "tcp://127.0.0.1:1", "--set", "screening.chi2=3"], 3, "setting 'screening.chi2' does not exist"),
        (["--stream", "tcp://127.0.0.1:1", "--set", "screening.chi2_ratio_max=-1"], 3, "greater than 0"),
        (["--stream", "tcp://127.0.0.1:1", "--http", "99999"], 2, "--http must be a port"),
        (["--stream", "tcp://127.0.0.1:1", "--config", "/nowhere.toml"], 3, "cannot be read"),
        (["--stream", "tcp://127.0.0.1:1", "--output", "/dev/null/x"], 3, "cannot be written"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_an_exit_code(words, code, sentence):
    done = run(*words)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_said(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        done = run("--stream", "tcp://127.0.0.1:1", "--http", holder.getsockname()[1], "--output", tmp_path)
    assert done.returncode == 1
    assert "http.port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sender_that_never_appears_ends_once_with_4(tmp_path):
    done = run("--stream", "tcp://127.0.0.1:1", "--output", tmp_path, "--once", "--set", "stream.connect_timeout_s=0.5")
    assert done.returncode == 4
    assert "no series from tcp://127.0.0.1:1 within 0.5 s" in done.stderr
    assert done.stdout.splitlines()[1:] == ["no series came; no file is written"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status(), "no series came; no file is written"),
        (
            Status(counts=Counts(received=2, foreign=2)),
            "no series came, only messages of none: received 2, foreign 2; no file is written",
        ),
        (Status(series=3, state="complete", result="/x/series_3.nxs"), "series 3 complete: no frame; /x/series_3.nxs"),
    ],
)
def test_the_last_words_are_words(status, words):
    assert _summary(status) == words


class Live:
    """A live service in a process of its own, with a socket that stands for the detector."""

    def __init__(self, folder, *words):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PUSH)
        self.socket.setsockopt(zmq.LINGER, 0)
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.process = subprocess.Popen(
            command("--stream", f"tcp://127.0.0.1:{port}", "--output", folder, *QUICK, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ready = json.loads(self.process.stdout.readline())

    def status(self):
        with urllib.request.urlopen(self.ready["http"] + "/status", timeout=5) as answer:
            return json.load(answer)

    def end(self, number=None):
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.socket.close()
        self.context.term()


@pytest.fixture
def start(tmp_path):
    running = []

    def start_live(*words):
        running.append(Live(tmp_path, *words))
        return running[-1]

    yield start_live
    for live in running:
        live.close()


def test_the_ring_is_shown_where_its_pvs_are_said_to_be(start, xedm_beamline, wait_until):
    live = start("--set", f"pvs.ring_addresses=127.0.0.1:{xedm_beamline.ca_server_port}")

    def ring():
        return live.status()["ring"]

    def put(word):
        put = [sys.executable, "-m", "caproto.commandline.put", f"{xedm_beamline.prefix}SIM:BeamDump", word]
        subprocess.run(put, env=os.environ | xedm_beamline.environment, check=True, capture_output=True, timeout=20)

    wait_until(lambda: ring()["beam"] and ring()["current_ma"] > 400 and 0 <= ring()["countdown_s"] <= 240)
    assert ring()["message"] == ""
    try:
        put("Dumped")
        wait_until(lambda: not ring()["beam"])
    finally:
        put("Stored")
    wait_until(lambda: ring()["beam"])


def test_a_ring_that_does_not_answer_is_told_and_one_that_nobody_wants_is_not(start):
    live = start("--set", "pvs.ring_addresses=127.0.0.1:9")
    assert live.status()["ring"]["message"] == "no answer from SR-DI-DCCT:BeamCurrent and TPS:TimeToNextInjSec"
    assert not live.status()["ring"]["beam"]
    assert start().status()["ring"] is None


def test_once_sums_one_series_and_tells_it_as_json(start, wire):
    live = start("--once", "--json")
    assert {"ready", "stream", "http", "ca_server_port", "prefix", "token_file"} <= live.ready.keys()
    assert live.ready["prefix"] == "XEDM:"
    live.socket.send_multipart(wire.header(5, SHAPE, ntrigger=3))
    for frame in (0, 2):
        live.socket.send_multipart(wire.image(np.ones(SHAPE, np.uint16), 5, frame))
    live.socket.send_multipart(wire.end(5))
    code, out, err = live.end()
    assert code == 5, err
    status = json.loads(out.strip().splitlines()[-1])
    assert status["state"] == "incomplete"
    assert status["missing_frames"] == [[1, 1]]
    assert status["result"].endswith("series_5.nxs")


def test_once_with_every_frame_there_exits_with_0(start, wire):
    live = start("--once")
    live.socket.send_multipart(wire.header(5, SHAPE, ntrigger=2))
    for frame in range(2):
        live.socket.send_multipart(wire.image(np.ones(SHAPE, np.uint16), 5, frame))
    live.socket.send_multipart(wire.end(5))
    code, out, _ = live.end()
    assert code == 0
    assert "series 5 complete: received 2, accepted 2" in out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_saves_and_exits_with_0(start, wire, number):
    live = start()
    assert live.status()["state"] == "idle"
    live.socket.send_multipart(wire.header(5, SHAPE, ntrigger=9))
    for frame in range(4):
        live.socket.send_multipart(wire.image(np.ones(SHAPE, np.uint16), 5, frame))
    deadline = time.monotonic() + 10
    while live.status()["counts"]["received"] < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    result = live.status()["result"]
    started = time.monotonic()
    code, _, err = live.end(number)
    assert (code, time.monotonic() - started < 10) == (0, True), err
    import h5py

    with h5py.File(result) as file:
        assert file["entry/sum/frames"][()] == 4


def test_a_stream_without_a_header_stays_idle_and_counts_it_foreign_or_pending(start, wire):
    live = start()
    live.socket.send_multipart(wire.image(np.ones(SHAPE, np.uint16), 5, 0))
    deadline = time.monotonic() + 10
    while not live.status()["counts"]["received"] and time.monotonic() < deadline:
        time.sleep(0.02)
    status = live.status()
    assert status["state"] == "idle"
    assert status["counts"]["pending"] + status["counts"]["foreign"] == 1
    assert status["balanced"]


def test_two_services_in_one_folder_have_a_token_each(start):
    first, second = start(), start()
    files = [Path(live.ready["token_file"]) for live in (first, second)]
    assert files[0].parent == files[1].parent
    assert files[0].name == ".steering-token"
    assert files[1].name.startswith(".steering-token-")
    assert files[0].read_text() != files[1].read_text()
    assert second.end(signal.SIGTERM)[0] == 0
    assert files[0].exists()
    assert not files[1].exists()
    assert first.end(signal.SIGTERM)[0] == 0
    assert [path.name for path in files[0].parent.iterdir() if "token" in path.name] == []
