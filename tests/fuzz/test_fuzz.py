"""Damaged messages: a quick run of `make fuzz`, the same through a real socket, and that the fuzz can find anything."""

import json
import subprocess
import sys
import time
from ctypes import c_longlong
from pathlib import Path

import h5py
import numpy as np
import pytest
import zmq

from service.config import Settings
from service.live import LiveService

HERE = Path(__file__).parent


@pytest.fixture
def fuzz(monkeypatch):
    """The modules beside this one."""
    monkeypatch.syspath_prepend(HERE)
    import run_fuzz

    return run_fuzz


@pytest.mark.slow
def test_twenty_thousand_damaged_messages_harm_nothing():
    done = subprocess.run(
        [sys.executable, HERE / "run_fuzz.py", "--messages", "20000", "--seed", "20"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["messages"] == 20_000
    assert summary["faults"] == 0
    # the damage reaches every stage: some is refused at the door, some when decoding, some only by the books
    assert min(summary["taken_for"][name] for name in ("SeriesHeader", "EncodedFrame", "SeriesEnd", "Refusal")) > 400
    assert min(summary["booked"][name] for name in ("accepted", "corrupt", "duplicate")) > 400


def test_the_fuzz_finds_what_is_raised_what_is_slow_and_what_the_books_lack(fuzz, monkeypatch):
    class Spoilt(fuzz.Target):
        def feed(self, parts):
            number = int(parts[0][-1]) if parts and parts[0] else 0
            if number % 16 == 3:
                raise KeyError("lost")
            if number % 16 == 4:
                self.mailbox.images_received += 1
            return super().feed(parts)

    monkeypatch.setattr(fuzz, "Target", Spoilt)
    monkeypatch.setattr(fuzz, "MAX_CPU_S", 1e-7)
    monkeypatch.setattr(fuzz, "_LOOK_EVERY", 1)
    faults = " ".join(fuzz.run(1, 0, 300, c_longlong()).faults)
    for words in ("KeyError: 'lost'", "books must balance", "took 0.00 s"):
        assert words in faults


def test_after_damaged_messages_over_a_socket_a_good_series_is_complete(fuzz, tmp_path):
    service = LiveService(
        Settings().changed(
            {
                "stream.bind": "tcp://127.0.0.1:*",
                "stream.drain_s": 0.05,
                "output.directory": tmp_path,
                "screening.enabled": False,
                "reconstruction.enabled": False,
            }
        )
    )
    service.start()
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(service.receiver.endpoint)
    try:
        corpus = fuzz.all_series()
        good = [parts for series in corpus for parts in series.messages()]
        for index in range(700):
            socket.send_multipart(fuzz.message_of(index, 5, corpus, good))
        for parts in fuzz.final_series():
            socket.send_multipart(parts)
        deadline = time.monotonic() + 60
        while (status := service.status()).series != 424_242 or status.state != "complete":
            assert status.balanced
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        assert status.counts.accepted == 2
        row, col = np.indices((37, 41))
        expected = 2 * ((row * 31 + col * 17 + row * col) % 251) + (row > 0)
        expected[0, -1] = 0
        with h5py.File(status.result) as file:
            np.testing.assert_array_equal(file["entry/sum/data"][()], expected)
    finally:
        socket.close()
        context.term()
        service.stop()
