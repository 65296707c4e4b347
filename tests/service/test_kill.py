"""A few kills of the real process in mid-series; `make kills` does hundreds."""

import importlib.util
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak" / "kills.py"


@pytest.fixture(scope="module")
def kills():
    spec = importlib.util.spec_from_file_location("kills", SOAK)
    module = sys.modules["kills"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("spool", "count", "frames"), [(True, 2, 300), (False, 1, 150)])
def test_kills_lose_no_more_than_was_said_and_nothing_that_a_file_has(tmp_path, kills, spool, count, frames):
    outcome = kills.run_series(tmp_path, kills=count, frames=frames, rate=100.0, spool=spool, seed=3, life_s=1.0)
    assert outcome.wrong == []
    assert outcome.kills >= 1
    assert outcome.balanced
    assert outcome.exact
    assert outcome.exact_after_recovery
