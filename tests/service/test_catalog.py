"""The catalogue of a real run: what Tiled gives back is what is in the result file."""

import gc
import json
import subprocess
import sys
import threading
from pathlib import Path

import event_model
import h5py
import hdf5plugin  # noqa: F401 - the filter of the spool
import numpy as np
import pytest

from service.catalog.client import Address, address_of, connect
from service.catalog.follow import Follower
from service.catalog.server import CatalogServer
from service.catalog.writer import TiledSink
from service.cli.catalog import keep
from service.config import Settings
from service.documents import read_documents
from service.errors import ConfigurationError, NotReachedError

POINTS = 12


# Tiled's client leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected():
    """Have what a test leaves collected before the next one, which may be strict about it."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Give the folder of a scan that filled its own catalogue, and what it said."""
    folder = tmp_path_factory.mktemp("scanned")
    command = [sys.executable, "-m", "service.cli", "scan", "--sim", "--json", "--speed", "200", "--exposure", "10"]
    command += ["--x", "-60", "60", "40", "--y", "-40", "40", "40", "--output", str(folder)]
    command += ["--set", "spool.enabled=true", "--set", "spool.frames_per_file=5"]
    command += ["--set", "reconstruction.enabled=false"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def server(scanned):
    """Give a server started later on the same folder."""
    folder, _ = scanned
    server = CatalogServer(folder / "catalog", [folder])
    yield server
    server.close()


@pytest.fixture(scope="module")
def catalog(server):
    client = connect(server.address)
    yield client
    client.context.http_client.close()


@pytest.fixture(scope="module")
def run(catalog):
    return catalog[-1]


@pytest.fixture
def result(scanned):
    with h5py.File(scanned[1]["result"]) as file:
        yield file["entry"]


def test_the_run_is_found_by_age_number_and_name(scanned, catalog):
    _, told = scanned
    assert told["catalog"] is True
    for key in (-1, 1, told["uid"], told["uid"][:8]):
        assert catalog[key].metadata["start"]["uid"] == told["uid"]
    stop = catalog[-1].metadata["stop"]
    assert stop["exit_status"] == "success"
    frames = POINTS + stop["num_events"].pop("voided", 0)  # a slow machine may lose an exposure to an injection
    assert stop["num_events"] == {"baseline": 2, "primary": POINTS, "screening": frames}


def test_positions_come_back(run, result):
    primary = run["primary"].read()
    rows = {name: result[f"frames/{name}"][()].tolist() for name in ("frame", "point", "x", "y")}
    booked = {frame: rest for frame, *rest in zip(*rows.values(), strict=True)}
    axes = primary["stage_x_user_setpoint"].values.tolist(), primary["stage_y_user_setpoint"].values.tolist()
    told = zip(range(POINTS), *axes, strict=True)
    assert [booked[frame] for frame in primary["eig1m_frame"].values] == [list(point) for point in told]
    assert np.isnan(primary["live_resolution"].values).all(), "there was no image"


def test_verdicts_come_back(run, result):
    screening = run["screening"].read()
    names = result["frames/verdict"].attrs["names"]
    assert screening["verdict"].values.tolist() == [names[code] for code in result["frames/verdict"][()]]
    for name in ("frame", "total", "chi2", "dof", "point", "x", "y"):
        np.testing.assert_array_equal(screening[name].values, result[f"frames/{name}"][()])
    assert len(set(screening["verdict"].values.tolist())) > 1, "the points must lie on sample and silicon"


def test_frames_come_back_out_of_several_files_and_add_up_to_the_sum(scanned, run, result):
    frames = run["frames"]["eig1m_image"]
    count = len(set(result["frames/frame"][()].tolist()))
    assert len(list(Path(scanned[0]).glob("*_spool_data_*.h5"))) >= 3
    assert frames.shape == (count, *result["sum/data"].shape)
    screening = run["screening"].read()
    total = np.zeros(result["sum/data"].shape, np.uint64)
    for row, verdict in enumerate(screening["verdict"].values):
        if verdict == "accepted":
            pixels = np.asarray(frames[row])
            total += np.where(pixels < np.iinfo(pixels.dtype).max - 1, pixels, 0).astype(np.uint64)
    valid = result["sum/valid"][()] == 1
    np.testing.assert_array_equal(total[valid], result["sum/data"][()][valid])


def test_the_file_of_documents_is_whole_and_keeps_the_rules(scanned):
    documents = list(read_documents(Path(scanned[1]["documents"])))
    names = [name for name, _ in documents]
    assert names[0] == "start"
    assert names[-1] == "stop"
    assert names.count("stop") == 1
    streams = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
    assert sorted(streams.values()) == ["baseline", "frames", "primary", "screening", "voided"]
    for name, doc in documents:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    data = [doc for name, doc in documents if name == "stream_datum"]
    assert [one["indices"]["start"] for one in data] == [0, 5, 10, 15][: len(data)]
    assert [one["seq_nums"]["start"] for one in data] == [1, 6, 11, 16][: len(data)]


def test_without_the_key_nothing_is_told(server):
    with pytest.raises(NotReachedError, match=r"catalogue http://127.0.0.1:\d+ must answer") as refused:
        connect(Address(server.address.url, "0" * 64))
    assert server.address.key not in str(refused.value)
    assert server.address.key not in repr(server.address)


def test_the_catalogue_listens_on_this_machine_only(server):
    assert server._socket.getsockname()[0] == "127.0.0.1"


def test_a_run_comes_back_as_documents(scanned, run):
    kept = [name for name, doc in read_documents(Path(scanned[1]["documents"])) if doc.get("name") != "frames"]
    given = [name for name, _ in run.documents()]
    assert given[0] == "start"
    assert given[-1] == "stop"
    rows = run["screening"].read()["frame"].size
    assert given.count("event") == kept.count("event") + rows
    assert given.count("descriptor") == kept.count("descriptor") + 1


def test_only_this_user_may_read_the_key(scanned, server):
    path = scanned[0] / "catalog" / "server.json"
    assert path.stat().st_mode & 0o077 == 0
    assert address_of(Settings(), scanned[0]) == server.address


def test_a_run_that_was_half_written_is_written_anew(scanned, server, catalog, tmp_path):
    _, told = scanned
    lines = Path(told["documents"]).read_text().splitlines(keepends=True)
    copy = tmp_path / "again.documents.jsonl"
    text = "".join(lines).replace(told["uid"], told["uid"][::-1])
    lines = text.splitlines(keepends=True)
    copy.write_text("".join(lines[:6]) + lines[6][:20])
    sink = TiledSink(catalog, allow=server.allow)
    Follower(tmp_path, sink).step()
    sink.flush()
    assert "stop" not in catalog[told["uid"][::-1]].metadata
    copy.write_text(text)
    assert Follower(tmp_path, TiledSink(catalog, allow=server.allow)).step()
    again = catalog[told["uid"][::-1]]
    assert again["primary"].read()["eig1m_frame"].size == POINTS
    np.testing.assert_array_equal(again["frames"]["eig1m_image"][0], catalog[told["uid"]]["frames"]["eig1m_image"][0])


def test_runs_go_to_a_server_elsewhere(scanned, server, catalog, tmp_path, monkeypatch, capsys):
    _, told = scanned
    uid = f"ffff{told['uid'][4:]}"
    (tmp_path / "copy.documents.jsonl").write_text(Path(told["documents"]).read_text().replace(told["uid"], uid))
    monkeypatch.setenv("OUR_KEY", server.address.key)
    settings = Settings().changed({"catalog.server": server.address.url, "catalog.key_variable": "OUR_KEY"})
    stop = threading.Event()
    stop.set()
    keep(settings, tmp_path, stop)
    assert catalog[uid]["screening"].read()["frame"].size == catalog[told["uid"]]["screening"].read()["frame"].size
    assert json.loads(capsys.readouterr().out) == {"ready": True, "http": server.address.url}
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["copy.documents.jsonl"]
    assert server.address.key not in left[0].read_text()


def test_a_server_elsewhere_needs_its_key_in_the_environment(tmp_path, monkeypatch):
    settings = Settings().changed(
        {"catalog.server": "https://tiled.example.org/api", "catalog.key_variable": "OUR_KEY"}
    )
    monkeypatch.delenv("OUR_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=r"must be in the environment variable OUR_KEY, got none"):
        address_of(settings, tmp_path)
    monkeypatch.setenv("OUR_KEY", "secret")
    assert address_of(settings, tmp_path) == Address("https://tiled.example.org/api", "secret")
    for bad in ("https://user:key@tiled.example.org", "https://tiled.example.org?api_key=1", "tiled.example.org"):
        with pytest.raises(ConfigurationError, match="server must look like https://HOST:PORT/PATH"):
            Settings().changed({"catalog.server": bad})
