import hashlib
from itertools import pairwise

import pytest

from processing.frame import EncodedFrame, Refusal
from processing.hash_check import HashCheck

BLOB = b"the compressed pixels of a frame"
TRUE = hashlib.md5(BLOB).hexdigest()


def frame(md5, number=0, blob=BLOB):
    return EncodedFrame(
        series=4, frame=number, shape=(1, 1), pixel_type="uint8", encoding="<", blob=memoryview(blob), md5=md5
    )


def test_a_mismatch_after_a_match_makes_the_frame_corrupt():
    check = HashCheck()
    assert check.refuse(frame(TRUE), 0.0) is None
    refusal = check.refuse(frame(TRUE, 1, BLOB + b"!"), 0.0)
    assert isinstance(refusal, Refusal)
    assert (refusal.series, refusal.frame, refusal.image) == (4, 1, True)
    assert f"must be the sender's {TRUE}" in refusal.reason
    assert check.refuse(frame(TRUE.upper(), 2), 0.0) is None


@pytest.mark.parametrize("other", ["0" * 32, "-7733921", "d41d8cd98f00b204e9800998ecf8427e"])
def test_where_no_hash_ever_matched_a_mismatch_says_nothing(other):
    check = HashCheck()
    assert [check.refuse(frame(other, number), 0.0) for number in range(9)] == [None] * 9
    assert check.doubts() == []


def test_an_empty_hash_never_makes_a_frame_corrupt():
    check = HashCheck("always")
    check.refuse(frame(TRUE), 0.0)
    assert check.refuse(frame("", 1), 0.0) is None


def test_mismatches_before_the_proof_are_doubts_told_once():
    check = HashCheck()
    for number in (5, 6):
        assert check.refuse(frame(TRUE, number, b"other"), 0.0) is None
    assert check.doubts() == []
    check.refuse(frame(TRUE, 7), 0.0)
    assert check.doubts() == [5, 6]
    assert check.doubts() == []


def test_never_means_never():
    check = HashCheck("never")
    check.refuse(frame(TRUE), 0.0)
    assert check.refuse(frame(TRUE, 1, b"other"), 0.0) is None


def checked(mode, blob_bytes, rate_hz, seconds):
    """Return which frames of a steady stream are looked at: every one but the first is damaged."""
    blob = bytes(blob_bytes)
    check = HashCheck(mode)
    check.refuse(frame(hashlib.md5(blob).hexdigest(), 0, blob), 0.0)
    numbers = range(1, int(rate_hz * seconds))
    return [number for number in numbers if check.refuse(frame(TRUE, number, blob), number / rate_hz)]


def test_slow_frames_are_all_checked():
    assert len(checked("auto", 2_000_000, 10.0, 20.0)) == 199


def test_quick_large_frames_are_checked_as_a_twentieth_of_a_core_pays_for():
    found = checked("auto", 8_000_000, 133.0, 12.0)
    at_once = 0.5 * 600e6 / 8e6
    paid = 0.05 * 12.0 * 600e6 / 8e6
    assert len(found) == pytest.approx(at_once + paid, abs=3)
    assert found[:2] == [1, 2]
    assert max(b - a for a, b in pairwise(found)) < 40


def test_always_means_always():
    assert len(checked("always", 1_000_000, 1000.0, 0.2)) == 199
