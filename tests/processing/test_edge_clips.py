"""Frames by the part of the beam on silicon."""

import numpy as np

from processing.edge_clips import clip_curve


def test_every_clipped_frame_is_in_one_class():
    clip = [0.0, 0.0, 0.05, 0.08, 0.3, 0.35, 0.95, 1.0]
    accepted = [True, True, True, False, True, False, False, False]
    curve = clip_curve(clip, accepted)
    assert curve.frames.sum() == 6
    assert curve.kept.tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert curve.between(0.1, 0.9) == (1, 2)
    np.testing.assert_array_equal(curve.kept_fraction[[0, 3, 9]], [0.5, 0.5, 0.0])
    assert np.isnan(curve.kept_fraction[5])
