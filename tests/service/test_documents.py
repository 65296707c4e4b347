"""Documents on disk and on the screen."""

import json

import numpy as np

from service.documents import DocumentWriter, ScanProgress

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
