"""What a series is for: background that has nothing to compare with, alignment that is never summed."""

import numpy as np
import pytest

from processing.frame import EncodedFrame, SeriesHeader
from service.config import Settings
from service.pipeline import Pipeline
from service.series import Series

SHAPE = (64, 64)
SETTINGS = Settings().changed(
    {"screening.ring_inner_px": 8, "screening.ring_outer_px": 14, "reconstruction.enabled": False}
)
LEVEL = {"sample": 20.0, "empty": 10.0, "silicon": 1.0}


@pytest.fixture
def make(wire):
    rng = np.random.default_rng(3)

    def frame(kind, number):
        mean = np.full(SHAPE, LEVEL["empty"] if kind == "edge" else LEVEL[kind])
        if kind == "edge":
            mean[31:34] *= 20
        encoding, blob = wire.encode(rng.poisson(mean).astype(np.uint32))
        return EncodedFrame(series=1, frame=number, shape=SHAPE, pixel_type="uint32", encoding=encoding, blob=blob)

    return frame


@pytest.fixture
def series():
    return Series(SeriesHeader(series=1, shape=SHAPE, pixel_type="uint32"), SETTINGS)


def feed(series, *frames):
    for frame in frames:
        series.book(frame, *series.reader.read(frame))


def counts(series):
    return {name: number for name, number in series.ledger.counts.items() if number}


def test_empty_frames_alone_are_background_only_when_the_scan_says_so(series, make):
    kinds = ["empty"] * 6 + ["edge", "silicon"]
    feed(series, *(make(kind, n) for n, kind in enumerate(kinds)))
    assert counts(series) == {"accepted": 6, "streak": 1, "low_intensity": 1}
    series.declare("background")
    assert counts(series) == {"background": 6, "streak": 1, "low_intensity": 1}
    assert (series.accepted.frames, series.background.frames) == (0, 6)
    assert not series.unresolved
    series.finish()
    assert counts(series) == {"background": 6, "streak": 1, "low_intensity": 1}


def test_other_thresholds_are_tried_for_the_same_purpose(series, make):
    series.declare("background")
    feed(series, *(make("empty", n) for n in range(6)))
    verdicts = series.scored().verdicts_under(SETTINGS.changed({"screening.chi2_ratio_max": 3.0}))
    assert set(verdicts.tolist()) == {3}


def test_nothing_of_an_alignment_is_summed(series, make):
    feed(series, make("sample", 0))
    series.declare("alignment")
    feed(series, *(make("sample", n) for n in range(1, 8)))
    series.finish()
    assert counts(series) == {"gated": 8}
    assert series.accepted.frames == series.background.frames == 0


def test_a_purpose_needs_an_open_series():
    pipeline = Pipeline(SETTINGS, user_mask=None, on_open=lambda _: None, on_end=lambda _: None)
    with pytest.raises(ValueError, match="a series must be open to be for background, got none; arm the detector"):
        pipeline.declare("background")
