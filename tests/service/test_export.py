"""Tables of runs for the readers in use at TPS 25A."""

import csv

import pytest

from service.documents import SUFFIX, DocumentWriter, read_documents
from service.errors import UserError
from service.export import CsvExport, export_csv


def run(folder, sample="au/sio2", verdicts=()):
    """Give the documents of two points on frames 0 and 2; frame 1 was void."""
    yield "start", {"uid": "0a1b2c3d-1", "scan_id": 7, "sample": sample, "time": 1.0}
    yield "descriptor", {"uid": "b", "name": "baseline", "data_keys": {}}
    yield "event", {"descriptor": "b", "data": {"live_result": f"{folder}/series_5.nxs", "eig16m_series": 5}}
    yield "descriptor", {"uid": "p", "name": "primary", "data_keys": {}}
    for number, frame in ((1, 0), (2, 2)):
        data = {"eig16m_frame": frame, "live_last_frame": frame, "live_last_chi2": float("nan"), "stage_x": 10.5}
        data |= {"stage_y": -0.1 * number, "stage_x_user_setpoint": 10.0, "stage_y_user_setpoint": 0.0}
        yield "event", {"descriptor": "p", "seq_num": number, "time": 2.0, "data": data}
    if verdicts:
        yield "descriptor", {"uid": "s", "name": "screening", "data_keys": {}}
        columns = {"frame": list(range(len(verdicts))), "verdict": list(verdicts)}
        page = {"descriptor": "s", "seq_num": [1, 2, 3], "time": [3.0] * 3, "data": columns}
        yield "event_page", page
    yield "stop", {"uid": "e", "run_start": "0a1b2c3d-1", "exit_status": "success"}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_the_columns_that_the_readers_look_for(tmp_path):
    (tmp_path / "series_5_spool_master.h5").touch()
    path = export_csv(run(tmp_path, verdicts=("accepted", "gated", "streak")), tmp_path)
    assert path.name == "au_sio2-scan_id-7-primary.csv"
    first, second = rows(path)
    assert first["eig16m_file_file_write_name_pattern"] == "series_5_spool"
    assert (tmp_path / (first["eig16m_file_file_write_name_pattern"] + "_master.h5")).exists()
    names = ("_cisamf_x", "_cisamf_z", "_cisamf_x_user_setpoint", "_cisamf_z_user_setpoint")
    assert [float(second[name]) for name in names] == [10.5, -0.2, 10.0, 0.0]
    assert [row["verdict"] for row in (first, second)] == ["accepted", "streak"], "by frame, not by row"
    assert first["live_last_chi2"] == ""


def test_frames_elsewhere_are_named_with_their_whole_path(tmp_path):
    own = tmp_path / "detector"
    own.mkdir()
    (own / "eiger_5_master.h5").touch()
    path = export_csv(run(tmp_path), tmp_path / "tables", detector_files=f"{own}/eiger_$id_master.h5")
    assert rows(path)[0]["eig16m_file_file_write_name_pattern"] == str(own / "eiger_5")
    without = rows(export_csv(run(tmp_path / "nowhere"), tmp_path))[0]
    assert "eig16m_file_file_write_name_pattern" not in without
    assert "verdict" not in without


@pytest.mark.parametrize(("sample", "name"), [("../../etc/x", "_.._etc_x"), ("", "sample"), ({"name": "a b"}, "a_b")])
def test_a_sample_name_leads_nowhere_else(tmp_path, sample, name):
    assert export_csv(run(tmp_path, sample=sample), tmp_path).name == f"{name}-scan_id-7-primary.csv"


def test_a_session_writes_the_table_when_the_run_stops(tmp_path):
    table, documents = CsvExport(tmp_path), DocumentWriter(tmp_path)
    for name, doc in run(tmp_path):
        assert table.path is None
        table(name, doc)
        documents(name, doc)
    assert len(rows(table.path)) == 2
    again = export_csv(read_documents(tmp_path / f"0a1b2c3d{SUFFIX}"), tmp_path / "again")
    assert again.read_text() == table.path.read_text()


def test_a_run_without_points_has_no_table(tmp_path):
    assert export_csv([("start", {"uid": "a"}), ("stop", {"uid": "b"})], tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="documents must be those of a run, got none with the name start"):
        export_csv([], tmp_path)
    path = tmp_path / f"x{SUFFIX}"
    path.write_text("[1]\n")
    with pytest.raises(UserError, match="must hold one document a line, got another thing in line 1"):
        list(read_documents(path))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        list(read_documents(tmp_path / "none"))
