"""What the page looks at: the running service held against the frames that were sent, over HTTP as the page asks."""

import gzip
import json
import math

import h5py
import httpx
import numpy as np
import pytest

from processing.fast_sum import FastSum
from service.page_source import Sight
from service.source import PointNote
from service.web import start_web
from service.web_regions import MOST_SIDE, Wanted, cut


class Page:
    """Asks as the page does."""

    def __init__(self, service, token_file):
        self.server = start_web(service, 0, token_file)
        self.client = httpx.Client(base_url=self.server.url, timeout=20)
        self.bearer = {"Authorization": f"Bearer {self.server.token_file.read_text().strip()}"}

    def binary(self, address):
        answer = self.client.get(address)
        assert answer.status_code in (200, 204), answer.text
        return json.loads(answer.headers.get("x-facts", "{}")), answer.content

    def region(self, words):
        facts, body = self.binary(f"/region?{words}")
        if "none" in facts:
            return facts, None
        return facts, np.frombuffer(body, facts["type"]).reshape(facts["rows"], facts["cols"])

    def rows(self, first=0):
        facts, body = self.binary(f"/rows?first={first}")
        columns, at = {}, 0
        for name, kind, length in facts["columns"]:
            columns[name] = np.frombuffer(body, kind, length, at)
            at += columns[name].nbytes
        assert at == len(body)
        return facts, columns

    def steer(self, method, address, body):
        return self.client.request(method, address, json=body, headers=self.bearer)

    def close(self):
        self.client.close()
        self.server.stop()


@pytest.fixture
def page_of(tmp_path):
    made = []

    def make(service):
        made.append(Page(service, tmp_path / "token"))
        return made[-1]

    yield make
    for page in made:
        page.close()


def photons(scan, number):
    """A frame as a person should see it: nothing where the detector set a flag."""
    pixels = scan.pixels[number]
    return np.where(pixels >= 2**32 - 2, np.nan, pixels)


@pytest.fixture
def run(bench_of, scan):
    """Forty frames in a running service, all in the books."""
    frames = scan(40)
    bench = bench_of(spool__enabled=True)
    bench.start()
    bench.open(frames)
    bench.send(frames, range(40))
    bench.wait(
        lambda status: status.counts.accepted > 10 and not status.counts.pending and status.durable_through >= 40
    )
    return bench, frames


def verdicts(page):
    facts, columns = page.rows()
    return {
        int(frame): facts["categories"][verdict]
        for frame, verdict in zip(columns["frame"], columns["verdict"], strict=True)
    }


def test_before_a_series_there_is_nothing_and_that_is_no_mistake(bench_of, page_of):
    page = page_of(bench_of().start())
    for what in ("sum", "last", "background", "prepared", "reconstruction", "frame"):
        facts, values = page.region(f"what={what}")
        assert values is None
        assert "ask again" in facts["none"]
    assert "no series yet" in page.binary("/rows")[0]["none"]
    assert page.client.get("/curves").json() == {}
    assert page.client.get("/facts").json()["disk"]["free_bytes"] > 0


def test_every_pixel_of_the_sum_is_what_was_sent(run, page_of):
    bench, frames = run
    page = page_of(bench.service)
    accepted = [frame for frame, verdict in verdicts(page).items() if verdict == "accepted"]
    total, _ = frames.sum_of(accepted)
    facts, values = page.region("what=sum")
    assert (facts["step"], facts["shape"], facts["frames"]) == (1, [64, 64], len(accepted))
    np.testing.assert_array_equal(values, total)
    facts, values = page.region("what=sum&first_row=10&first_col=20&rows=7&cols=9")
    np.testing.assert_array_equal(values, total[10:17, 20:29])
    facts, values = page.region("what=sum&side=16")
    assert facts["step"] == 4
    np.testing.assert_array_equal(values, total.reshape(16, 4, 16, 4).max(axis=(1, 3)))
    version = facts["version"]
    assert page.client.get(f"/region?what=sum&side=16&have={version}").status_code == 204
    background = [frame for frame, verdict in verdicts(page).items() if verdict == "background"]
    np.testing.assert_array_equal(page.region("what=background")[1], frames.sum_of(background)[0])


def test_every_frame_can_be_looked_at_while_its_bytes_are_somewhere(run, page_of):
    bench, frames = run
    page = page_of(bench.service)
    facts, values = page.region("what=last")
    assert facts["frame"] == 39
    np.testing.assert_array_equal(values, photons(frames, 39))
    bench.service.pipeline.series._hold.clear()  # from here on only the spool has them
    for number, verdict in [(0, verdicts(page)[0]), (17, verdicts(page)[17])]:
        facts, values = page.region(f"what=frame&frame={number}")
        assert (facts["frame"], facts["verdict"]) == (number, verdict)
        np.testing.assert_array_equal(values, photons(frames, number))
    assert page.region("what=frame&frame=40")[0]["none"] == "frame 40 of series 3 has not come"


def test_a_frame_whose_bytes_are_gone_is_said_to_be_nowhere(bench_of, scan, page_of):
    frames = scan(12)
    bench = bench_of(screening__settle_frames=5)
    page = page_of(bench.start())
    bench.open(frames)
    bench.send(frames, range(12))
    bench.wait_received(12)
    np.testing.assert_array_equal(page.region("what=frame&frame=3")[1], photons(frames, 3))
    bench.service.pipeline.series._hold.clear()
    facts, values = page.region("what=frame&frame=4")
    assert values is None
    assert facts["none"].startswith("the bytes of frame 4 are nowhere any more; with spool.enabled every frame")
    assert "newest frames only" in page.client.get("/facts").json()["can_show"]


def test_rows_are_the_ledger_and_follow_it_piece_by_piece(run, page_of, monkeypatch):
    bench, _frames = run
    page = page_of(bench.service)
    service = bench.service
    for number in (3, 4):
        service.book_point(PointNote(series=3, frame=number, point=number, x_um=2.0 * number, y_um=5.5))
    facts, columns = page.rows()
    ledger = service.pipeline.series.ledger
    assert facts["total"] == 40
    np.testing.assert_array_equal(columns["frame"], ledger.column("frame"))
    np.testing.assert_array_equal(columns["total"], ledger.column("total"))
    np.testing.assert_array_equal(columns["verdict"], ledger.column("verdict"))
    np.testing.assert_allclose(columns["ratio"], ledger.column("chi2") / ledger.column("dof"), rtol=1e-6)
    assert columns["x"][3:5].tolist() == [6.0, 8.0]
    assert math.isnan(columns["x"][5])
    monkeypatch.setattr("service.web_page.MOST_ROWS", 15)
    facts, columns = page.rows(first=30)
    assert (facts["first"], len(columns["frame"]), len(columns["verdict"])) == (30, 10, 40)
    facts, columns = page.rows(first=5)
    assert columns["frame"].tolist() == list(range(5, 20))


def test_a_frame_marked_by_hand_leaves_the_sum_and_comes_back(run, page_of):
    bench, frames = run
    page = page_of(bench.service)
    before = verdicts(page)
    chosen = [frame for frame, verdict in before.items() if verdict == "accepted"][:2]
    assert page.client.post("/mark", json={"frames": chosen, "out": True}).status_code == 401
    assert page.steer("POST", "/mark", {"frames": chosen, "out": True}).status_code == 200
    status = bench.wait(lambda status: status.counts.gated == 2 and not status.fetching)
    left = [frame for frame, verdict in before.items() if verdict == "accepted" and frame not in chosen]
    assert status.counts.accepted == len(left)
    np.testing.assert_array_equal(bench.service.pipeline.series.accepted.data, frames.sum_of(left)[0])
    assert page.steer("POST", "/mark", {"frames": chosen[:1], "out": False}).status_code == 200
    bench.wait(lambda status: status.counts.gated == 1 and not status.fetching)
    assert verdicts(page)[chosen[0]] == "accepted"
    bench.end()
    bench.stop()
    frames.assert_exact(bench.folder / "series_3.nxs")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"frames": [99], "out": True}, "frames must be numbers of frames that have come, got 99"),
        ({"frames": [], "out": True}, "frames must be 1 to 1000 numbers at a time, got 0"),
        ({"frames": [True], "out": True}, "the body must be a JSON object with the numbers of frames"),
        ({"frames": [1]}, "the body must be a JSON object with the numbers of frames"),
    ],
)
def test_marks_that_cannot_be_are_told(run, page_of, body, words):
    page = page_of(run[0].service)
    answer = page.steer("POST", "/mark", body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_notes_are_in_the_file_and_outlive_a_kill(run, page_of, tmp_path):
    bench, _frames = run
    page = page_of(bench.service)
    assert page.client.post("/notes", json={"text": "x"}).status_code == 401
    for text in ("", " ", "x" * 2001):
        assert "a note must have 1 to 2000 characters" in page.steer("POST", "/notes", {"text": text}).json()["error"]
    assert page.steer("POST", "/notes", {"text": "cryo cooler <b>on</b> µ"}).status_code == 200
    assert [note["text"] for note in page.client.get("/facts").json()["notes"]] == ["cryo cooler <b>on</b> µ"]
    assert page.steer("POST", "/snapshot", None).status_code == 200
    with h5py.File(bench.folder / "series_3.nxs") as file:
        assert file["entry/note_1"].attrs["NX_class"] == "NXnote"
        assert file["entry/note_1/description"].asstr()[()] == "cryo cooler <b>on</b> µ"
    bench.wait(lambda _: not bench.service._safeties[0].keeper._entries)
    bench.photograph(tmp_path / "second")
    service = bench.start()
    bench.wait(lambda status: status.counts.received == 40)
    assert [remark.text for remark in service.pipeline.series.remarks] == ["cryo cooler <b>on</b> µ"]


def test_the_right_is_told(run, page_of):
    page = page_of(run[0].service)
    assert page.client.get("/right").status_code == 401
    assert page.client.get("/right", headers=page.bearer).status_code == 204


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("what=passwd", "what must be one of sum, last"),
        ("side=0", "side must be a whole number of 16 to 1024, got '0'"),
        ("side=99999", "side must be a whole number of 16 to 1024"),
        ("rows=-1&cols=3", "rows must be a whole number of 1 to"),
        ("what=frame&frame=1e9", "frame must be a whole number"),
        ("rows=5&cols=٣", "cols must be a whole number"),
    ],
)
def test_wishes_that_cannot_be_are_told(run, page_of, query, words):
    answer = page_of(run[0].service).client.get(f"/region?{query}")
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_no_piece_is_larger_than_allowed_and_blocks_stay_where_they_are():
    values = np.random.default_rng(1).integers(0, 2**33, (3000, 2500)).astype(np.uint64)
    sight = Sight(values=values, valid=np.ones(values.shape, np.uint8), frames=1)
    for window in (None, (0, 0, 10**9, 10**9), (2999, 2499, 1, 1), (5000, 5000, 50, 50), (700, 13, 1999, 1500)):
        piece = cut(sight, Wanted(what="sum", frame=None, window=window, side=500))
        facts = piece.facts
        assert max(facts["rows"], facts["cols"]) <= 501
        assert facts["first_row"] % facts["step"] == facts["first_col"] % facts["step"] == 0
    exact = cut(sight, Wanted(what="sum", frame=None, window=(100, 200, 300, 400), side=MOST_SIDE))
    assert exact.facts["type"] == "float64"
    seen = np.frombuffer(gzip.decompress(exact.body), np.float64).reshape(300, 400)
    np.testing.assert_array_equal(seen, values[100:400, 200:600])


def test_many_who_look_at_the_same_cost_one_reading(run, page_of):
    bench, _ = run
    page = page_of(bench.service)
    bodies = {page.client.get("/region?what=sum").content for _ in range(8)}
    assert len(bodies) == 1
    assert page.server._pages.page_routes.regions.cut == 1


def test_whoever_looks_at_the_whole_sum_shares_one_reading(run, page_of, monkeypatch):
    bench, _ = run
    page, read = page_of(bench.service), []
    brightest = FastSum.brightest
    monkeypatch.setattr(FastSum, "brightest", lambda total, step: read.append(step) or brightest(total, step))
    pieces = [page.region(f"what=sum&side={side}")[1] for side in (16, 20, 16)]
    assert [piece.shape for piece in pieces] == [(16, 16)] * 3
    assert bench.service._sums.get("sum", 4).frames == page.region("what=sum&side=16")[0]["frames"]
    assert read == [4]


def test_a_new_file_is_an_event(run, page_of):
    bench, _ = run
    page = page_of(bench.service)
    bench.service.office._pause_s = lambda: 3600.0
    told = []
    with page.client.stream("GET", "/events?what=none") as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                told.append(line.removeprefix("event: "))
                if len(told) == 1:
                    page.steer("POST", "/mark", {"frames": [0], "out": True})
                    path = page.steer("POST", "/snapshot", None).json()["result"]
            elif told and told[-1] == "snapshot" and line.startswith("data: "):
                assert json.loads(line.removeprefix("data: ")) == {"series": 3, "result": path, "rows": 40}
                break
    assert set(told) == {"status", "snapshot"}


def test_what_nobody_looks_at_any_more_is_let_go(run, page_of, monkeypatch, wait_until):
    bench, _ = run
    page = page_of(bench.service)
    page.region("what=sum")
    page.region("what=frame&frame=3")
    assert set(bench.service.views._kept) == {"sum", "frame"}
    monkeypatch.setattr("service.views.FORGET_AFTER_S", 0.0)
    wait_until(lambda: not bench.service.views._kept)
