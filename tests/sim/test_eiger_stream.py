"""The sender: in order, bounded, patient, and quick to stop."""

import threading
import time
from contextlib import contextmanager

import pytest
import zmq

from sim.eiger_stream import StreamSender
from sim.wire import WireMessage, end_message


def image(frame, size=1000, series=1, **more):
    return WireMessage(kind="image", series=series, frame=frame, parts=(b"%d" % frame, b"x" * size), **more)


@contextmanager
def sending(**options):
    sender = StreamSender(**options)
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    try:
        yield sender, pull
    finally:
        sender.close()
        context.destroy(linger=0)


def receive(pull, count, timeout_ms=5000):
    found = []
    while len(found) < count:
        assert pull.poll(timeout_ms), f"got only {len(found)} of {count} messages"
        found.append(pull.recv_multipart())
    return found


def test_messages_wait_for_the_receiver_and_come_in_order():
    with sending() as (sender, pull):
        for frame in range(30):
            assert sender.put(image(frame))
        sender.put(end_message(1))
        pull.connect(sender.endpoint)
        found = receive(pull, 31)
        assert [int(parts[0]) for parts in found[:-1]] == list(range(30))
        assert b"dseries_end" in found[-1][0]
        assert sender.drain(2.0)
        assert sender.free_percent == 100.0


def test_full_buffer_drops_images_but_never_an_end():
    with sending(buffer_bytes=5000) as (sender, pull):
        kept = [sender.put(image(frame)) for frame in range(10)]
        sender.put(end_message(1))
        assert sum(kept) == 4
        assert sender.dropped == 6
        assert sender.free_percent < 25.0
        pull.connect(sender.endpoint)
        assert len(receive(pull, 5)) == 5
        sender.reset_dropped()
        assert sender.dropped == 0


def test_abort_forgets_what_was_not_sent():
    with sending() as (sender, pull):
        for frame in range(5):
            sender.put(image(frame))
        sender.put(image(0, series=2))
        assert sender.forget_images(1) == [0, 1, 2, 3, 4]
        sender.put(end_message(1))
        pull.connect(sender.endpoint)
        found = receive(pull, 2)
        assert found[0][0] == b"0"
        assert b"dseries_end" in found[1][0]
        assert sender.free_percent == 100.0


def test_a_stall_delays_what_follows():
    with sending(wall=lambda seconds: seconds / 1000) as (sender, pull):
        pull.connect(sender.endpoint)
        sender.put(image(0))
        receive(pull, 1)
        start = time.monotonic()
        sender.put(image(1, wait_s=300.0))
        receive(pull, 1)
        assert 0.25 < time.monotonic() - start < 3.0


def test_taken_port_is_named():
    with sending() as (sender, _pull):
        port = int(sender.endpoint.rsplit(":", 1)[1])
        with pytest.raises(OSError, match=f"stream port must be free .* got {port}"):
            StreamSender(port)


def test_closing_does_not_wait_for_a_receiver():
    before = threading.active_count()
    sender = StreamSender()
    for frame in range(100):
        sender.put(image(frame))
    start = time.monotonic()
    sender.close()
    assert time.monotonic() - start < 3.0
    assert threading.active_count() <= before


def test_what_an_abort_drops_was_never_sent():
    with sending() as (sender, pull):
        pull.connect(sender.endpoint)
        for series in range(1, 31):
            for frame in range(12):
                sender.put(image(frame, series=series))
            came = [int(receive(pull, 1)[0][0])]
            lost = sender.forget_images(series)
            sender.put(end_message(series))
            while b"dseries_end" not in (message := receive(pull, 1)[0])[0]:
                came.append(int(message[0]))
            assert sorted(came + lost) == list(range(12))
