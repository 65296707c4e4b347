"""Documents on disk and on the screen."""

import json
from types import SimpleNamespace

import numpy as np
from ophyd import Signal

from service.documents import DocumentWriter, ScanProgress
from service.live_news import LiveNews
from service.whole_file import WholeFile

RUN = [
    ("start", {"uid": "abcd-1", "num_points": 2}),
    ("descriptor", {"uid": "d", "name": "primary"}),
    ("descriptor", {"uid": "v", "name": "voided"}),
    ("event", {"descriptor": "d", "seq_num": 1, "data": {"total": np.float64(5.0), "chi2": float("nan")}}),
    ("event", {"descriptor": "v", "seq_num": 1, "data": {"frame": 1}}),
    ("event", {"descriptor": "d", "seq_num": 2, "data": {"total": 6.0, "chi2": 1.0}}),
    ("stop", {"exit_status": "success"}),
]


def test_each_run_gets_a_file_with_one_document_a_line(tmp_path):
    writer = DocumentWriter(tmp_path / "new")
    for name, doc in RUN:
        writer(name, doc)
    assert writer.path == tmp_path / "new" / "abcd.documents.jsonl"
    lines = [json.loads(line) for line in writer.path.read_text().splitlines()]
    assert [line["name"] for line in lines] == [name for name, _ in RUN]
    assert lines[3]["doc"]["data"] == {"total": 5.0, "chi2": None}
    writer("start", {"uid": "ffff-2"})
    assert len(writer.path.read_text().splitlines()) == 1


def test_documents_that_the_disk_refuses_are_written_when_there_is_room(tmp_path, monkeypatch, caplog, no_space):
    writer = DocumentWriter(tmp_path)
    full = False
    write = WholeFile.write

    def refuse(file, data):
        if not full:
            return write(file, data)
        write(file, data[:5])  # what still fits stays, unless somebody takes it away
        return no_space()

    monkeypatch.setattr(WholeFile, "write", refuse)
    for number, (name, doc) in enumerate(RUN):
        full = number in (2, 3, 4)
        writer(name, doc)
        if full:
            assert len(writer.path.read_text().splitlines()) == 2
    names = [json.loads(line)["name"] for line in writer.path.read_text().splitlines()]
    assert names == [name for name, _ in RUN]
    refused, again = [record.getMessage() for record in caplog.records]
    assert refused.startswith(f"documents of the run cannot be written to {writer.path}: No space left on device; they")
    assert again == "documents of the run are written again"


def test_documents_that_wait_are_written_at_the_end_or_named(tmp_path, monkeypatch, caplog, no_space):
    writer = DocumentWriter(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(WholeFile, "write", no_space)
        for name, doc in RUN:
            writer(name, doc)
        writer.close()
        assert caplog.records[-1].getMessage() == (
            f"{len(RUN)} documents of the run could not be written to {writer.path} and are lost"
        )
    writer.close()
    assert len(writer.path.read_text().splitlines()) == len(RUN)


def test_what_the_service_lacks_is_told_while_a_run_is_on(capsys):
    live = SimpleNamespace(degraded=Signal(name="degraded", value="no disk"))
    news = LiveNews(live)
    live.degraded.put("before the run")
    for name, doc in RUN[:2]:
        news(name, doc)
    for text in ("before the run", "", "refused 88 frames; no disk", "refused 89 frames; no disk; slow", "", ""):
        live.degraded.put(text)
    news(*RUN[-1])
    live.degraded.put("after the run")
    assert capsys.readouterr().err.splitlines() == [
        "live service: before the run",
        "live service: well again",
        "live service: refused 88 frames; no disk",
        "live service: slow",
        "live service: well again",
    ]


def test_a_program_is_told_each_point(capsys):
    progress = ScanProgress(as_json=True)
    for name, doc in RUN:
        progress(name, doc)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["point"], line["of"]) for line in told] == [(1, 2), (2, 2)]
    assert told[0]["data"] == {"total": 5.0, "chi2": None}


def test_a_log_is_told_the_end(capsys):
    progress = ScanProgress()
    for name, doc in RUN:
        progress(name, doc)
    assert capsys.readouterr().err == "point 2 of 2, about 0 s left\n"


def test_silence(capsys):
    progress = ScanProgress(quiet=True)
    for name, doc in RUN:
        progress(name, doc)
    assert capsys.readouterr() == ("", "")
