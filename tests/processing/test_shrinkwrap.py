"""Shrink-wrap: the support becomes the object's own, seed by seed."""

import numpy as np

from processing.project import disc, wrapped
from processing.shrinkwrap import ShrinkWrap


def discs(n, *radii):
    return wrapped(np.stack([disc(n, radius) for radius in radii]).astype(np.float32))


def test_each_object_becomes_its_own_support():
    objects = discs(65, 5.0, 8.0)
    widest = wrapped(disc(65, 20.0)[None])[0]
    found = ShrinkWrap(threshold=0.5).support(objects, widest, 10_000)
    for one, radius in zip(found, (5.0, 8.0), strict=True):
        assert abs(np.sqrt(one.sum() / np.pi) - radius) < 0.5


def test_the_support_never_leaves_the_widest():
    objects = discs(33, 10.0) + 1
    widest = wrapped(disc(33, 6.0)[None])[0]
    found = ShrinkWrap(threshold=0.01).support(objects, widest, 0)
    np.testing.assert_array_equal(found[0], widest)


def test_a_lower_threshold_keeps_more_and_the_gaussian_narrows():
    objects = discs(65, 6.0)
    widest = np.ones((65, 65), bool)
    sizes = [ShrinkWrap(threshold=part).support(objects, widest, 0).sum() for part in (0.5, 0.2, 0.05)]
    assert sizes == sorted(sizes)
    shrink = ShrinkWrap(threshold=0.1)
    sigmas = [shrink.sigma_px(k) for k in range(0, 2000, 20)]
    assert sigmas == sorted(sigmas, reverse=True)
    assert (sigmas[0], sigmas[-1]) == (2.0, 1.0)
    assert shrink.sigma_px(39) == shrink.sigma_px(20)
