"""A simulation that cannot be is refused by the command that was typed."""

import pytest

from service.cli.simulation import check_simulation
from service.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eig4m", "au-sio2", 1.0), r"--detector must be eig1m or eig16m, got 'eig4m'"),
        (("eig1m", "gold", 1.0), r"--sample must be au-sio2 or nv-lp, got 'gold'"),
        (("eig1m", "nv-lp", 0.0), r"--speed must be above 0 and at most 10000, got 0"),
    ],
)
def test_the_sentence_names_what_can_be(arguments, words):
    with pytest.raises(UsageError, match=words):
        check_simulation(*arguments)


def test_what_can_be_passes():
    check_simulation("eig16m", "nv-lp", None)
