"""A running series and its result file give the child the same window of the same sums."""

import numpy as np
import pytest

from processing.frame import EncodedFrame, SeriesHeader
from service.config import Reconstruction, Settings
from service.imaging_window import imaging_window
from service.office import Folder, imaging_job, series_file
from service.reconstruct_file import read_job
from service.series import Series
from service.store import write_series_file

SHAPE = (300, 260)
PLACE = {"center": (600.0, 700.0), "shape": (4371, 4150), "wavelength_m": 1.4e-10, "distance_m": 2.0}


def width_of(**settings):
    found = imaging_window(Reconstruction(**settings), **PLACE, pixel_size_m=75e-6)
    return found.window[1].stop - found.window[1].start


def test_the_width_is_the_one_given_else_enough_for_the_object():
    assert width_of(width_px=200) == 297
    assert width_of() == 1097
    assert width_of(object_diameter_m=1e-6) == 1097
    # fifteen speckles of 93 px, cut at the left edge of the detector
    assert width_of(object_diameter_m=40e-9) == 700 + (1400 + 96) // 2 + 1


@pytest.mark.parametrize("width_px", [None, 100])
def test_a_series_and_its_file_give_the_same_job(tmp_path, wire, width_px):
    changes = {"screening.enabled": False, "reconstruction.width_px": width_px}
    header = SeriesHeader(
        series=1, shape=SHAPE, beam_center_x=99.25, beam_center_y=180.5,
        wavelength_m=1.4e-10, distance_m=2.0, pixel_size_m=75e-6,
    )  # fmt: skip
    series = Series(header, Settings().changed(changes))
    pixels = np.random.default_rng(2).poisson(3, SHAPE).astype(np.uint16)
    encoding, blob = wire.encode(pixels)
    frame = EncodedFrame(series=1, frame=0, shape=SHAPE, pixel_type="uint16", encoding=encoding, blob=blob)
    series.book(frame, *series.reader.read(frame))
    path = tmp_path / "series_1.nxs"
    write_series_file(path, series_file(Folder(series=series, path=path)))

    live, later = imaging_job(series), read_job(path, series.settings.reconstruction, 1)
    for name in ("center", "origin", "wavelength_m", "distance_m", "pixel_size_m", "settings"):
        assert getattr(later, name) == getattr(live, name), name
    rows = slice(live.origin[0], live.origin[0] + live.valid.shape[0])
    cols = slice(live.origin[1], live.origin[1] + live.valid.shape[1])
    assert live.valid.shape == ((197, 197) if width_px else SHAPE)
    for job in (live, later):
        np.testing.assert_array_equal(job.accepted.data, pixels[rows, cols])
        np.testing.assert_array_equal(job.valid, series.valid[rows, cols])
