"""The truth: labels, exact sums by label, and the exact sum over any set of frames."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sim.beamline import Conditions
from sim.frames import Exposure, FrameSource
from sim.settings import SimSettings
from sim.truth import TruthRecorder, main, parse_frames, read_books, sum_of

CALM = Conditions(
    x_um=0.0, y_um=0.0, z_um=0.0, moving=False, open_s=60.0, injection_s=0.0, transmission=1.0, beam_stop_in=True
)
SERIES = 4


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A series with every label; all frames are kept for a sum of our own."""
    folder = tmp_path_factory.mktemp("truth")
    settings = SimSettings(seed=2, truth=folder)
    source = FrameSource(settings)
    truth = TruthRecorder(source, settings, SERIES, {"count_time": 60.0})
    frames = []
    conditions = [replace(CALM, x_um=float(x), y_um=float(y)) for y in (-45, -5, 25) for x in range(-65, 60, 10)]
    conditions[5] = replace(conditions[5], injection_s=3.0)
    conditions[7] = replace(conditions[7], open_s=12.3456789)
    conditions[9] = replace(conditions[9], moving=True, x_um=conditions[9].x_um + 1 / 3)
    conditions.append(replace(CALM, beam_stop_in=False, transmission=1e-7, open_s=60.0))
    for number, seen in enumerate(conditions):
        shot = Exposure(series=SERIES, frame=number, count_time_s=60.0, conditions=seen)
        frames.append(source.draw(shot))
        truth.add(shot, frames[-1], sent=0 if number == 3 else 1)
    truth.not_sent([8])
    truth.write()
    return folder, source, np.stack(frames)


def plain_sum(source, frames):
    flagged = frames >= 2**32 - 2
    total = np.where(flagged, 0, frames).sum(0, dtype=np.uint64) * source.valid
    return total, (flagged & source.valid).sum(0, dtype=np.uint32)


def test_books_name_every_frame(recorded):
    folder, source, frames = recorded
    books = read_books(folder, SERIES)
    assert [entry["frame"] for entry in books["frames"]] == list(range(len(frames)))
    labels = Counter(entry["label"] for entry in books["frames"])
    assert labels == books["labels"]
    assert set(labels) == {"accepted", "low_intensity", "streak", "background", "gated", "alignment"}
    assert books["frames"][5]["label"] == books["frames"][7]["label"] == "gated"
    assert books["frames"][9]["graded"]
    assert [books["frames"][i]["sent"] for i in (2, 3, 8)] == [1, 0, 0]
    assert books["beam_center"]["true_row"] == source.geometry.true_row
    assert books["seed"] == 2


def test_sums_by_label_are_exact(recorded):
    folder, source, frames = recorded
    books = read_books(folder, SERIES)
    with np.load(folder / f"series_{SERIES}_sums.npz", allow_pickle=False) as stored:
        assert np.array_equal(stored["valid"], source.valid)
        for label in books["labels"]:
            chosen = [entry["frame"] for entry in books["frames"] if entry["label"] == label]
            total, excluded = plain_sum(source, frames[chosen])
            assert stored[f"sum_{label}"].dtype == np.uint64
            assert np.array_equal(stored[f"sum_{label}"], total)
            assert np.array_equal(stored[f"excluded_{label}"], excluded)
            assert label == "alignment" or excluded.any()


@pytest.mark.parametrize("choice", ["none", "all", "one", "every other", "all but two", "accepted", "random"])
def test_sum_over_any_set_is_bit_for_bit(recorded, choice):
    folder, source, frames = recorded
    labels = [entry["label"] for entry in read_books(folder, SERIES)["frames"]]
    everything = list(range(len(frames)))
    chosen = {
        "none": [],
        "all": everything,
        "one": [9],
        "every other": everything[::2],
        "all but two": everything[:4] + everything[5:20] + everything[21:],
        "accepted": [number for number, label in enumerate(labels) if label == "accepted"],
        "random": np.random.default_rng(8).choice(everything, 11, replace=False).tolist(),
    }[choice]
    exact = sum_of(folder, SERIES, chosen + chosen)  # a number given twice counts once
    total, excluded = plain_sum(source, frames[chosen])
    assert np.array_equal(exact.total, total)
    assert np.array_equal(exact.excluded, excluded)


def test_command_writes_the_sum(recorded, tmp_path):
    folder, source, frames = recorded
    output = tmp_path / "sum.npz"
    command = [sys.executable, "-P", "-m", "sim.truth", str(folder), "--series", str(SERIES)]
    subprocess.run([*command, "--frames", "0-3,9,12", "--output", str(output)], check=True, timeout=60)
    total, excluded = plain_sum(source, frames[[0, 1, 2, 3, 9, 12]])
    with np.load(output, allow_pickle=False) as stored:
        assert np.array_equal(stored["sum"], total)
        assert np.array_equal(stored["excluded"], excluded)
        assert stored["frames"].tolist() == [0, 1, 2, 3, 9, 12]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--series", "5", "--frames", "0"], "truth folder must hold series 5"),
        (["--series", "4", "--frames", "0-999"], "among the 40 exposed ones"),
        (["--series", "4", "--frames", "a-b"], "must look like 0-5,9,12"),
    ],
)
def test_command_says_what_is_wrong(recorded, tmp_path, capsys, arguments, words):
    folder, _, _ = recorded
    assert main([str(folder), *arguments, "--output", str(tmp_path / "x.npz")]) == 1
    assert words in capsys.readouterr().err


def test_books_of_another_format_are_refused(tmp_path):
    (tmp_path / "series_1.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match=r"format of .* must be 1, got 99"):
        read_books(tmp_path, 1)


def test_frame_lists():
    assert parse_frames("0-5,9,12") == [0, 1, 2, 3, 4, 5, 9, 12]
    assert parse_frames("") == []


def test_several_sums_from_one_call(recorded, tmp_path):
    folder, source, frames = recorded
    output = tmp_path / "sums.npz"
    words = [str(folder), "--series", str(SERIES), "--frames", "0-2", "--frames", "4,6", "--output", str(output)]
    assert main(words) == 0
    with np.load(output) as stored:
        for end, chosen in (("", [0, 1, 2]), ("_1", [4, 6])):
            total, excluded = plain_sum(source, frames[chosen])
            np.testing.assert_array_equal(stored[f"sum{end}"], total)
            np.testing.assert_array_equal(stored[f"excluded{end}"], excluded)
            assert stored[f"frames{end}"].tolist() == chosen
