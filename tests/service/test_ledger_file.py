"""The ledger on disk only grows, and says after a kill what it said before."""

import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from processing.frame import Category, SeriesHeader
from service.ledger_file import LedgerFile, event, header_facts, header_of, read_ledger

HEADER = SeriesHeader(
    series=7, shape=(3, 4), pixel_type="uint32", images=100, beam_center_x=1.5, beam_center_y=0.25,
    wavelength_m=2.2e-10, appendix=b"\x00user\xff", config={"description": "a <b>", "nimages": 1},
    channels=("a", "b"), channel="b",
)  # fmt: skip
FACTS = {**header_facts(HEADER), "started": "2026-11-26T03:00:00.000+00:00"}


def row(number, frame, verdict=Category.ACCEPTED, total=2**62, chi2=1.25):
    return "frames", (number, frame, int(verdict), total, chi2, 499, 1)


def test_a_header_comes_back_as_it_was():
    assert header_of(header_facts(HEADER)) == HEADER


def test_rows_flips_points_and_settings_come_back(tmp_path):
    path = tmp_path / "series_7.ledger"
    file = LedgerFile(path, FACTS)
    file.add([event("opened"), ("settings", (1, 0, '{"screening": {}}')), row(0, 5), row(1, 6, chi2=None)])
    file.add([("flips", (0, 2, 2)), ("points", (5, 3, 1.5, float("nan"), 0)), event("expected", "90")])
    file.add([("kept", (5, "series_7_spool_data_000001.h5", 2048, 700))])
    file.sync()
    file.close()
    found = read_ledger(path)
    assert found.header == HEADER
    assert found.columns["frame"].tolist() == [5, 6]
    assert found.columns["total"].tolist() == [2**62, 2**62]
    assert np.isnan(found.columns["chi2"][1])
    assert found.columns["verdict"].tolist() == [0, 0]
    assert found.verdicts.tolist() == [2, 0]
    assert found.versions == [(1, 0, {"screening": {}})]
    assert found.expected == 90
    assert not found.closed
    note = found.notes[0]
    assert (note.frame, note.point, note.x_um, note.void) == (5, 3, 1.5, False)
    assert np.isnan(note.y_um)
    with sqlite3.connect(path) as base:
        seen = base.execute("SELECT frame, verdict, point, file, offset FROM ledger ORDER BY row").fetchall()
    base.close()
    assert seen == [(5, "streak", 3, "series_7_spool_data_000001.h5", 2048), (6, "accepted", None, None, None)]


@pytest.mark.parametrize("table", ["frames", "flips", "points", "settings", "events"])
def test_nothing_in_it_can_be_changed_or_removed(tmp_path, table):
    path = tmp_path / "series_7.ledger"
    file = LedgerFile(path, FACTS)
    file.add(
        [event("opened"), ("settings", (1, 0, "{}")), row(0, 5), ("flips", (0, 2, 2)), ("points", (5, 3, 1, 1, 0))]
    )
    file.close()
    base = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="only grows"):
        base.execute(f"DELETE FROM {table}")
    columns = {"frames": "verdict", "flips": "verdict", "points": "void", "settings": "from_frame", "events": "what"}
    with pytest.raises(sqlite3.IntegrityError, match="only grows"):
        base.execute(f"UPDATE {table} SET {columns[table]} = 9")
    base.close()


def test_closed_and_ended_follow_the_last_event(tmp_path):
    path = tmp_path / "series_7.ledger"
    file = LedgerFile(path, FACTS)
    said = []
    for what in ("opened", "ended", "closed", "reopened", "ended", "resumed", "ended", "closed"):
        file.add([event(what)])
        found = read_ledger(path)
        said.append((found.ended, found.closed))
    file.close()
    assert said == [
        (False, False), (True, False), (False, True), (False, False), (True, False), (True, False), (True, False),
        (False, True),
    ]  # fmt: skip


def test_a_killed_writer_loses_nothing_it_committed(tmp_path):
    path = tmp_path / "series_7.ledger"
    code = f"""
import os, signal
from service.ledger_file import LedgerFile
file = LedgerFile({str(path)!r}, {FACTS!r})
for number in range(50):
    file.add([("frames", (number, number, 0, 10, 1.0, 5, 1))])
file._base.execute("BEGIN IMMEDIATE")
file._base.execute("INSERT INTO frames VALUES (50, 50, 0, 10, 1.0, 5, 1)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert read_ledger(path).columns["frame"].tolist() == list(range(50))


def test_what_is_no_ledger_is_refused(tmp_path):
    path = tmp_path / "series_7.ledger"
    with pytest.raises(FileNotFoundError):
        read_ledger(path)
    path.write_bytes(b"no database at all, but long enough to look at " * 50)
    with pytest.raises(sqlite3.DatabaseError):
        read_ledger(path)
