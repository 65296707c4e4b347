"""Real messages of both wires through the whole service, from the socket to the result file."""

import time

import bitshuffle
import cbor2
import h5py
import numpy as np
import pytest
import zmq

from service.config import Settings
from service.live import LiveService


@pytest.fixture
def start(tmp_path):
    """Start a service with some settings; give it and a socket that sends to it."""
    context, running = zmq.Context(), []

    def begin(**settings):
        service = LiveService(
            Settings().changed(
                {
                    "stream.bind": "tcp://127.0.0.1:*",
                    "stream.drain_s": 0.2,
                    "output.directory": tmp_path / str(len(running)),
                    "screening.enabled": False,
                    "reconstruction.enabled": False,
                    **settings,
                }
            )
        )
        service.start()
        socket = context.socket(zmq.PUSH)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(service.receiver.endpoint)
        running.append((service, socket))
        return service, socket

    yield begin
    for service, socket in running:
        socket.close()
        service.stop()
    context.term()


def wait_for(service, state, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        status = service.status()
        assert status.balanced
        if status.state == state:
            return status
        time.sleep(0.02)
    pytest.fail(f"state must become {state} within {timeout_s} s, got {service.status()}")


def test_the_captured_messages_of_a_real_eiger2_16m_give_the_sum_of_an_independent_decoder(start, captured):
    service, socket = start()
    for name in ("start", "image", "end"):
        socket.send(captured(f"{name}.cbor").read_bytes())
    status = wait_for(service, "complete")
    assert status.series == 15614
    assert status.announced == status.counts.accepted == status.counts.received == 1
    message = cbor2.loads(captured("image.cbor").read_bytes())
    (rows, cols), typed = message["data"]["threshold_1"].value
    body = np.frombuffer(typed.value.value[2][12:], np.uint8)
    pixels = bitshuffle.decompress_lz4(body, (rows * cols,), np.dtype("<u2"), 4096).reshape(rows, cols)
    counted = pixels < 2**16 - 2
    with h5py.File(status.result) as file:
        valid = file["entry/sum/valid"][()].astype(bool)
        np.testing.assert_array_equal(file["entry/sum/data"][()], np.where(valid & counted, pixels, 0))
        np.testing.assert_array_equal(file["entry/sum/excluded"][()], valid & ~counted)
        # 4 x 8 modules of 1028 x 512 pixels: nothing but the gaps is masked, and nothing in a gap was counted
        assert valid.sum() == 4 * 8 * 1028 * 512
        assert not counted[~valid].any()
    assert any("pixel mask of the header" in error.message for error in status.errors)


def test_a_series_of_two_channels_sums_the_one_the_user_chose(start, vector_folder):
    messages = [
        (vector_folder / f"stream2_{name}.cbor").read_bytes() for name in ("start", "image_u32", "image_u16", "end")
    ]
    row, col = np.indices((37, 41))
    ramp = (row * 31 + col * 17 + row * col) % 251
    expected = 2 * ramp + (row > 0)
    expected[0, -1] = 0
    for channel in ("threshold_1", "threshold_2"):
        service, socket = start(**{"stream.channel": channel})
        for message in messages:
            socket.send(message)
        status = wait_for(service, "complete")
        with h5py.File(status.result) as file:
            valid = file["entry/sum/valid"][()]
            assert valid.sum() == 37 * 41 - 2
            np.testing.assert_array_equal(file["entry/sum/data"][()], expected * valid)


def test_a_channel_that_is_not_there_is_said_and_no_other_is_summed(start, vector_folder):
    service, socket = start(**{"stream.channel": "difference"})
    for name in ("start", "image_u32", "image_u16", "end"):
        socket.send((vector_folder / f"stream2_{name}.cbor").read_bytes())
    status = wait_for(service, "failed")
    assert status.counts.corrupt == status.counts.received == 2
    told = [error for error in status.errors if "threshold_1, threshold_2; set stream.channel" in error.message]
    assert [error.frame for error in told] == [None, 0, 1]


def test_a_header_in_pieces_and_all_in_one_message_end_the_same(start, vectors):
    messages = vectors("stream1_series_all.msgs")
    sums = []
    for pieces in (True, False):
        service, socket = start()
        if pieces:
            for part in messages[0]:
                socket.send(part)
            for message in messages[1:]:
                socket.send_multipart(message)
        else:
            socket.send_multipart([part for message in messages for part in message])
        status = wait_for(service, "complete")
        assert status.announced == status.counts.accepted == 2
        with h5py.File(status.result) as file:
            sums.append(file["entry/sum/data"][()])
            assert file["entry/sum/valid"][()].sum() == 37 * 41 - 2
        assert status.errors == []
    np.testing.assert_array_equal(*sums)


def test_a_message_the_reader_stumbles_over_does_not_end_the_receiving(start, wire, monkeypatch):
    service, socket = start()

    def stumble(_parts):
        raise RuntimeError("a case nobody thought of")

    monkeypatch.setattr(service.receiver._reader, "read", stumble)
    socket.send(b"anything")
    deadline = time.monotonic() + 5
    while not service.status().errors and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "a case nobody thought of" in service.status().errors[-1].message
    monkeypatch.undo()
    socket.send_multipart(wire.header(3, (4, 5), ntrigger=1))
    socket.send_multipart(wire.image(np.ones((4, 5), np.uint32), 3, 0))
    socket.send_multipart(wire.end(3))
    assert wait_for(service, "complete").counts.accepted == 1
