"""`xedm reproduce` from sender to table, with a few frames; a longer run that must reach what is wanted."""

import json
import subprocess
import sys

import pytest

from service.errors import UserError
from service.reproduce.acquire import acquired_before

QUICK = ("algorithm=hio", "seeds=8", "iterations=60")


def reproduce(tmp_path, *words, timeout):
    command = [sys.executable, "-m", "service.cli", "reproduce", *words, "--output", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(240)  # under 20 s where a core is free
def test_a_few_frames_go_all_the_way(tmp_path):
    settings = [word for pair in QUICK for word in ("--set", f"reconstruction.{pair}")]
    code, lines = reproduce(tmp_path, "au-sio2", "--frames", "30", "--seed", "2", *settings, timeout=220)
    table = lines[-1]
    assert [line["event"] for line in lines][-1] == "table"
    rows = {row["key"]: row for row in table["rows"]}
    assert code == 0, [row for row in table["rows"] if row["reached"] is False]
    assert (rows["frames"]["median"], rows["lost"]["median"], rows["sum_wrong_px"]["median"]) == (30, 0, 0)
    assert rows["ssim"]["wanted"] == "", "so few frames want no score"
    folder = tmp_path / "reproduce_au-sio2"
    assert json.loads((folder / "table.json").read_text())["rows"] == table["rows"]
    assert "| SSIM, guided HIO | 0.8858 |" in (folder / "table.md").read_text()
    pictures = {path.name for path in (folder / "data_set_2").glob("*.png")}
    assert pictures == {
        "figure_2_sums.png",
        "figure_3_error_matrix.png",
        "figure_4_image.png",
        "figure_5_profile_and_prtf.png",
        "screening.png",
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("sample", "frames"), [("au-sio2", "300"), ("nv-lp", "3000")])
def test_what_is_wanted_is_reached(tmp_path, sample, frames):
    code, lines = reproduce(tmp_path, sample, "--frames", frames, "--seed", "5", timeout=1100)
    table = lines[-1]
    assert code == 0, [row for row in table["rows"] if row["reached"] is False]
    again, lines = reproduce(tmp_path, sample, "--again", table["folder"], timeout=600)
    assert again == 0
    same = [row for row in lines[-1]["rows"] if not row["key"].endswith("_s")]
    assert same == [row for row in table["rows"] if not row["key"].endswith("_s")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gold"], "--sample must be au-sio2 or nv-lp, got 'gold'"),
        (["au-sio2", "--again", "."], "--again must be the folder of a run of xedm reproduce"),
        (["nv-lp", "--frames", "0"], "Invalid value for '--frames'"),
    ],
)
def test_wrong_usage_is_a_sentence_and_code_two(tmp_path, words, said):
    command = [sys.executable, "-m", "service.cli", "reproduce", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_folder_without_a_finished_data_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="must hold a data set that was finished"):
        acquired_before(tmp_path)
