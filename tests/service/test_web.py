import io
import json
import re
import socket
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.listen import PortTakenError
from service.web import MAX_BODY_BYTES, STATIC, start_web

CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"


pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture
def server(run, tmp_path):
    server = start_web(run, 0, tmp_path / "token")
    yield server
    server.stop()
    assert not server.token_file.exists()


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client


@pytest.fixture
def bearer(server):
    return {"Authorization": f"Bearer {server.token_file.read_text().strip()}"}


def read_events(client, until, timeout_s=10.0):
    """Collect (name, data) from the stream until `until(events)` holds."""
    events = []
    deadline = time.monotonic() + timeout_s
    with client.stream("GET", "/events", timeout=timeout_s) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = None
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((time.monotonic(), name, json.loads(line.removeprefix("data: "))))
                if until(events):
                    return events
            assert time.monotonic() < deadline
    raise AssertionError("the stream ended early")


def test_status_is_the_whole_schema(client, run):
    run.start()
    run.take()
    run.take("streak")
    answer = client.get("/status")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads(run.status().model_dump_json())
    assert answer.json()["counts"]["streak"] == 1


def test_every_answer_carries_the_strict_headers(client):
    for path in ["/", "/status", "/static/app.js", "/nowhere", "/preview.jpg", "/settings"]:
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith(CSP), path
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_picture_follows_the_sum(client, run):
    missing = client.get("/preview.jpg?what=sum")
    assert missing.status_code == 404
    assert "there is no picture of sum yet" in missing.json()["error"]
    run.start()
    run.take()
    first = client.get("/preview.jpg")
    assert first.headers["content-type"] == "image/jpeg"
    rgb = np.asarray(Image.open(io.BytesIO(first.content))).astype(int)
    expected = run.preview("sum").pixels
    assert rgb.shape[:2] == expected.shape
    brightest = np.unravel_index(np.nanargmax(expected), expected.shape)
    assert rgb[brightest].sum() > np.median(rgb.sum(axis=2)) + 100
    for _ in range(20):
        run.take()
    assert client.get("/preview.jpg").content != first.content
    scale = client.get("/preview.json?what=sum").json()
    assert scale["frames"] == 21
    assert scale["shape"] == list(expected.shape)
    assert 0 < scale["high"] <= np.nanmax(run.preview("sum").pixels)


def test_a_picture_is_rendered_once_a_change_for_any_number_of_viewers(client, server, run):
    run.start()
    run.take()
    answers = []

    def view():
        with httpx.Client(base_url=server.url, timeout=10) as viewer:
            answers.extend(viewer.get("/preview.jpg").content for _ in range(5))

    viewers = [threading.Thread(target=view) for _ in range(8)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(20)
    assert len(answers) == 40
    assert len(set(answers)) == 1
    assert "xedm_pictures_rendered 1.0" in client.get("/metrics").text


def test_reconstruction_and_unknown_pictures(client, run):
    run.start()
    run.take()
    run.reconstruct()
    assert client.get("/preview.jpg?what=reconstruction").status_code == 200
    refused = client.get("/preview.jpg?what=../../etc/passwd")
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("what must be one of sum, last, background, reconstruction, got")


def test_health_and_metrics(client, run):
    run.start(announced=30)
    run.take()
    run.take("background")
    run.update(degraded=["disk full"])
    assert client.get("/healthz").json() == {"ok": True, "state": "receiving", "degraded": ["disk full"]}
    text = client.get("/metrics").text
    for line in [
        'xedm_frames{category="accepted"} 1.0', 'xedm_frames{category="background"} 1.0', "xedm_frames_received 2.0",
        'xedm_state{state="receiving"} 1.0', 'xedm_state{state="idle"} 0.0', "xedm_frames_announced 30.0",
        "xedm_balanced 1.0", "xedm_degraded_reasons 1.0",
    ]:  # fmt: skip
        assert line in text.splitlines()
    assert "process_resident_memory_bytes" in text


def test_events_begin_with_what_is_known_and_follow_changes(client, run):
    run.start()
    run.take()

    def more():
        time.sleep(0.4)
        run.take("streak")

    threading.Thread(target=more).start()
    events = read_events(
        client, lambda got: any(name == "status" and data["counts"]["streak"] == 1 for _, name, data in got)
    )
    assert events[0][1] == "status"
    assert events[0][2]["counts"]["accepted"] == 1
    assert events[1][1:] == ("preview", {"sum": 1, "last": 1})


def test_events_come_at_most_five_times_a_second(client, run):
    run.start()
    stop = threading.Event()

    def beam():
        while not stop.wait(0.004):
            run.take()

    thread = threading.Thread(target=beam)
    thread.start()
    try:
        begun = time.monotonic()
        events = read_events(client, lambda got: got[-1][0] - begun > 2.0)
    finally:
        stop.set()
        thread.join(5)
    status = [when for when, name, _ in events if name == "status"]
    assert 6 <= len(status) <= 13  # 2 s: the first at once, then five a second
    assert sum(name == "preview" for _, name, _ in events) <= 4


def test_a_viewer_that_stops_reading_costs_nobody_anything(client, server, run):
    run.start()
    run.fail("long", "x" * 50_000)  # fills the socket's buffers soon
    stalled = socket.create_connection(("127.0.0.1", server.port))
    try:
        stalled.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for _ in range(10):
            run.take()
            time.sleep(0.21)
        begun = time.monotonic()
        assert client.get("/status").json()["counts"]["accepted"] == 10
        assert time.monotonic() - begun < 1.0
        read_events(client, lambda got: got[-1][1] == "status")
    finally:
        stalled.close()


def test_nobody_watching_costs_nothing(server, run):
    with httpx.Client(base_url=server.url) as client:
        read_events(client, lambda got: len(got) >= 2)
    time.sleep(0.5)
    before = run.previews_made
    run.take()
    time.sleep(1.2)
    assert run.previews_made == before


def test_only_pictures_somebody_looks_at_are_made(server, run):
    run.start()
    run.take()
    asked = []
    preview = run.preview
    run.preview = lambda what: asked.append(what) or preview(what)
    with httpx.Client() as client:
        with client.stream("GET", f"{server.url}/events?what=last&what=reconstruction", timeout=10) as stream:
            begun = time.monotonic()
            for line in stream.iter_lines():
                if line.startswith("data"):
                    run.take()
                    time.sleep(0.1)
                if time.monotonic() - begun > 1.5:
                    break
        assert client.get(f"{server.url}/events?what=nothing").status_code == 422
    assert set(asked) == {"last", "reconstruction"}
    assert len(asked) >= 4


def test_settings_need_the_right_to_steer(client, run, bearer):
    changes = {"screening.chi2_ratio_max": 1.9}
    refused = client.put("/settings", json=changes)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert "steering needs the right to steer" in refused.json()["error"]
    assert client.put("/settings", json=changes, headers={"Authorization": "Bearer guess"}).status_code == 403
    assert run.calls == []
    assert client.put("/settings", json=changes, headers=bearer).json() == {"version": 2}
    assert run.calls[0][:2] == ("settings", changes)
    assert re.fullmatch(r"http 127\.0\.0\.1:\d+", run.calls[0][2])
    assert client.get("/status").json()["parameters"]["screening.chi2_ratio_max"] == 1.9


MALFORMED = {
    b"": "the body must be JSON",
    b"{": "the body must be JSON",
    b"\xff\xfe": "the body must be JSON",
    b"[1]": "the body must be a JSON object of 1 to 50 settings",
    b"{}": "the body must be a JSON object of 1 to 50 settings",
    b'{"screening.chi2_ratio_max": NaN}': "a number must be finite, got NaN",
    b'{"screening.chi2_ratio_max": -1}': r"screening.chi2_ratio_max must be 0.1 to 1000.0, got -1",
    b'{"screening.no": 1}': "screening.no must be a known setting",
    b"[" * 50_000: "nested too deep",
}


def test_malformed_settings_are_told_what_is_wrong(client, run, bearer):
    for body, words in MALFORMED.items():
        answer = client.put("/settings", content=body, headers=bearer)
        assert answer.status_code == 422, body[:50]
        assert re.search(words, answer.json()["error"]), body[:50]
    assert run.calls == []


def test_a_big_body_is_refused_with_and_without_its_length(client, bearer):
    big = b"x" * (MAX_BODY_BYTES + 1)
    for content in (big, iter([big[:40_000], big[40_000:]])):
        answer = client.put("/settings", content=content, headers=bearer)
        assert answer.status_code == 413
        assert "the body must be at most 65536 bytes" in answer.json()["error"]


def test_reconstruct_and_snapshot(client, run, bearer):
    for path in ("/reconstruct", "/snapshot"):
        assert client.post(path).status_code == 401
    refused = client.post("/snapshot", headers=bearer)
    assert refused.status_code == 422
    assert refused.json()["error"] == "a snapshot needs a series, got none yet; wait for the first header"
    run.start()
    run.take()
    assert client.post("/snapshot", headers=bearer).json() == {"result": "/data/series_7.nxs"}
    assert client.post("/reconstruct", headers=bearer).status_code == 202
    assert [call[0] for call in run.calls] == ["snapshot", "reconstruct"]


def test_steering_and_refusals_leave_audit_lines_without_the_token(client, bearer, caplog):
    with caplog.at_level("INFO", "xedm.audit"):
        client.put("/settings", json={"screening.chi2_ratio_max": 2.0}, headers=bearer)
        client.post("/reconstruct", headers={"Authorization": "Bearer wrong"})
        client.get("/status", headers={"Host": "evil.example"})
    text = caplog.text
    assert 'PUT /settings {"screening.chi2_ratio_max": 2.0}' in text
    assert "refused http 127.0.0.1" in text
    assert "evil.example" in text
    assert bearer["Authorization"].split()[1] not in text
    assert "wrong" not in text


def test_foreign_pages_get_nothing(client, bearer):
    for foreign in [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]:
        for method, path in [("GET", "/status"), ("GET", "/"), ("GET", "/events"), ("POST", "/snapshot")]:
            answer = client.request(method, path, headers={**bearer, **foreign})
            assert answer.status_code == 403
            assert "must be" in answer.json()["error"]


def test_wrong_addresses_and_methods_are_told(client):
    assert client.get("/nowhere").status_code == 404
    assert "there is no such address" in client.get("/nowhere").json()["error"]
    assert client.get("/static/../web.py").status_code == 404
    assert client.get("/static/%2e%2e%2fweb.py").status_code == 404
    assert client.get("/snapshot").status_code == 405
    assert "GET is not what this address takes" in client.get("/snapshot").json()["error"]


def test_a_fault_is_a_sentence_not_a_traceback(client, run, monkeypatch, caplog, wait_until):
    def broken():
        raise RuntimeError("secret detail")

    monkeypatch.setattr(run, "status", broken)
    answer = client.get("/status")
    assert answer.status_code == 500
    assert answer.json() == {"error": "the service could not answer; its log has the reason"}
    wait_until(lambda: "secret detail" in caplog.text)  # written after the answer
    monkeypatch.undo()
    assert client.get("/status").status_code == 200


def test_the_page_asks_nobody_else_and_names_what_exists(client):
    page = client.get("/").text
    for script in [page, *(file.read_text() for file in STATIC.iterdir())]:
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg|github\.com/leeoniya/uPlot \(v)", script)
        assert "style=" not in script
        assert not re.search(r"\bon\w+=", script)
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        assert client.get(path).status_code == 200
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    identifiers = set(re.findall(r'\bid="([^"]+)"', page))
    scripts = "".join(file.read_text() for file in STATIC.glob("*.js"))
    wanted = set(re.findall(r'byId\("([^"]+)"\)', scripts))
    assert len(wanted) > 60
    assert wanted <= identifiers
    assert 'lang="en"' in page
    assert page.count("<h1") == page.count("<main") == 1


def test_a_taken_port_is_a_sentence(server, run, tmp_path):
    with pytest.raises(PortTakenError, match=f"the port of the live page must be .* got {server.port}, which another"):
        start_web(run, server.port, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_it_listens_on_this_machine_only(server):
    assert server.url == f"http://127.0.0.1:{server.port}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    mine = [
        line.split() for line in lines if line.split()[1].endswith(f":{server.port:04X}") and line.split()[3] == "0A"
    ]
    assert [fields[1].split(":")[0] for fields in mine] == ["0100007F"]


def test_stop_is_quick_with_viewers_and_the_port_is_free_again(run, tmp_path):
    server = start_web(run, 0, tmp_path / "token")
    viewers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    for viewer in viewers[:2]:
        viewer.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        viewer.recv(100)
    begun = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - begun < 3
    for viewer in viewers:
        viewer.close()
    start_web(run, server.port, tmp_path / "token").stop()


def test_every_address_is_in_the_reference(server):
    page = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text()
    routes = server._server.config.app.app.routes
    assert len(routes) >= 12
    for route in routes:
        assert route.path.replace("{name}", "...") in page


def test_trying_settings_out_changes_nothing_and_needs_no_right(client, run):
    cases = [{"screening.chi2_ratio_max": 1.4}, {"screening.chi2_ratio_max": 1.8}]
    found = client.post("/whatif", json={"cases": cases}).json()["cases"]
    assert [one["changes"] for one in found] == cases
    assert set(found[0]) == {"changes", "counts", "flips", "frames", "not_at_hand"}
    assert run.calls == []
    for body in ({"cases": {}}, {"cases": [5]}, {"cases": [{}]}, [], {"cases": [{"nosuch.name": 1}]}):
        refused = client.post("/whatif", json=body)
        assert refused.status_code == 422
        assert "must be" in refused.json()["error"]
