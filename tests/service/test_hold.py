"""What is kept compressed for a second thought: bounded, the marginal ones last and on pages of their own."""

import numpy as np

from processing.frame import EncodedFrame
from service.hold import Hold


def frame_of(number, size=1000):
    blob = memoryview(np.full(size, number, np.uint8).tobytes())
    return EncodedFrame(series=1, frame=number, shape=(1, size), pixel_type="uint8", encoding="<", blob=blob)


def test_frames_far_from_any_cut_make_room_first():
    hold = Hold(10_000, most_frames=4)
    for row in range(3):
        hold.put(row, frame_of(row), marginal=row == 0)
    assert not hold.full()
    for row in range(3, 9):
        hold.put(row, frame_of(row), marginal=False)
    assert hold.full()
    assert [row for row in range(9) if hold.get(row) is not None] == [0, 6, 7, 8]
    assert hold.held_bytes == 4000
    for row in range(9, 20):
        hold.put(row, frame_of(row), marginal=True)
    assert [row for row in range(20) if hold.get(row) is not None] == [16, 17, 18, 19]
    hold.clear()
    assert len(hold) == hold.held_bytes == 0


def test_a_marginal_frame_no_longer_needs_the_message_it_came_in():
    hold = Hold(10_000)
    message = bytearray(b"photons")
    frame = EncodedFrame(series=1, frame=0, shape=(1, 7), pixel_type="uint8", encoding="<", blob=memoryview(message))
    hold.put(0, frame, marginal=True)
    hold.put(1, frame, marginal=False)
    message[:] = b"garbage"
    assert bytes(hold.get(0).blob) == b"photons"
    assert hold.get(1) is frame
    assert hold.get(2) is None


def test_an_empty_blob_can_be_held():
    hold = Hold(10_000)
    hold.put(0, frame_of(0, size=0), marginal=True)
    assert bytes(hold.get(0).blob) == b""
