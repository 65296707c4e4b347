"""A service that was killed goes on where it was: nothing twice, nothing silently lost, and the sum is exact."""

import gc
import json
import sqlite3
import time
import weakref

import h5py
import numpy as np
import pytest

from processing.frame import CATEGORY_NAMES
from service import keeper, ledger_file, restore
from service.checkpoint import generation_before


def verdicts_of(result):
    with h5py.File(result) as file:
        frames, verdicts = file["entry/frames/frame"][()], file["entry/frames/verdict"][()]
    return {int(frame): CATEGORY_NAMES[verdict] for frame, verdict in zip(frames, verdicts, strict=True)}


def whole_run(bench, scan):
    """What an uninterrupted run gives."""
    bench.start()
    bench.open(scan)
    bench.send(scan, range(len(scan.pixels)))
    bench.end()
    result = bench.wait_ended().result
    bench.stop()
    scan.assert_exact(result)
    with h5py.File(result) as file:
        return verdicts_of(result), file["entry/sum/data"][()]


def test_with_the_spool_a_kill_changes_nothing(bench_of, scan, tmp_path):
    frames = scan(60)
    bench = bench_of(spool__enabled=True)
    bench.start()
    bench.open(frames)
    bench.send(frames, range(25))
    bench.wait(lambda status: status.durable_through >= 25)
    bench.photograph(tmp_path / "second")
    bench.start()
    status = bench.wait(lambda status: not status.fetching and not status.counts.pending)
    assert status.state == "receiving"
    assert status.counts.received == 25
    assert status.series == 3
    assert status.announced == 60
    assert any(error.name == "recovered" for error in status.errors)
    bench.send(frames, range(25, 60))
    bench.end()
    status = bench.wait_ended()
    assert status.state == "complete"
    assert status.counts.received == 60
    frames.assert_exact(status.result)
    frames.assert_even_exact(bench.service.pipeline.series)
    bench.stop()
    other = bench_of()
    other.folder = tmp_path / "uninterrupted"
    verdicts, total = whole_run(other, frames)
    assert verdicts_of(status.result) == verdicts
    with h5py.File(status.result) as file:
        np.testing.assert_array_equal(file["entry/sum/data"][()], total)
        assert file["entry/frames/frame"][()].tolist() == list(range(60))


def test_without_the_spool_what_is_behind_the_checkpoint_is_listed_by_number(bench_of, scan, tmp_path):
    frames = scan(40)
    bench = bench_of()
    bench.start(**{"recovery.checkpoint_every_s": 0.2})
    bench.open(frames)
    bench.send(frames, range(20))
    bench.wait(lambda status: status.durable_through == 20)
    bench.stop_checkpoints()
    bench.send(frames, range(20, 30))
    status = bench.wait(lambda status: status.ledger_through == 30)
    assert status.at_risk.since_checkpoint == 10
    bench.photograph(tmp_path / "second")
    bench.start()
    status = bench.service.status()
    assert status.balanced
    gone = [first for first, last in status.missing_frames for first in range(first, last + 1)]
    assert set(gone) <= set(range(20, 30))
    assert status.counts.received == 30 - len(gone)
    assert status.counts.missing == len(gone)
    bench.send(frames, range(30, 40))
    bench.end()
    status = bench.wait_ended()
    assert status.state == "incomplete"
    lost = {frame for frame, verdict in verdicts_of(status.result).items() if verdict == "missing"}
    assert lost == set(gone)
    assert lost  # accepted frames among the ten cannot be had back
    frames.assert_exact(status.result)
    frames.assert_even_exact(bench.service.pipeline.series)


def test_a_frame_that_comes_again_after_the_kill_is_summed_once(bench_of, scan, tmp_path):
    frames = scan(20)
    bench = bench_of(spool__enabled=True)
    bench.start()
    bench.open(frames)
    bench.send(frames, range(12))
    bench.wait(lambda status: status.durable_through >= 12)
    bench.photograph(tmp_path / "second")
    bench.start()
    bench.send(frames, range(8, 20))  # a sender that repeats what it is not sure of
    bench.end()
    status = bench.wait_ended()
    assert status.state == "complete"
    assert status.counts.duplicate == 4
    assert status.counts.received == 24
    frames.assert_exact(status.result)
    frames.assert_even_exact(bench.service.pipeline.series)


def test_a_checkpoint_without_the_sum_of_even_frames_is_as_good_but_for_the_forecast(
    bench_of, scan, tmp_path, monkeypatch
):
    frames = scan(20)
    bench = bench_of()
    bench.start()
    bench.open(frames)
    bench.send(frames, range(12))
    bench.wait(lambda status: status.durable_through == 12)
    bench.photograph(tmp_path / "second")
    read = restore.read_newest

    def older(path):
        facts, arrays, troubles = read(path)
        return facts, {name: array for name, array in arrays.items() if not name.startswith("even/")}, troubles

    monkeypatch.setattr(restore, "read_newest", older)
    bench.start()
    bench.send(frames, range(12, 20))
    bench.end()
    status = bench.wait_ended()
    frames.assert_exact(status.result)
    assert bench.service.pipeline.series.even is None


def test_settings_points_and_expectations_survive(bench_of, scan, tmp_path):
    from service.source import PointNote

    frames = scan(30)
    bench = bench_of(spool__enabled=True)
    service = bench.start()
    bench.open(frames)
    bench.send(frames, range(15))
    bench.wait_received(15)
    service.change_settings({"screening.chi2_ratio_max": 2.5}, "test")
    service.expect(28)
    service.book_point(PointNote(series=3, frame=4, point=2, x_um=1.5, y_um=-3.0, void=False))
    service.book_point(PointNote(series=3, frame=5, point=3, x_um=float("nan"), y_um=0.0, void=True))
    bench.wait(lambda status: not status.fetching and status.durable_through >= 15)
    time.sleep(0.2)
    before = service.status()
    bench.photograph(tmp_path / "second")
    bench.start()
    status = bench.wait(lambda status: not status.fetching)
    assert status.parameters["screening.chi2_ratio_max"] == 2.5
    assert status.parameters["version"] == 2
    assert status.announced == 28
    assert status.counts == before.counts
    assert status.counts.gated == 1
    bench.send(frames, range(15, 28))
    bench.end()
    status = bench.wait_ended()
    assert status.state == "complete"
    with h5py.File(status.result) as file:
        assert file["entry/frames/point"][4] == 2
        assert (file["entry/frames/x"][4], file["entry/frames/y"][4]) == (1.5, -3.0)
        versions = json.loads(file["entry/process/settings_versions"][()])
    assert [(one["version"], one["from_frame"]) for one in versions] == [(1, 0), (2, 15)]
    frames.assert_exact(status.result)


def test_a_background_series_stays_one_through_a_kill_and_its_points_are_known_meanwhile(bench_of, scan, tmp_path):
    from service.rescreen import rescreen_file
    from service.scan_plans import done_points
    from service.source import PointNote

    frames = scan(12)
    bench = bench_of(spool__enabled=True)
    service = bench.start()
    bench.open(frames)
    bench.wait(lambda status: status.state == "armed")
    service.declare("background")
    for frame in range(12):
        note = {"series": 3, "frame": frame, "point": frame, "x_um": 10.0 * frame, "y_um": 5.0}
        service.book_point(PointNote(**note, void=frame == 2))
    bench.send(frames, range(8))
    bench.wait(lambda status: status.durable_through >= 8 and status.ledger_through >= 8)
    before = service.status()
    assert before.purpose == "background"
    assert before.counts.background > 0 == before.counts.accepted
    taken = [(10.0 * frame, 5.0) for frame in (0, 1, 3, 4, 5, 6, 7)]
    assert done_points(bench.folder / "series_3.nxs") == taken  # of a running series
    bench.photograph(tmp_path / "second")
    bench.start()
    status = bench.wait(lambda status: not status.fetching)
    assert status.purpose == "background"
    assert status.counts == before.counts
    bench.send(frames, range(8, 12))
    bench.end()
    status = bench.wait_ended()
    assert status.counts.accepted == 0
    bench.stop()
    assert len(done_points(status.result)) == 11
    rescreen_file(bench.folder / "series_3.nxs", {"screening.chi2_ratio_max": 50.0})
    assert set(verdicts_of(status.result).values()) <= {"background", "low_intensity", "gated"}


def test_what_has_no_result_is_a_sentence(tmp_path):
    from service.errors import UserError
    from service.scan_plans import done_points

    with pytest.raises(UserError, match="must be a result file of the live service, or its ledger must lie beside it"):
        done_points(tmp_path / "series_1.nxs")


@pytest.mark.parametrize("damage", ["newest checkpoint", "both checkpoints", "ledger", "part of the ledger's log"])
def test_damaged_files_cost_what_they_held_and_no_more(bench_of, scan, tmp_path, damage):
    frames = scan(40)
    bench = bench_of(spool__enabled=True)
    bench.start()
    bench.open(frames)
    for count in (10, 20, 30):
        bench.send(frames, range(count - 10, count))
        bench.wait(lambda status, count=count: status.durable_through >= count)
        bench.wait(lambda _, count=count: bench.service._safeties[0].keeper.checkpoint_through == count)
    assert generation_before(bench.folder / "series_3.checkpoint").exists()
    place = tmp_path / "second"
    bench.photograph(place)
    path = place / "series_3.checkpoint"
    if "checkpoint" in damage:
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "both checkpoints":
        generation_before(path).write_bytes(b"nothing")
    if damage == "ledger":
        (place / "series_3.ledger").write_bytes(b"not a database " * 100)
        (place / "series_3.ledger-wal").unlink(missing_ok=True)
    if "log" in damage:
        log = place / "series_3.ledger-wal"
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    bench.start()
    bench.send(frames, range(30, 40))
    bench.end()
    status = bench.wait_ended()
    assert status.state == "complete", status.errors  # the spool has them all
    assert status.counts.received == 40
    frames.assert_exact(status.result)


def test_a_series_killed_while_its_file_was_made_gets_it_at_the_next_start(bench_of, scan, tmp_path, monkeypatch):
    frames = scan(20)
    bench = bench_of()
    bench.start()
    bench.open(frames)
    bench.send(frames, range(20))
    bench.wait(lambda status: status.durable_through == 20)
    monkeypatch.setattr("service.office.write_series_file", lambda *_: time.sleep(60))
    bench.end()
    bench.wait(lambda status: status.state == "receiving" and bench.service.pipeline.series.ended)
    time.sleep(0.3)
    place = tmp_path / "second"
    monkeypatch.undo()
    bench.photograph(place)
    bench.start()
    status = bench.wait_ended()
    assert status.state == "complete"
    frames.assert_exact(status.result)
    assert place in (place / "series_3.nxs").parents
    bench.wait(lambda _: ledger_file.read_ledger(place / "series_3.ledger").closed)


def test_two_unfinished_series_both_end_well(bench_of, scan, tmp_path):
    first, second = scan(12, 1), scan(12, 2)
    bench = bench_of()
    bench.start()
    bench.open(first, series=3)
    bench.send(first, range(12), series=3)
    bench.wait(lambda status: status.durable_through == 12)
    bench.photograph(tmp_path / "second")
    bench.start(**{"stream.idle_timeout_s": 30.0})
    bench.open(second, series=4)
    bench.send(second, range(8), series=4)
    bench.wait(lambda status: status.series == 4 and status.durable_through == 8)
    bench.wait(lambda _: (bench.folder / "series_3.nxs").exists())
    bench.photograph(tmp_path / "third")
    bench.start()
    assert bench.service.status().series == 4
    bench.send(second, range(8, 12), series=4)
    bench.end(series=4)
    status = bench.wait_ended()
    assert status.state == "complete"
    second.assert_exact(status.result)
    first.assert_exact(bench.folder / "series_3.nxs")


def test_a_finished_series_is_left_alone(bench_of, scan):
    frames = scan(8)
    bench = bench_of()
    bench.start()
    bench.open(frames)
    bench.send(frames, range(8))
    bench.end()
    result = bench.wait_ended().result
    bench.wait(lambda _: ledger_file.read_ledger(keeper.ledger_path(bench.folder / "series_3.nxs")).closed)
    bench.stop()
    bench.start()
    status = bench.service.status()
    assert status.state == "idle"
    assert not status.errors
    frames.assert_exact(result)


def test_a_disk_that_refuses_the_ledger_is_said_and_nothing_waits(bench_of, scan, monkeypatch):
    frames = scan(30)
    bench = bench_of()
    bench.start()

    def refuse(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ledger_file.LedgerFile, "add", refuse)
    bench.open(frames)
    bench.send(frames, range(20))
    status = bench.wait(lambda status: status.degraded and status.counts.received == 20)
    assert "disk is full" in status.degraded[0]
    assert "wait in memory" in status.degraded[0]
    assert status.ledger_through == 0
    monkeypatch.undo()
    bench.send(frames, range(20, 30))
    bench.wait(lambda status: status.ledger_through == 30 and not status.degraded)
    bench.end()
    frames.assert_exact(bench.wait_ended().result)


def test_a_disk_that_hangs_keeps_nobody_waiting(bench_of, scan, monkeypatch):
    import threading

    frames, released = scan(40), threading.Event()
    bench = bench_of()
    bench.start()
    bench.open(frames)
    bench.send(frames, range(5))
    bench.wait_received(5)
    real = keeper.write_checkpoint
    monkeypatch.setattr(keeper, "write_checkpoint", lambda *args: (released.wait(30), real(*args)))
    begun = time.monotonic()
    bench.send(frames, range(5, 40))
    bench.wait_received(40)
    assert time.monotonic() - begun < 5
    released.set()
    bench.wait(lambda status: status.durable_through == 40)
    bench.end()
    frames.assert_exact(bench.wait_ended().result)


def test_two_services_may_share_a_folder_but_never_a_series(bench_of, scan):
    first, second = scan(12, 1), scan(12, 2)
    bench, other = bench_of(), bench_of()
    bench.start()
    bench.open(first)
    bench.send(first, range(6))
    bench.wait(lambda status: status.durable_through == 6)
    other.start()
    status = other.service.status()
    assert (status.state, status.errors) == ("idle", [])  # what the first one writes was not left behind
    other.open(second)
    other.send(second, range(12))
    other.end()
    bench.send(first, range(6, 12))
    bench.end()
    results = {bench.wait_ended().result, other.wait_ended().result}
    assert results == {str(bench.folder / "series_3.nxs"), str(bench.folder / "series_3_2.nxs")}
    first.assert_exact(bench.folder / "series_3.nxs")
    second.assert_exact(bench.folder / "series_3_2.nxs")
    bench.stop()
    other.stop()
    assert not list(bench.folder.glob(".*.in-use"))


def test_a_service_that_was_told_to_stop_in_mid_series_goes_on_with_it(bench_of, scan):
    frames = scan(30)
    bench = bench_of()
    bench.start(**{"recovery.checkpoint_every_s": 3600.0})
    bench.open(frames)
    bench.send(frames, range(20))
    bench.wait_received(20)
    bench.stop()
    frames.assert_exact(bench.folder / "series_3.nxs")  # saved as it stood
    bench.start()
    status = bench.service.status()
    assert (status.state, status.counts.received, status.counts.missing) == ("receiving", 20, 0)
    bench.send(frames, range(20, 30))
    bench.end()
    status = bench.wait_ended()
    assert status.state == "complete"
    assert status.result == str(bench.folder / "series_3.nxs")
    frames.assert_exact(status.result)


def test_a_series_that_is_over_leaves_no_memory_behind(bench_of, scan):
    frames, seen = scan(12), []
    bench = bench_of(spool__enabled=True)
    bench.start()
    gc.disable()  # hundreds of MB must not wait for the collector
    try:
        for number in range(1, 4):
            bench.open(frames, series=number)
            bench.send(frames, range(12), series=number)
            bench.end(series=number)
            bench.wait(lambda status, number=number: (status.series, status.state) == (number, "complete"))
            seen.append(weakref.ref(bench.service.pipeline.series))
        deadline = time.monotonic() + 10
        while any(one() is not None for one in seen[:-1]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [one() is None for one in seen] == [True, True, False]
    finally:
        gc.enable()


def test_after_a_kill_a_wrong_hash_is_still_known_for_one(bench_of, scan, tmp_path):
    frames = scan(12)
    bench = bench_of(spool__enabled=True)
    bench.start()
    bench.open(frames)
    bench.send(frames, range(6))
    bench.wait(lambda status: status.durable_through >= 6)
    bench.photograph(tmp_path / "second")
    bench.start()
    parts = bench.wire.image(frames.pixels[6], 3, 6)
    told = json.loads(parts[0]) | {"hash": "0" * 32}
    bench.socket.send_multipart([json.dumps(told).encode(), *parts[1:]])
    bench.send(frames, range(7, 12))
    bench.end()
    status = bench.wait_ended()
    assert status.counts.corrupt == 1
    assert (status.state, status.counts.missing) == ("incomplete", 0)
    frames.assert_exact(status.result)
