"""Every named fault of the stream against the real service: the state it must end in, and what the books must say."""

import numpy as np
import pytest

from sim.faults import FaultChain
from sim.faults_frames import FRAMES
from sim.faults_series import SERIES
from sim.wire import EncodedImage, encode, end_message, header_message, image_message

COUNT = 40
USABLE = ("accepted", "low_intensity", "streak", "background")
CONFIG = {
    "nimages": 1, "ntrigger": COUNT, "trigger_mode": "ints", "bit_depth_image": 32, "beam_center_x": 31.5,
    "beam_center_y": 31.5, "count_time": 1.0, "frame_time": 1.0, "photon_energy": 8821.0, "wavelength": 1.40556,
    "detector_distance": 2.08, "x_pixel_size": 75e-6, "x_pixels_in_detector": 64, "y_pixels_in_detector": 64,
    "description": "Dectris Eiger",
}  # fmt: skip

OUTCOMES = {
    "drop:8,9": ("incomplete", {"missing": 2}),
    "duplicate:8,9": ("complete", {"duplicate": 2}),
    "truncate:8,9": ("incomplete", {"corrupt": 2}),
    "corrupt:8,9": ("incomplete", {"corrupt": 2}),
    "empty-hash:8,9": ("complete", {}),
    "wrong-hash:8,9": ("incomplete", {"corrupt": 2}),
    "wrong-shape:8,9": ("incomplete", {"corrupt": 2}),
    "bad-json:8,9": ("incomplete", {"corrupt": 2}),
    "foreign:8,9": ("complete", {}),
    "zero-header:8,9": ("incomplete", {"corrupt": 2}),
    "missing-part:8,9": ("incomplete", {}),
    "reorder:8,9": ("complete", {}),
    "second-receiver": ("incomplete", {"missing": COUNT // 2}),
    "late-header:2": ("complete", {}),
    "no-end": ("complete", {}),
    "early-end:29": ("incomplete", {"missing": 10}),
    "stall:1@8": ("complete", {}),
    "two-ends": ("complete", {}),
    "end-first:3": ("complete", {}),
    "replay": ("complete", {}),
    "restart:20": ("incomplete", {"missing": 20}),
    "lone-config": ("complete", {}),
    "missing-header-part:2": ("complete", {}),
    "clock-jump:-3600@8": ("complete", {}),
}
"""State and counts of the last result; usable frames are the rest. `restart`: the first result has the other half."""


def messages_of(scan, series=3):
    yield header_message(series, "all", CONFIG, pixel_mask=np.zeros(scan.SHAPE, np.uint32))
    for number, pixels in enumerate(scan.pixels):
        image: EncodedImage = encode(pixels, "bslz4")
        yield image_message(series, number, image, (number * 10**9, number * 10**9 + 5, 5))
    yield end_message(series)


def send(bench, specs, *series):
    chain = FaultChain(specs, 5)
    for number, scan in series:
        for message in messages_of(scan, number):
            for out in chain.apply(message):
                bench.socket.send_multipart(out.parts)


def test_every_fault_of_the_stream_has_an_outcome():
    named = {spec.partition(":")[0] for spec in OUTCOMES} | {"no-header", "interleave"}
    assert named == {*FRAMES, *SERIES}


@pytest.mark.parametrize("spec", OUTCOMES)
def test_outcome(bench_of, scan, spec):
    frames = scan(COUNT)
    state, expected = OUTCOMES[spec]
    bench = bench_of()
    bench.start(**{"stream.check_hash": "always", "stream.idle_timeout_s": 1.0, "recovery.enabled": False})
    send(bench, [spec], (3, frames))

    def ended(status):
        return status.state == state and all(getattr(status.counts, name) == n for name, n in expected.items())

    status = bench.wait(ended)
    counts = status.counts
    usable = sum(getattr(counts, name) for name in USABLE)
    assert usable + counts.missing + counts.corrupt == COUNT
    strays = counts.foreign + counts.pending  # of a series whose header may still come
    assert strays == (2 if spec.startswith("foreign") else 0)
    assert counts.received == usable + counts.corrupt + counts.duplicate + strays
    frames.assert_exact(status.result)


def test_a_repeated_series_gets_a_file_of_its_own_and_both_are_whole(bench_of, scan):
    frames = scan(COUNT)
    bench = bench_of()
    bench.start(**{"recovery.enabled": False})
    send(bench, ["replay"], (3, frames))
    bench.wait(lambda status: str(status.result).endswith("_2.nxs") and status.state == "complete")
    for name in ("series_3.nxs", "series_3_2.nxs"):
        frames.assert_exact(bench.folder / name)


def test_the_last_frames_of_an_interleaved_series_are_missing_and_foreign_to_the_next(bench_of, scan):
    first, second = scan(COUNT, 1), scan(COUNT, 2)
    bench = bench_of()
    bench.start(**{"stream.idle_timeout_s": 1.0, "recovery.enabled": False})
    send(bench, ["interleave:3"], (3, first), (4, second))
    status = bench.wait(lambda status: status.series == 4 and status.state == "incomplete")
    assert status.counts.foreign + status.counts.pending == 3
    assert status.missing_frames == [(COUNT - 3, COUNT - 1)]  # they wait for a third series
    second.assert_exact(status.result)
    first.assert_exact(bench.folder / "series_3.nxs")


def test_without_a_header_every_frame_is_foreign_and_there_is_no_file(bench_of, scan):
    bench = bench_of()
    bench.start(**{"recovery.enabled": False})
    send(bench, ["no-header"], (3, scan(COUNT)))
    status = bench.wait(lambda status: status.counts.received == COUNT and not status.behind)
    assert status.state == "idle"
    assert status.counts.foreign + status.counts.pending == COUNT
    assert not list(bench.folder.glob("*.nxs"))
