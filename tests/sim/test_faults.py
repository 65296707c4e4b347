"""Each named fault does what its sentence says, and the same every time."""

import hashlib
import json

import numpy as np
import pytest

from sim.faults import KINDS, FaultChain, describe
from sim.wire import encode, end_message, header_message, image_message

FRAMES = 40


def series(number=1):
    image = encode(np.random.default_rng(0).poisson(1.0, (24, 32)).astype(np.uint32), "bslz4")
    yield header_message(number, "basic", {"nimages": 1}, pixel_mask=np.zeros((24, 32), np.uint32))
    for frame in range(FRAMES):
        yield image_message(number, frame, image, (0, 1, 1))
    yield end_message(number)


def through(*specs, seed=5):
    chain = FaultChain(specs, seed)
    return [out for message in series() for out in chain.apply(message)]


def kinds(messages):
    return [message.kind for message in messages]


def numbers(messages):
    return [message.frame for message in messages if message.kind == "image"]


def test_without_faults_nothing_changes():
    assert through() == list(series())


def test_dropped_and_duplicated_frames_by_number():
    assert numbers(through("drop:3,7")) == [i for i in range(FRAMES) if i not in (3, 7)]
    assert numbers(through("duplicate:3,7")) == sorted([*range(FRAMES), 3, 7])


def test_a_part_of_all_frames_follows_from_the_seed():
    lost = set(range(FRAMES)) - set(numbers(through("drop:0.25")))
    assert 3 <= len(lost) <= 18
    assert numbers(through("drop:0.25")) == numbers(through("drop:0.25"))
    assert numbers(through("drop:0.25", seed=6)) != numbers(through("drop:0.25"))


def test_truncated_and_corrupt_blobs_keep_the_true_hash():
    true = next(message for message in series() if message.frame == 3).parts[2]
    for fault in ("truncate:3", "corrupt:3"):
        (hit,) = [message for message in through(fault) if message.frame == 3]
        assert hit.parts[2] != true
        assert json.loads(hit.parts[0])["hash"] == hashlib.md5(true).hexdigest()
        assert (len(hit.parts[2]) < len(true)) is (fault == "truncate:3")
        assert sum(a != b for a, b in zip(through(fault), series(), strict=True)) == 1


@pytest.mark.parametrize(
    ("fault", "part", "check"),
    [
        ("wrong-shape:3", 1, lambda part: json.loads(part)["shape"] == [40, 24]),
        ("empty-hash:3", 0, lambda part: json.loads(part)["hash"] == ""),
        ("wrong-hash:3", 0, lambda part: json.loads(part)["hash"] == "0" * 32),
        ("bad-json:3", 1, lambda part: not part.endswith(b"}")),
    ],
)
def test_changed_parts(fault, part, check):
    hit = [message for message in through(fault) if message.frame == 3]
    assert len(hit) == 1
    assert check(hit[0].parts[part])


def test_foreign_image_comes_before_the_frame():
    messages = [json.loads(message.parts[0]) for message in through("foreign:3")]
    at = next(i for i, first in enumerate(messages) if first.get("series") == 1001)
    assert messages[at]["frame"] == messages[at + 1]["frame"] == 3
    assert messages[at + 1]["series"] == 1


def test_reordered_frames_all_arrive():
    found = numbers(through("reorder:3,9"))
    assert found[3:5] == [4, 3]
    assert sorted(found) == list(range(FRAMES))
    messages = through(f"reorder:{FRAMES - 1}")
    assert kinds(messages)[-2:] == ["image", "end"]


def test_headers_and_ends():
    assert "header" not in kinds(through("no-header"))
    assert "end" not in kinds(through("no-end"))
    assert kinds(through("late-header:2"))[:4] == ["image", "image", "header", "image"]
    early = through("early-end:4")
    assert numbers(early) == [0, 1, 2, 3, 4]
    assert kinds(early)[-1] == "end"


def test_late_header_of_a_series_without_frames_comes_before_its_end():
    chain = FaultChain(["late-header:2"])
    messages = list(series())
    assert kinds([out for m in (messages[0], messages[-1]) for out in chain.apply(m)]) == ["header", "end"]


def test_second_receiver_takes_every_other_frame():
    assert numbers(through("second-receiver")) == list(range(0, FRAMES, 2))


def test_stall_waits_before_one_frame():
    assert [m.frame for m in through("stall:300@5") if m.wait_s == 300.0] == [5]


def test_faults_add_up():
    assert numbers(through("drop:1", "duplicate:2")) == [0, 2, 2, *range(3, FRAMES)]


def test_every_fault_is_described_and_runs():
    assert [line.split()[0] for line in describe().splitlines()] == list(KINDS)
    for name in KINDS:
        through(name)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("frobnicate", "fault must be one of drop, .*--fault help"),
        ("drop:2.5", "argument of fault drop must look like '0.1', got '2.5'"),
        ("drop:x", "argument of fault drop"),
        ("no-end:3", "takes no argument"),
        ("stall:5", "must look like '300@5'"),
        ("stall:-1@3", "above 0 s"),
    ],
)
def test_bad_specs_are_refused(spec, words):
    with pytest.raises(ValueError, match=words):
        FaultChain([spec])
