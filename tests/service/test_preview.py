import io

import numpy as np
import pytest
from PIL import Image

from service.preview import INVALID_RGB, gray_bytes, make_image_preview, make_preview, render
from service.source import Preview


def test_values_that_are_no_photons_do_not_shine():
    frame = np.array([[3, 65535], [65534, 65534]], np.uint16)
    valid = np.ones((2, 2), np.uint8)
    pooled = make_preview(frame, valid, version=1, max_side=1, below=65534)
    assert pooled.pixels.tolist() == [[3.0]]
    assert np.isnan(make_preview(frame[1:], valid[1:], version=1, below=65534).pixels).all()


def test_longest_side_is_kept():
    total = np.zeros((4371, 4150), np.uint64)
    preview = make_preview(total, np.ones(total.shape, np.uint8), version=3, frames=2)
    assert preview.step == 5
    assert preview.pixels.shape == (875, 830)
    assert (preview.version, preview.frames, preview.log) == (3, 2, True)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"valid must be an array of the sum's shape \(4, 4\), got \(4, 5\)"):
        make_preview(np.zeros((4, 4), np.uint64), np.ones((4, 5), np.uint8), version=1)
    with pytest.raises(ValueError, match="max_side must be at least 1 pixel, got 0"):
        make_preview(np.zeros((4, 4), np.uint64), np.ones((4, 4), np.uint8), version=1, max_side=0)


def colours(preview):
    picture = render(preview)
    return np.asarray(Image.open(io.BytesIO(picture.jpeg))).astype(int), picture


def test_picture_brightens_with_the_logarithm_and_shows_the_mask_gray():
    steps = np.repeat(np.repeat(np.array([[0, 1, 10, 100, 1000]], np.uint64), 40, 0), 40, 1)
    valid = np.ones(steps.shape, np.uint8)
    valid[:, 160:] = 0
    rgb, picture = colours(make_preview(steps, valid, version=1))
    centres = rgb[20, 20::40]
    np.testing.assert_allclose(centres[4], INVALID_RGB, atol=8)
    luminance = centres[:4] @ [0.299, 0.587, 0.114]
    assert np.all(np.diff(luminance) > 15)
    np.testing.assert_allclose(np.diff(luminance)[1], np.diff(luminance)[2], rtol=0.6)  # decades look alike
    assert picture.high == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("value", [0, 7])
def test_a_flat_picture_renders(value):
    preview = make_preview(np.full((8, 8), value, np.uint64), np.ones((8, 8), np.uint8), version=1)
    rgb, picture = colours(preview)
    assert rgb.shape == (8, 8, 3)
    assert np.isfinite(picture.high)


def test_a_picture_without_a_measured_pixel_is_gray():
    for log in (True, False):
        rgb, _ = colours(Preview(pixels=np.full((8, 8), np.nan, np.float32), version=1, log=log))
        np.testing.assert_allclose(rgb[4, 4], INVALID_RGB, atol=4)


def test_reconstruction_is_linear_and_bears_negative_values():
    image = np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    rgb, picture = colours(make_image_preview(image, version=2))
    assert picture.low == pytest.approx(-1)
    assert picture.high == pytest.approx(1)
    assert rgb[2].sum() < rgb[32].sum() < rgb[62].sum()
    assert make_image_preview(np.ones((2100, 1500), np.float32), version=1).pixels.shape == (700, 500)


def test_gray_bytes_fit_the_waveform_and_keep_the_brightest():
    total = np.zeros((1030, 1065), np.uint64)
    total[400, 777] = 10_000
    total[600:] = 1
    valid = np.ones(total.shape, np.uint8)
    valid[:20] = 0
    small = gray_bytes(make_preview(total, valid, version=1))
    assert max(small.shape) <= 256
    assert small.dtype == np.uint8
    assert (small[0] == 0).all()
    assert small[1030 // 2 // 5 :].min() >= 1
    bright = np.unravel_index(small.argmax(), small.shape)
    np.testing.assert_allclose(np.array(bright) / small.shape, np.array([400, 777]) / total.shape, atol=0.02)


def test_a_reconstruction_is_shown_as_large_as_its_object_with_its_whole_range():
    image = np.zeros((65, 65), np.float32)
    image[25:40, 25:40] = 0.3
    image[30:35, 30:35] = 1.0
    preview = make_image_preview(image, version=1)
    assert preview.pixels.shape == (25, 25)
    assert preview.pixels[12, 12] == 1.0
    picture = render(preview)
    assert (picture.low, picture.high) == (0.0, 1.0)


def test_an_empty_reconstruction_is_shown_whole():
    assert make_image_preview(np.zeros((9, 9), np.float32), version=1).pixels.shape == (9, 9)
