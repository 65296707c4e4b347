"""The child process: an image from sums, a sentence instead of one, and never a wait without end."""

import json

import numpy as np
import pytest

from processing.models import sample
from processing.snapshot import SumSnapshot
from service.config import Settings
from service.imaging import ImagingError, ImagingJob, run_imaging

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


def test_the_same_job_gives_the_same_image(tmp_path):
    first, second = (run_imaging(job(sums()), tmp_path, 100, lambda: False) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)


@pytest.mark.parametrize(
    ("accepted", "changes", "words"),
    [
        (EMPTY, {}, "must hold at least 1 frame, got 0"),
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
    with pytest.raises(ImagingError, match=r"must end within 0\.2 s and was stopped"):
        run_imaging(job(sums()), tmp_path, 0.2, lambda: False)
    with pytest.raises(ImagingError, match="was stopped, because"):
        run_imaging(job(sums()), tmp_path, 100, lambda: True)


def test_a_child_that_breaks_is_named(tmp_path):
    broken = job(sums())
    broken.settings["seeds"] = 0
    with pytest.raises(ImagingError, match="ended with code 1"):
        run_imaging(broken, tmp_path, 100, lambda: False)
