"""The Python client reads from a running service what its result file holds later, and steers it."""

import threading

import h5py
import numpy as np
import pytest

from service import client as module
from service.client import LiveClient
from service.errors import NotReachedError, UsageError, UserError
from service.web import start_web


@pytest.fixture
def live(bench_of, scan):
    """A service that has received a scan but its end; the client, the frames and the bench."""
    frames = scan(40)
    bench = bench_of()
    service = bench.start()
    bench.open(frames)
    bench.send(frames, range(40))
    bench.wait(lambda status: status.counts.received == 40 and not status.counts.pending and not status.behind)
    web = start_web(service, 0, bench.folder / ".token")
    yield LiveClient(web.url, web.token_file), frames, bench
    web.stop()


def test_arrays_rows_and_counts_are_those_of_the_result(live, monkeypatch):
    client, frames, bench = live
    counts = client.counts()
    assert counts["received"] == 40
    whole = client.array("sum")
    monkeypatch.setattr(module, "_TILE", 24)
    in_pieces = client.array("sum")
    np.testing.assert_array_equal(in_pieces.values, whole.values)
    small = client.preview("sum", side=16)
    assert (small.step, small.values.shape) == (4, (16, 16))
    rows = client.rows()

    bench.end()
    status = client.wait_for(timeout_s=30)
    assert status.state == "complete"
    with h5py.File(status.result) as file:
        entry = file["entry"]
        valid = entry["sum/valid"][()] == 1
        np.testing.assert_array_equal(whole.values[valid], entry["sum/data"][()][valid])
        assert np.isnan(whole.values[~valid]).all()
        assert whole.frames == entry["sum/frames"][()] == counts["accepted"]
        names = entry["frames/verdict"].attrs["names"][entry["frames/verdict"][()]]
        np.testing.assert_array_equal(rows["verdict"], names)
        for name in ("frame", "total"):
            np.testing.assert_array_equal(rows[name], entry["frames"][name][()])
    last = client.preview("last")
    assert np.nanmax(last.values) >= frames.pixels[-1][10:20].max()


def test_steering_and_its_refusals(live):
    client, _, _ = live
    before = client.counts()
    told = client.what_if(screening__chi2_ratio_max=100.0)
    with pytest.raises(UserError, match="steering needs the token of this run"):
        LiveClient(client.url).change_settings({"screening.chi2_ratio_max": 100.0})
    with pytest.raises(UserError, match=r"refused: .*chi2_ratio_max"):
        client.change_settings({"screening.chi2_ratio_max": -1.0})
    status = client.change_settings({"screening.chi2_ratio_max": 100.0})
    assert status.counts.accepted + len(status.unresolved) == told.counts["accepted"] > before["accepted"]
    path = client.snapshot()
    with h5py.File(path) as file:
        assert file["entry/sum/frames"][()] == status.counts.accepted


def test_watching_ends_with_the_series(live):
    client, _, bench = live
    threading.Timer(0.5, bench.end).start()
    seen = [status.state for status in client.watch(every_s=0.05, timeout_s=30)]
    assert seen[0] == "receiving"
    assert seen[-1] == "complete"


@pytest.fixture
def idle(bench_of):
    """A client of a service without a series."""
    bench = bench_of()
    web = start_web(bench.start(), 0, bench.folder / ".token")
    yield LiveClient(f"{web.url}/")
    web.stop()


def test_before_a_series_there_is_nothing(idle):
    client = idle
    assert client.status().state == "idle"
    assert client.preview("sum") is client.array("reconstruction") is None
    assert client.rows() == {}
    with pytest.raises(NotReachedError, match=r"must be complete within 0 s, it is idle: waiting for the detector"):
        client.wait_for("complete", timeout_s=0)
    with pytest.raises(UsageError, match=r"a state must be one of idle, armed, .* got 'done'"):
        client.wait_for("done")
    with pytest.raises(UserError, match="frame 3 cannot be shown"):
        client.preview("frame", frame=3)
    with pytest.raises(UsageError, match="the address of a service on this machine"):
        LiveClient("http://example.org").status()


def test_an_array_that_keeps_changing_is_a_sentence(live, monkeypatch):
    client, _, _ = live
    original, count = LiveClient._region, iter(range(1000))

    def changing(self, *words):
        from dataclasses import replace

        return replace(original(self, *words), version=next(count))

    monkeypatch.setattr(LiveClient, "_region", changing)
    with pytest.raises(UserError, match="sum must stay the same while its pieces are fetched, it changed 5 times"):
        client.array("sum")
