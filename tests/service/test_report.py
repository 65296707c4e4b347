"""The run report stands for itself, says what the result file says, and lets nothing in."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from service.errors import UserError
from service.report import find_run, run_of, write_report
from service.store import write_series_file

START = {
    "uid": "1234abcd-0000", "time": 1795316390.0, "sample": "gold <b>spheres</b>", "operator": "A. Researcher",
    "scan_id": 12, "plan_name": "ensemble_scan", "shape": [5, 8], "extents": [[0.0, 40.0], [0.0, 70.0]],
    "exposure_s": 10,
}  # fmt: skip
"""Begins ten seconds before the series of the fixture does."""


class Reader(HTMLParser):
    """Collects text, tags and sources of a page, and holds that tags close in order."""

    EMPTY = ("meta", "img", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.sources = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "1234abcd.documents.jsonl"
    lines = [{"name": "start", "doc": START}, {"name": "event", "doc": {}}]
    stop = {"name": "stop", "doc": {"time": START["time"] + 500, "exit_status": "success"}}
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, stop]))
    return path


def test_the_page_says_what_the_file_says(finished, finished_result, run_file):
    path = write_report(finished_result, run_file.parent, run_file)
    assert path.name == "series_9_report.html"
    page = Reader(path.read_text(encoding="utf-8"))
    text = " ".join(page.texts)
    counts = finished.summary["counts"]
    for said in (
        "gold <b>spheres</b>, series 9", "A. Researcher", "1234abcd", "success", "8 x 5, 10 s each", "6.3 nm", "0.021",
        "high", "2026-11-22 03:00:00 UTC", "Dectris Eiger <1M>", "8.856 keV", "object must be as wide as its pattern",
        f"{counts['accepted']}", "0.3 of the reference", "chi²/dof 1.6", "9e+04 counts",
    ):  # fmt: skip
        assert said in text, said
    rows = dict(re.findall(r"<tr><th>([\w ]+)</th><td class=\"n\">(\d+)", path.read_text()))
    assert {name.replace(" ", "_"): int(value) for name, value in rows.items()} == {
        name: value for name, value in counts.items() if name != "pending"
    }


def test_the_page_asks_nobody_for_anything(finished_result, tmp_path):
    path = write_report(finished_result, tmp_path)
    page = Reader(path.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert len(page.sources) == 5
    sizes = []
    for source in page.sources:
        kind, _, data = source.partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            sizes.append(picture.size)
    assert min(min(size) for size in sizes) > 200
    assert path.stat().st_size < 2_000_000


def test_without_image_positions_or_geometry_there_is_a_page_all_the_same(finished, tmp_path):
    header = replace(finished.header, distance_m=None, wavelength_m=None, photon_energy_ev=None)
    columns = finished.ledger.columns | {name: finished.ledger.columns[name] + float("nan") for name in ("x", "y")}
    summary = finished.summary | {"reference_total": None, "complete": False}
    bare = replace(
        finished, imaging=None, header=header, ledger=replace(finished.ledger, columns=columns), summary=summary
    )
    path = tmp_path / "bare.nxs"
    write_series_file(path, bare)
    text = " ".join(Reader(write_report(path).read_text()).texts)
    assert "no image: too few frames" in text
    assert "this file is a snapshot" in text


def test_a_series_without_a_frame_has_a_page(finished, tmp_path):
    columns = {name: column[:0] for name, column in finished.ledger.columns.items()}
    nothing = replace(finished.accepted, data=finished.accepted.data * 0, frames=0)
    counts = dict.fromkeys(finished.summary["counts"], 0) | {"missing": 40}
    bare = replace(
        finished, imaging=None, ledger=replace(finished.ledger, columns=columns), accepted=nothing,
        summary=finished.summary | {"counts": counts, "reference_total": None},
    )  # fmt: skip
    path = tmp_path / "empty.nxs"
    write_series_file(path, bare)
    text = " ".join(Reader(write_report(path).read_text()).texts)
    assert "no frame was judged" in text
    assert "missing, corrupt or unresolved" in text


def test_the_run_is_the_one_the_series_fell_into(run_file):
    folder = run_file.parent
    (folder / "broken.documents.jsonl").write_text('{"name": "start"\n')
    later = START | {"uid": "later", "time": START["time"] + 3600}
    (folder / "later.documents.jsonl").write_text(json.dumps({"name": "start", "doc": later}))
    assert find_run(folder, "2026-11-22T03:00:00+00:00")["uid"] == START["uid"]
    assert find_run(folder, "2026-11-22T02:00:00+00:00") == {}
    assert find_run(folder, "2026-11-22T05:00:00+00:00")["uid"] == "later"
    assert find_run(folder, "") == {}
    with pytest.raises(UserError, match="must hold one document a line"):
        run_of(folder / "broken.documents.jsonl")
