import pytest

from sim.settings import SimSettings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detector": "pilatus"}, "detector must be one of eig1m, eig16m, got 'pilatus'"),
        ({"sample": "salt"}, "sample must be one of au-sio2, nv-lp, got 'salt'"),
        ({"speed": 0.0}, "speed must be above 0"),
        ({"speed": float("nan")}, "speed must be above 0"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"injection_s": 240.0}, "injection must last between 0 s and the period of 240.0 s"),
    ],
)
def test_says_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        SimSettings(**change)
