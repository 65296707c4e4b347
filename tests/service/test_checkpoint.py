"""A checkpoint is whole or not used, whatever a kill or a disk did to it."""

import json
import os

import numpy as np
import pytest

from service import checkpoint
from service.checkpoint import (
    DamagedCheckpointError,
    generation_before,
    read_checkpoint,
    read_newest,
    remove_checkpoints,
    write_checkpoint,
)
from service.whole_file import WholeFile


@pytest.fixture
def arrays():
    rng = np.random.default_rng(5)
    return {
        "small": rng.integers(0, 200, (30, 40)).astype(np.uint64),
        "large": rng.integers(0, 2**60, (7, 5), dtype=np.uint64),
        "excluded": np.zeros((30, 40), np.uint32),
        "chi2": np.array([1.5, np.nan, -0.0]),
        "dof": np.array([-1, 5], np.int64),
        "nothing": np.zeros(0, np.uint16),
    }


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_everything_comes_back_with_its_type(tmp_path, arrays):
    path = tmp_path / "series_1.checkpoint"
    write_checkpoint(path, {"frames": 3, "note": "µm"}, arrays)
    facts, found = read_checkpoint(path)
    assert facts == {"frames": 3, "note": "µm"}
    assert_equal(found, arrays)
    assert path.stat().st_size < sum(array.nbytes for array in arrays.values())  # stored in the smallest type


def test_any_cut_and_any_flipped_byte_is_noticed(tmp_path, arrays):
    path = tmp_path / "series_1.checkpoint"
    write_checkpoint(path, {"frames": 3}, arrays)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for cut in [0, 1, 23, 24, *rng.integers(25, len(whole), 40).tolist(), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(DamagedCheckpointError, match=r"must|does not fit"):
            read_checkpoint(path)
    for place in rng.integers(0, len(whole), 200).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises((DamagedCheckpointError, json.JSONDecodeError)):
            read_checkpoint(path)


def test_the_generation_before_serves_when_the_newest_is_damaged(tmp_path, arrays):
    path = tmp_path / "series_1.checkpoint"
    write_checkpoint(path, {"n": 1}, arrays)
    write_checkpoint(path, {"n": 2}, arrays)
    assert read_newest(path)[0] == {"n": 2}
    path.write_bytes(path.read_bytes()[:-5])
    facts, found, troubles = read_newest(path)
    assert facts == {"n": 1}
    assert_equal(found, arrays)
    assert "series_1.checkpoint cannot be used" in troubles[0]
    path.unlink()
    assert read_newest(path)[0] == {"n": 1}
    remove_checkpoints(path)
    assert read_newest(path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("place", "step"), [(WholeFile, "write"), (os, "fsync"), (os, "replace")])
def test_a_disk_that_refuses_costs_nothing_that_was_there(tmp_path, arrays, monkeypatch, no_space, place, step):
    path = tmp_path / "series_1.checkpoint"
    write_checkpoint(path, {"n": 1}, arrays)
    write_checkpoint(path, {"n": 2}, arrays)

    monkeypatch.setattr(place, step, no_space)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(path, {"n": 3}, arrays)
    monkeypatch.undo()
    assert read_newest(path)[0] == {"n": 2}
    assert read_checkpoint(generation_before(path))[0] == {"n": 1}


def test_a_kill_between_the_two_renames_leaves_the_generation_before(tmp_path, arrays, monkeypatch):
    path = tmp_path / "series_1.checkpoint"
    write_checkpoint(path, {"n": 1}, arrays)
    real = checkpoint.os.replace

    def only_the_first(source, target):
        if target == path:
            raise KeyboardInterrupt  # as good as a kill
        real(source, target)

    monkeypatch.setattr(checkpoint.os, "replace", only_the_first)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, {"n": 2}, arrays)
    assert read_newest(path)[0] == {"n": 1}
