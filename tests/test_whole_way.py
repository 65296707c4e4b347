"""From motor to result file: the live sum, the sum of the detector's files and the truth are the same array."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from processing.frame import CATEGORY_NAMES, Category
from service.config import Settings
from service.reprocess import reprocess_file
from sim.truth import read_books, sum_of

RUN = Path(__file__).parent / "whole_way_run.py"
VOID = (3, 44)


def whole_way(folder, seed):
    words = [sys.executable, str(RUN), str(folder), str(seed), *map(str, VOID)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=140, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.strip().splitlines()[-1])["series"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three seeds."""
    return {seed: whole_way(tmp_path_factory.mktemp(f"seed{seed}"), seed) for seed in (1, 2, 3)}


@pytest.fixture(params=[1, 2, 3])
def run(request, runs):
    return runs[request.param]


def rows_of(result):
    with h5py.File(result) as file:
        rows = file["entry/frames"]
        return rows["frame"][()], rows["verdict"][()], file["entry/sum/data"][()], file["entry/sum/excluded"][()]


@pytest.mark.timeout(300)
def test_three_ways_to_the_same_sum(run):
    folder, series = run
    frame, verdict, total, excluded = rows_of(folder / f"series_{series}.nxs")
    names = {CATEGORY_NAMES[code] for code in verdict}
    assert {"accepted", "low_intensity", "streak", "background", "gated", "duplicate"} <= names
    accepted = frame[verdict == Category.ACCEPTED].tolist()
    assert not set(accepted) & set(VOID)

    truth = sum_of(folder / "truth", series, accepted)
    np.testing.assert_array_equal(total, truth.total)
    np.testing.assert_array_equal(excluded, truth.excluded)
    assert excluded.any(), "hot pixels must have been in the series"

    settings = Settings().changed({"output.directory": folder / "again", "reconstruction.enabled": False})
    (master,) = folder.glob("detector/**/*_master.h5")
    again = reprocess_file(master, settings, lambda *_: None, points=folder / f"series_{series}.nxs")
    _, _, total_again, excluded_again = rows_of(again.result)
    np.testing.assert_array_equal(total_again, total)
    np.testing.assert_array_equal(excluded_again, excluded)


def test_every_frame_has_its_point_and_the_verdicts_fit_the_labels(run):
    folder, series = run
    with h5py.File(folder / f"series_{series}.nxs") as file:
        rows = {name: file["entry/frames"][name][()] for name in ("frame", "verdict", "point", "x", "y")}
    books = read_books(folder / "truth", series)
    label = {entry["frame"]: entry for entry in books["frames"]}
    for number, verdict, point, x in zip(*(rows[name] for name in ("frame", "verdict", "point", "x")), strict=True):
        if number in VOID or verdict == Category.GATED:
            continue
        assert point >= 0
        assert x == pytest.approx(label[number]["conditions"]["x_um"])
        seen = label[number]
        # a faint streak drowns in the noise of these short exposures: its verdict is not tested here
        if verdict != Category.DUPLICATE and not seen["graded"] and seen["label"] != "streak":
            assert CATEGORY_NAMES[verdict] == seen["label"], number
    valid_points = rows["point"][(rows["verdict"] <= Category.BACKGROUND)]
    assert len(set(valid_points.tolist())) == len(valid_points), "one valid exposure a point"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_same_seed_gives_the_same_run(runs, tmp_path):
    results = [rows_of(folder / f"series_{series}.nxs") for folder, series in (runs[1], whole_way(tmp_path, 1))]
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
