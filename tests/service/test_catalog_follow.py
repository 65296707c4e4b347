"""How the catalogue follows files of documents: late results, broken lines, a server that is away."""

import json
import time

import h5py
import numpy as np
import pytest

from processing.frame import CATEGORY_NAMES
from service.catalog import follow
from service.catalog.follow import Follower

UID = "0a1b2c3d-0000-0000-0000-000000000001"


class Sink:
    """Remembers what it was given; may be away."""

    def __init__(self, whole=()):
        self.whole, self.taken, self.removed, self.away = set(whole), [], [], False

    def has(self, uid):
        self._answer()
        return uid in self.whole

    def remove(self, uid):
        self.removed.append(uid)
        self.taken.clear()

    def __call__(self, name, doc):
        self._answer()
        self.taken.append((name, doc))

    def flush(self):
        self._answer()

    def forget(self, uid):
        pass

    def _answer(self):
        if self.away:
            raise OSError("nobody answers")

    @property
    def names(self):
        return [name for name, _ in self.taken]


def documents(result, stopped=None):
    """Give a run of two points, one of them not read yet when NaN was a number."""
    keys = {"chi2": {"dtype": "number", "shape": [], "source": "test"}}
    baseline = {"live_result": str(result), "eig1m_series": 5}
    return [
        ("start", {"uid": UID, "time": 1.0}),
        ("descriptor", {"uid": "b", "name": "baseline", "run_start": UID, "time": 1.0, "data_keys": {}}),
        ("event", {"descriptor": "b", "seq_num": 1, "data": baseline}),
        ("descriptor", {"uid": "p", "name": "primary", "run_start": UID, "time": 1.0, "data_keys": keys}),
        ("event", {"descriptor": "p", "seq_num": 1, "data": {"chi2": None}}),
        ("stop", {"uid": "s", "run_start": UID, "time": stopped or time.time(), "num_events": {"primary": 1}}),
    ]


def write(path, named):
    path.write_text("".join(json.dumps({"name": name, "doc": doc}) + "\n" for name, doc in named))


def result_file(path, *, complete=True):
    rows = {"frame": [0, 1, 1], "verdict": [0, 5, 6], "total": [10, 20, 20], "chi2": [1.0, np.nan, np.nan]}
    rows |= {"dof": [9, -1, -1], "point": [0, -1, -1], "x": [0.0, np.nan, np.nan], "y": [0.0, np.nan, np.nan]}
    with h5py.File(path, "w") as file:
        for name, values in rows.items():
            file[f"entry/frames/{name}"] = values
        file["entry/frames/verdict"].attrs["names"] = list(CATEGORY_NAMES)
        file["entry/process/summary"] = json.dumps({"complete": complete})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "0a1b2c3d.documents.jsonl"


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(follow, "RETRY_AFTER_S", 0.0)


def test_a_run_waits_for_its_result_and_its_file_gets_the_verdicts(tmp_path, path):
    write(path, documents(tmp_path / "series_5.nxs"))
    sink = Sink()
    follower = Follower(tmp_path, sink)
    assert not follower.step()
    assert sink.names == ["start", "descriptor", "event", "descriptor", "event"]
    assert np.isnan(sink.taken[-1][1]["data"]["chi2"]), "null in a column of numbers is NaN again"
    result_file(tmp_path / "series_5.nxs", complete=False)
    assert not follower.step()
    result_file(tmp_path / "series_5.nxs")
    assert follower.step()
    assert sink.names[5:] == ["descriptor", "event_page", "stop"]
    page = sink.taken[6][1]
    assert page["data"]["verdict"] == ["accepted", "corrupt", "duplicate"]
    assert page["seq_num"] == [1, 2, 3]
    assert sink.taken[-1][1]["num_events"] == {"primary": 1, "screening": 3}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["name"] for line in lines] == sink.names
    assert lines[6]["doc"]["data"]["chi2"] == [1.0, None, None]

    again = Sink()
    assert Follower(tmp_path, again).step()
    assert again.names == sink.names, "from its file alone the run is the same"


def test_a_run_whose_result_never_comes_goes_without(tmp_path, path):
    write(path, documents(tmp_path / "series_5.nxs", stopped=time.time() - 100.0))
    sink = Sink()
    assert not Follower(tmp_path, sink, result_timeout_s=1000.0).step()
    assert Follower(tmp_path, sink, result_timeout_s=10.0).step()
    assert sink.names[-1] == "stop"
    assert "event_page" not in sink.names


def test_a_line_that_is_being_written_is_left_for_later(tmp_path, path):
    result_file(tmp_path / "series_5.nxs")
    write(path, documents(tmp_path / "series_5.nxs"))
    whole = path.read_bytes()
    sink = Sink()
    follower = Follower(tmp_path, sink)
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        assert follower.step(), "a run that goes on is no work left"
    path.write_bytes(whole)
    assert follower.step()
    assert sink.names.count("start") == 1
    assert sink.names[-1] == "stop"


def test_a_server_that_was_away_gets_the_run_whole(tmp_path, path, monkeypatch):
    result_file(tmp_path / "series_5.nxs")
    write(path, documents(tmp_path / "series_5.nxs")[:3])
    sink = Sink()
    follower = Follower(tmp_path, sink)
    follower.step()
    assert len(sink.taken) == 3
    sink.away = True
    write(path, documents(tmp_path / "series_5.nxs"))
    assert not follower.step()
    monkeypatch.setattr(follow, "FLUSH_EVERY_S", 0.0)
    with pytest.raises(OSError, match="nobody answers"):
        follower.step()
    sink.away = False
    assert follower.step()
    assert sink.removed == [UID, UID], "what was half written goes first"
    assert sink.names == ["start", "descriptor", "event", "descriptor", "event", "descriptor", "event_page", "stop"]


def test_a_run_that_is_there_is_left_alone(tmp_path, path):
    write(path, documents(tmp_path / "series_5.nxs"))
    sink = Sink(whole=[UID])
    assert Follower(tmp_path, sink).step()
    assert sink.taken == []


@pytest.mark.parametrize("line", ["no json\n", '{"name": "start"}\n', "[]\n"])
def test_a_file_of_something_else_is_left_out_and_said(tmp_path, path, line, caplog):
    path.write_text(line)
    assert Follower(tmp_path, Sink()).step()
    assert "0a1b2c3d.documents.jsonl is not in the catalogue: the document at byte 0 is not one" in caplog.text


def test_a_strange_run_keeps_no_other_out(tmp_path, path, caplog):
    class Picky(Sink):
        def __call__(self, name, doc):
            if doc.get("uid") == "strange":
                raise RuntimeError("no such run")
            super().__call__(name, doc)

    write(tmp_path / "a.documents.jsonl", [("start", {"uid": "strange"})])
    result_file(tmp_path / "series_5.nxs")
    write(path, documents(tmp_path / "series_5.nxs"))
    sink = Picky()
    assert Follower(tmp_path, sink).step()
    assert sink.names[-1] == "stop"
    assert "a.documents.jsonl is not in the catalogue: the document at byte 0 is not one: RuntimeError" in caplog.text


def test_a_server_that_stays_away_is_asked_less_and_less_and_never_given_up(tmp_path, path, monkeypatch):
    result_file(tmp_path / "series_5.nxs")
    write(path, documents(tmp_path / "series_5.nxs"))
    sink = Sink()
    sink.away = True
    follower = Follower(tmp_path, sink)
    follower._flushed = time.monotonic() + 1000.0
    for _ in range(20):
        assert not follower.step()
    monkeypatch.setattr(follow, "RETRY_AFTER_S", 2.0)
    follower.step()
    (file,) = follower._files.values()
    assert file.rests_until - time.monotonic() == pytest.approx(follow.RETRY_AT_MOST_S, abs=5.0)
    file.rests_until, sink.away = 0.0, False
    assert follower.step()
    assert sink.names[-1] == "stop"


def test_a_run_that_cannot_be_a_table_is_given_up_in_the_end(tmp_path, path, caplog, monkeypatch):
    class Picky(Sink):
        def flush(self):
            raise RuntimeError("a text where numbers were")

    monkeypatch.setattr(follow, "FLUSH_EVERY_S", 0.0)
    write(path, documents(tmp_path / "series_5.nxs")[:3])
    follower = Follower(tmp_path, Picky())
    for _ in range(follow.MAX_STRANGE + 1):
        follower.step()
    assert follower.step()
    assert "is not in the catalogue: RuntimeError: a text where numbers were, 6 times" in caplog.text


def test_a_column_of_numbers_stays_one(tmp_path, path):
    run = documents(tmp_path / "series_5.nxs", stopped=1.0)
    run.insert(5, ("event", {"descriptor": "p", "seq_num": 2, "data": {"chi2": 0}}))
    write(path, run)
    sink = Sink()
    Follower(tmp_path, sink).step()
    values = [doc["data"]["chi2"] for name, doc in sink.taken if name == "event" and "chi2" in doc["data"]]
    assert [type(value) for value in values] == [float, float]
