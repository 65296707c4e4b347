"""Second thoughts are exact: other thresholds afterwards give what a fresh start with them gives."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from processing.frame import CATEGORY_NAMES
from service.config import Settings
from service.eiger_file import EigerFile
from service.errors import UserError
from service.recover import recover_file
from service.reprocess import reprocess_file
from service.rescreen import rescreen_file, try_out

OTHERS = [
    {"screening.chi2_ratio_max": 1.2},
    {"screening.chi2_ratio_max": 4.0},
    {"screening.intensity_ratio_min": 0.55},
    {"screening.background_ratio_max": 0.3, "screening.chi2_ratio_max": 1.4},
    {"screening.enabled": False},
]
SUMMED = ("accepted", "background")


def content(result):
    with h5py.File(result) as file:
        arrays = {
            name: file[f"entry/{name}"][()] for name in ("sum/data", "sum/excluded", "sum/frames", "background/data")
        }
        arrays["background/excluded"] = file["entry/background/excluded"][()]
        order = np.argsort(file["entry/frames/frame"][()], kind="stable")
        for name in ("frame", "verdict", "total", "chi2", "dof"):
            arrays[name] = file[f"entry/frames/{name}"][()][order]
    return arrays


def assert_same(one, other):
    first, second = content(one), content(other)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


@pytest.fixture
def finished(bench_of, scan):
    """A finished live series of 60 frames with its spool, and the frames."""
    frames = scan(60, seed=4)
    bench = bench_of(spool__enabled=True)
    bench.start()
    bench.open(frames)
    bench.send(frames, range(60))
    bench.end()
    bench.wait_ended()
    bench.stop()
    return frames, bench.folder / "series_3.nxs"


def fresh(result, folder, changes):
    """A reprocess of the spool from nothing."""
    settings = Settings().changed(
        {
            "screening.ring_inner_px": 8, "screening.ring_outer_px": 14, "reconstruction.enabled": False,
            "output.directory": folder, **changes,
        }
    )  # fmt: skip
    master = result.with_name("series_3_spool_master.h5")
    return reprocess_file(master, settings, lambda *_: None).result


@pytest.mark.parametrize("changes", OTHERS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_a_finished_series_rescreened_equals_a_fresh_start(finished, tmp_path, changes):
    frames, result = finished
    before = content(result)
    done = rescreen_file(result, changes)
    after = content(result)
    frames.assert_exact(result)
    assert_same(result, fresh(result, tmp_path / "fresh", changes))
    flipped = before["verdict"] != after["verdict"]
    assert done.flips == flipped.sum() > 0
    assert not done.unresolved
    names = np.array(CATEGORY_NAMES)
    in_sum = np.isin(names[before["verdict"]], SUMMED) | np.isin(names[after["verdict"]], SUMMED)
    assert done.reads == (flipped & in_sum).sum()  # not one frame more than those that flip
    assert done.version == 2


def test_there_and_back_is_where_it_was(finished):
    _, result = finished
    before = content(result)
    back = {
        "screening.enabled": True, "screening.chi2_ratio_max": 1.6, "screening.intensity_ratio_min": 0.3,
        "screening.background_ratio_max": 0.6,
    }  # fmt: skip
    for changes in [*OTHERS, back]:
        rescreen_file(result, changes)
    after = content(result)
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
    with sqlite3.connect(result.with_suffix(".ledger")) as base:
        told = [json.loads(text) for (text,) in base.execute("SELECT detail FROM events WHERE what = 'rescreened'")]
    base.close()
    assert [one["version"] for one in told] == [2, 3, 4, 5, 6, 7]
    with h5py.File(result) as file:
        versions = json.loads(file["entry/process/settings_versions"][()])
    assert [one["version"] for one in versions] == [1, 2, 3, 4, 5, 6, 7]


def test_a_running_series_rescreened_equals_a_fresh_start(bench_of, scan, tmp_path):
    frames = scan(60, seed=5)
    bench = bench_of(spool__enabled=True, screening__hold_mib=1.0)
    service = bench.start()
    service_hold = {"screening.chi2_ratio_max": 1.6}
    bench.open(frames)
    for number, changes in enumerate([*OTHERS[:4], service_hold]):
        bench.send(frames, range(12 * number, 12 * number + 12))
        bench.wait_received(12 * number + 12)
        bench.service.pipeline.series._hold.clear()  # as after many frames: the bytes are on the disk only
        service.change_settings(changes, "test")
        status = bench.wait(lambda status: not status.fetching)
        assert status.parameters["version"] == number + 2
        assert not status.unresolved
    bench.end()
    status = bench.wait_ended()
    assert status.state == "complete"
    assert 0 < status.read_again <= 60 * 5
    frames.assert_exact(status.result)
    changes = {}
    for one in [*OTHERS[:4], service_hold]:
        changes |= one
    result = bench.folder / "series_3.nxs"
    bench.stop()
    assert_same(result, fresh(result, tmp_path / "fresh", changes))


def test_after_the_end_the_running_service_rescreens_too(bench_of, scan):
    frames = scan(40, seed=6)
    bench = bench_of(spool__enabled=True)
    service = bench.start()
    bench.open(frames)
    bench.send(frames, range(40))
    bench.end()
    first = bench.wait_ended()
    service.pipeline.series._hold.clear()
    service.change_settings({"screening.chi2_ratio_max": 3.0}, "test")
    status = bench.wait(lambda status: status.state == "complete" and status.parameters["version"] == 2)
    assert status.counts.accepted > first.counts.accepted
    frames.assert_exact(status.result)


def test_bytes_that_are_nowhere_keep_the_verdict_and_are_listed(finished):
    frames, result = finished
    for path in result.parent.glob("*_spool_data_000002*"):
        path.unlink()
    done = rescreen_file(result, {"screening.chi2_ratio_max": 4.0})
    assert done.unresolved
    assert all(20 <= frame < 40 for frame in done.unresolved)
    frames.assert_exact(result)
    with h5py.File(result) as file:
        assert json.loads(file["entry/process/summary"][()])["unresolved_frames"] == done.unresolved


def test_trying_out_says_what_rescreening_does(finished):
    _, result = finished
    before = result.read_bytes()
    cases = [{"screening.chi2_ratio_max": value} for value in (1.2, 1.6, 4.0)]
    said = try_out(result, cases)
    assert result.read_bytes() == before
    assert said[1].flips == 0
    for one in said:
        copy = result.parent.parent / f"copy_{one.flips}"
        shutil.copytree(result.parent, copy)
        done = rescreen_file(copy / result.name, one.changes)
        assert (done.flips, done.flipped) == (one.flips, one.frames)
        assert {name: count for name, count in done.counts.items() if count} == one.counts


def test_the_command_says_it_in_words_and_refuses_what_cannot_be(finished):
    _, result = finished

    def xedm(*words):
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *words], capture_output=True, text=True, timeout=60, check=False
        )

    told = xedm("rescreen", str(result), "--dry-run", "--set", "screening.chi2_ratio_max=1.2,4.0")
    assert told.returncode == 0, told.stderr
    assert [line.split(":")[0] for line in told.stdout.splitlines()] == [
        "screening.chi2_ratio_max = 1.2", "screening.chi2_ratio_max = 4.0",
    ]  # fmt: skip
    assert "would flip" in told.stdout
    done = xedm("rescreen", str(result), "--set", "screening.chi2_ratio_max=4.0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["flips"] > 0
    for words, code, sentence in (
        (("--set", "screening.ring_inner_px=5"), 3, "cannot change"),
        (("--set", "screening.nosuch=5"), 3, "does not exist"),
        ((), 2, "one new value"),
        (("--set", "screening.chi2_ratio_max=1,2"), 2, "one new value"),
        (("--set", "screening.chi2_ratio_max=2", "--http", "http://example.org:80"), 2, "on this machine"),
    ):
        refused = xedm("rescreen", str(result), *words)
        assert refused.returncode == code, refused.stderr
        assert sentence in refused.stderr
        assert "Traceback" not in refused.stderr


def test_what_is_no_result_is_refused(tmp_path):
    other = tmp_path / "series_1.nxs"
    with pytest.raises(UserError, match="no such file"):
        rescreen_file(other, {"screening.chi2_ratio_max": 2.0})
    with h5py.File(other, "w") as file:
        file["entry/sum/data"] = 1
    with pytest.raises(UserError, match="must be a result file"):
        rescreen_file(other, {"screening.chi2_ratio_max": 2.0})


def test_missing_frames_come_from_the_detectors_files(bench_of, scan, tmp_path):
    frames = scan(50, seed=7)
    whole = bench_of(spool__enabled=True)
    whole.folder = tmp_path / "whole"
    whole.start()
    whole.open(frames)
    whole.send(frames, range(50))
    whole.end()
    whole.wait_ended()
    whole.stop()
    master = tmp_path / "whole" / "series_3_spool_master.h5"
    assert len(EigerFile(master)) == 50
    bench = bench_of()
    bench.start()
    bench.open(frames)
    bench.send(frames, [*range(10), *range(15, 40), *range(44, 50)])
    bench.end()
    assert bench.wait_ended().state == "incomplete"
    bench.stop()
    result = bench.folder / "series_3.nxs"
    nothing = recover_file(result, [])
    assert nothing.missing == [(10, 14), (40, 43)]
    done = recover_file(result, [master])
    assert done.recovered == [(10, 14), (40, 43)]
    assert not done.missing
    frames.assert_exact(result)
    assert_same(result, tmp_path / "whole" / "series_3.nxs")


def test_a_service_that_knows_the_detectors_files_completes_itself(bench_of, scan, tmp_path):
    frames = scan(30, seed=8)
    whole = bench_of(spool__enabled=True)
    whole.folder = tmp_path / "whole"
    whole.start()
    whole.open(frames)
    whole.send(frames, range(30))
    whole.end()
    whole.wait_ended()
    whole.stop()
    bench = bench_of(spool__detector_files=str(tmp_path / "whole" / "series_$id_spool_master.h5"))
    bench.start()
    bench.open(frames)
    bench.send(frames, [*range(10), *range(13, 30)])
    bench.end()
    status = bench.wait_ended()
    assert status.state == "complete"
    assert status.recovered == 3
    assert status.counts.received == 30
    bench.stop()
    assert_same(bench.folder / "series_3.nxs", tmp_path / "whole" / "series_3.nxs")


def test_verdicts_that_could_not_flip_do_so_when_the_detectors_files_are_there(bench_of, scan, tmp_path):
    frames = scan(40, seed=9)
    whole = bench_of(spool__enabled=True)
    whole.folder = tmp_path / "whole"
    whole.start()
    whole.open(frames)
    whole.send(frames, range(40))
    whole.end()
    whole.wait_ended()
    whole.stop()
    away = tmp_path / "away"
    bench = bench_of(spool__detector_files=str(away / "series_$id_spool_master.h5"))
    service = bench.start()
    bench.open(frames)
    bench.send(frames, range(40))
    bench.wait_received(40)
    service.pipeline.series._hold.clear()
    begun = time.monotonic()
    service.change_settings({"screening.chi2_ratio_max": 4.0}, "test")
    status = bench.wait(lambda status: status.unresolved and not status.fetching)
    assert time.monotonic() - begun < 5  # files that are not there yet are not waited for while frames come
    (tmp_path / "whole").rename(away)
    bench.end()
    status = bench.wait_ended()
    assert status.state == "complete"
    assert not status.unresolved
    frames.assert_exact(status.result)
