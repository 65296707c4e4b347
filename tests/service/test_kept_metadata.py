"""Metadata that outlives a session, and that several sessions of a folder may use at once."""

from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from bluesky import RunEngine
from bluesky.plans import count

from service.errors import UserError
from service.kept_metadata import KeptMetadata
from service.session import next_scan_id
from service.whole_file import WholeFile


def numbers(path, many):
    metadata = KeptMetadata(path)
    return [metadata.next_scan_id() for _ in range(many)]


def test_a_later_session_finds_what_an_earlier_one_set(tmp_path):
    path = tmp_path / "new" / "metadata.json"
    first = KeptMetadata(path)
    first["operator"] = {"name": "A. Person", "badge": 7}
    first["gone"] = 1
    del first["gone"]
    assert dict(KeptMetadata(path)) == {"operator": {"name": "A. Person", "badge": 7}}


def test_sessions_of_one_folder_see_each_other_and_lose_nothing(tmp_path):
    one, other = (KeptMetadata(tmp_path / "metadata.json") for _ in range(2))
    one["sample"] = "a"
    other["operator"] = "b"
    one["sample"] = "c"
    assert dict(one) == dict(other) == {"sample": "c", "operator": "b"}


def test_a_full_disk_does_not_stop_the_count(tmp_path, monkeypatch, caplog, no_space):
    path = tmp_path / "metadata.json"
    metadata = KeptMetadata(path)
    metadata["sample"] = "a"
    with monkeypatch.context() as full:
        full.setattr(WholeFile, "write", no_space)
        assert [metadata.next_scan_id(), metadata.next_scan_id()] == [1, 2]
        assert "metadata.json cannot be written: No space left on device" in caplog.text
        assert dict(KeptMetadata(path)) == {"sample": "a"}
    assert metadata.next_scan_id() == 3
    assert dict(KeptMetadata(path)) == {"sample": "a", "scan_id": 3}


def test_every_scan_number_is_given_once(tmp_path):
    path = tmp_path / "metadata.json"
    with ThreadPoolExecutor(3) as threads, get_context("spawn").Pool(1) as processes:
        elsewhere = processes.apply_async(numbers, (path, 20))
        here = [found for part in threads.map(lambda _: numbers(path, 20), range(3)) for found in part]
        given = sorted(here + elsewhere.get(60))
    assert given == list(range(1, 81))


def test_the_run_engine_counts_on(tmp_path):
    for wanted in (1, 2):
        engine = RunEngine(KeptMetadata(tmp_path / "metadata.json"), scan_id_source=next_scan_id)
        starts = []
        engine.subscribe(lambda _, doc, starts=starts: starts.append(doc), "start")
        engine(count([]), note="kept nowhere")
        assert [start["scan_id"] for start in starts] == [wanted]
        assert "note" not in engine.md


def test_a_file_of_something_else_is_named(tmp_path):
    path = tmp_path / "metadata.json"
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"metadata .*metadata.json must hold names and values, got list"):
        KeptMetadata(path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"metadata .*metadata.json must be a file of JSON"):
        KeptMetadata(path)
