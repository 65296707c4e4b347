"""The object's diameter from its pattern alone."""

from dataclasses import replace

import numpy as np
import pytest

from processing.models import core_shell, hollow_shell
from processing.object_size import estimate_diameter_m
from processing.prepare import PrepareSettings, prepare

MODELS = {
    "gold in silica, 55 nm": ("au-sio2", None),
    "gold in silica, 48 nm": ("au-sio2", core_shell(core_diameter_m=17e-9, outer_diameter_m=48e-9)),
    "hollow, 19 nm": ("nv-lp", None),
    "hollow, 17 nm": ("nv-lp", hollow_shell(outer_diameter_m=17e-9, thickness_m=3.2e-9)),
}


def prepared_of(s):
    return prepare(s.pattern, s.valid, s.geometry, PrepareSettings(), background=s.background)


@pytest.mark.parametrize("name", MODELS)
def test_diameter_is_found_within_three_percent(summed, name):
    sample, model = MODELS[name]
    s = summed(sample, 300, 0, model=model)
    assert estimate_diameter_m(prepared_of(s)) == pytest.approx(s.model.outer_diameter_m, rel=0.03)


@pytest.mark.parametrize("sample", ["au-sio2", "nv-lp"])
def test_few_frames_make_it_a_little_low(summed, sample):
    s = summed(sample, 3, 1, background_frames=3)
    ratio = estimate_diameter_m(prepared_of(s)) / s.model.outer_diameter_m
    assert 0.9 < ratio < 1.03


def test_noise_alone_has_no_diameter(summed):
    prepared = prepared_of(summed("au-sio2", 30, 2))
    rng = np.random.default_rng(0)
    flat = replace(
        prepared,
        amplitude=np.where(prepared.valid, np.sqrt(rng.poisson(100, prepared.valid.shape)), 0).astype(np.float32),
        sigma=np.where(prepared.valid, 10.0, 0).astype(np.float32),
        shared_sigma=np.zeros_like(prepared.sigma),
    )
    assert estimate_diameter_m(flat) is None
