"""Modules, gaps and masks of the two detectors."""

import numpy as np
import pytest

from sim.detector import GEOMETRIES, MASK_GAP, count_cutoff, pixel_type, pixels


def gap_runs(line):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
    return [tuple(pair) for pair in edges.reshape(-1, 2).tolist()]


def test_sixteen_megapixel_gaps_are_the_vendors():
    mask = pixels("eig16m").mask
    assert mask.shape == (4371, 4150)
    gaps = mask == MASK_GAP
    assert gap_runs(gaps[100]) == [(1030, 1040), (2070, 2080), (3110, 3120)]
    assert gap_runs(gaps[:, 100]) == [
        (514, 551), (1065, 1102), (1616, 1653), (2167, 2204), (2718, 2755), (3269, 3306), (3820, 3857),
    ]  # fmt: skip
    assert gaps.sum() == 1_198_210
    assert (mask > MASK_GAP).sum() == 2000


def test_one_megapixel_has_one_gap():
    mask = pixels("eig1m").mask
    assert mask.shape == (1065, 1030)
    assert gap_runs((mask == MASK_GAP)[:, 7]) == [(514, 551)]
    assert (mask > MASK_GAP).sum() == 100


@pytest.mark.parametrize("name", ["eig1m", "eig16m"])
def test_beam_hits_off_the_middle_and_near_what_the_header_says(name):
    geometry = GEOMETRIES[name]
    off = np.hypot(geometry.true_row - geometry.header_row, geometry.true_col - geometry.header_col)
    assert 0.25 < off < 0.5
    if name == "eig1m":
        half = 488  # an array of 977 x 977
        assert half <= geometry.true_row + 0.5
        assert geometry.true_col + half <= geometry.shape[1] - 1
    else:
        assert 55 <= (geometry.shape[0] - 1) / 2 - geometry.true_row <= 70
        assert 44 <= (geometry.shape[1] - 1) / 2 - geometry.true_col <= 56


def test_hot_pixels_are_not_in_the_mask_and_some_are_near_the_beam():
    for name, geometry in GEOMETRIES.items():
        known = pixels(name)
        assert not known.mask.flat[known.hot].any()
        assert np.unique(known.hot).size == geometry.hot_pixels
        rows, cols = np.unravel_index(known.hot, geometry.shape)
        assert (np.hypot(rows - geometry.true_row, cols - geometry.true_col) < 155).sum() >= geometry.hot_pixels // 6


def test_type_and_cutoff_follow_the_exposure():
    assert pixel_type(0.009) == np.uint16
    assert pixel_type(0.010) == np.uint32
    assert count_cutoff(0.009) < 65534
    assert count_cutoff(3600.0) < 2**32 - 2
