"""What the prompt shows of an error: a sentence where it says it all."""

import pytest
from bluesky.utils import FailedStatus, RunEngineInterrupted

from devices.errors import StageError
from devices.exposure import SeriesPlan
from service.errors import UserError
from service.prompt_errors import show


class Shell:
    """Keeps what it is told to show whole."""

    def __init__(self):
        self.whole = []

    def showtraceback(self, what, tb_offset):
        self.whole.append((what[0], tb_offset))


def told(error, capsys):
    """Give what is shown: the exceptions shown whole, and the sentences."""
    shell = Shell()
    with pytest.raises(type(error)) as caught:
        raise error
    show(shell, caught.type, caught.value, caught.tb, 3)
    return shell.whole, capsys.readouterr().err


def failed_status():
    error = FailedStatus("status of stage_x")
    error.__cause__ = StageError("stage_x must reach 5 um")
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (StageError("stage_x must reach 5 um"), "StageError: stage_x must reach 5 um"),
        (UserError("give a folder"), "UserError: give a folder"),
        (failed_status(), "StageError: stage_x must reach 5 um"),
        (RunEngineInterrupted("Your RunEngine is paused"), "RunEngineInterrupted: Your RunEngine is paused"),
    ],
)
def test_what_says_it_all_is_a_sentence(error, sentence, capsys):
    assert told(error, capsys) == ([], f"{sentence}\n(%tb shows where)\n")


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("not ours"), FailedStatus("of another device")])
def test_anything_else_is_shown_whole(error, capsys):
    assert told(error, capsys) == ([(type(error), 3)], "")


def test_a_value_that_our_own_code_refuses_is_a_sentence(capsys):
    shell = Shell()
    with pytest.raises(ValueError, match="exposure must be above 0") as caught:
        SeriesPlan(exposure_s=-1.0)
    show(shell, ValueError, caught.value, caught.tb)
    assert shell.whole == []
    assert capsys.readouterr().err.startswith("ValueError: exposure must be above 0 s, got -1.0 s")
