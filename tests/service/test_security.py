"""Attempts to break each rule of docs/explanation/security.md that is not tried elsewhere."""

import ast
import contextlib
import json
import os
import re
import socket
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import h5py
import httpx
import numpy as np
import pytest
import zmq

from service.attempts import MAX_REFUSALS
from service.config import Settings, Stream, check_bind
from service.errors import ConfigurationError
from service.live import LiveService
from service.web import STATIC, start_web

HOUSE = Path(__file__).parents[2]
SHAPE = (24, 24)
HOSTILE = "</script><img src=x onerror=alert(1)>\n\nevent: status\ndata: {}\n\n\u2028\x1b[2J"


# -- the code --------------------------------------------------------------------------------------------------------

MODULES = {"pickle", "cPickle", "_pickle", "marshal", "dill", "cloudpickle", "shelve", "joblib", "yaml", "code"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "numpy.lib.format.read_array"}
KEYWORDS = {"shell", "allow_pickle"}


def dangers(text):
    """Name what in a module turns data into code."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import():
                found |= {alias.name.split(".")[0] for alias in node.names} & MODULES
            case ast.ImportFrom():
                found |= {str(node.module).split(".")[0]} & MODULES
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name for name in whole if name in CALLS or "RemoteDispatcher" in name}
                found |= {"bluesky.callbacks.zmq"} & {str(node.module), *whole}
            case ast.Call():
                called = ast.unparse(node.func)
                found |= {called} & (BUILTINS | CALLS)
                for keyword in node.keywords:
                    harmless = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                    if keyword.arg in KEYWORDS and not harmless:
                        found.add(str(keyword.arg))
            case ast.Attribute(attr="RemoteDispatcher" | "read_pickle" | "unsafe_load"):
                found.add(node.attr)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from dill import loads", "import numpy as np\nnp.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=flag)", "eval('1')", "exec(text)", "import os\nos.system('ls')", "import yaml",
        "subprocess.run('ls', shell=True)", "from bluesky.callbacks.zmq import RemoteDispatcher",
        "import os\nos.popen('ls')", "import marshal as m", "from bluesky.callbacks import zmq",
    ],
)  # fmt: skip
def test_the_search_for_dangers_finds_them(text):
    assert dangers(text)


def test_nothing_turns_data_into_code():
    """No pickle, eval, exec, shell or unpickling dispatcher in any module of ours."""
    found, read = {}, 0
    for package in ("service", "processing", "devices", "plans", "sim"):
        for path in (HOUSE / package).rglob("*.py"):
            read += 1
            if names := dangers(path.read_text(encoding="utf-8")):
                found[str(path.relative_to(HOUSE))] = names
    assert found == {}
    assert read > 120


def test_the_page_puts_text_in_as_text():
    """Every sink that would read a string as HTML or as code is absent from the page's scripts."""
    sinks = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|createContextualFragment|"
        r"DOMParser|srcdoc|setHTML|javascript:|set(?:Timeout|Interval)\(\s*[\"'`]"
    )
    scripts = list(STATIC.glob("*.js"))
    assert len(scripts) == 11
    for script in scripts:
        assert re.findall(sinks, script.read_text()) == []
    assert "textContent" in (STATIC / "app.js").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", (STATIC / "index.html").read_text())


# -- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(run, tmp_path):
    server = start_web(run, 0, tmp_path / "token")
    yield server
    server.stop()


@pytest.fixture
def bearer(server):
    return {"Authorization": f"Bearer {server.token_file.read_text().strip()}"}


def test_hostile_words_stay_data_in_status_and_events(server, run):
    run.start()
    run.update(message=HOSTILE)
    run.fail("named", HOSTILE)
    answer = httpx.get(f"{server.url}/status")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["errors"][0]["message"] == answer.json()["message"] == HOSTILE
    with httpx.stream("GET", f"{server.url}/events", timeout=10) as stream:
        text = ""
        for piece in stream.iter_text():
            text += piece
            if "event: preview" in text.split("\n"):
                break
    lines = text.split("\n")
    assert sum(line.startswith("event: status") for line in lines) == 1
    data = lines[lines.index("event: status") + 1]
    assert json.loads(data.removeprefix("data: "))["message"] == HOSTILE
    assert sum(line.startswith("data: ") for line in lines) <= 2  # the picture's may have come already


def test_hostile_words_in_an_address_come_back_as_json(server):
    for path in ("/%3Cscript%3E", "/preview.jpg?what=%3Cscript%3E", "/static/%3Cscript%3E"):
        answer = httpx.get(server.url + path)
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_token_in_an_address_or_a_body_opens_nothing(server, run, bearer):
    token = bearer["Authorization"].split()[1]
    for path in (f"/reconstruct?token={token}", f"/reconstruct?Authorization=Bearer+{token}"):
        answer = httpx.post(server.url + path, json={"token": token}, cookies={"token": token})
        assert answer.status_code == 401
    assert run.calls == []


def test_whoever_guesses_is_told_to_wait_and_cannot_lock_out_who_steers(server, run, bearer):
    def guess():
        return httpx.post(f"{server.url}/reconstruct", headers={"Authorization": "Bearer guess"})

    assert [guess().status_code for _ in range(MAX_REFUSALS + 2)] == [403] * MAX_REFUSALS + [429] * 2
    answer = guess()
    assert answer.headers["retry-after"] == "60"
    assert re.search(r"refusals must be at most 10 a minute, got more from 127.0.0.1; wait \d+ s", answer.text)
    assert httpx.post(f"{server.url}/reconstruct").status_code == 429
    assert run.calls == []
    assert httpx.get(f"{server.url}/status").status_code == 200
    assert httpx.post(f"{server.url}/reconstruct", headers=bearer).status_code == 202


def opened(server, count, text):
    wires = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
    for wire in wires:
        wire.settimeout(5)
        with contextlib.suppress(OSError):
            wire.sendall(text)
    return wires


def closed_by_peer(wire):
    try:
        while wire.recv(4096):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("text", [b"", b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_half_open_connections_block_nobody_and_are_closed_in_time(server, monkeypatch, text):
    monkeypatch.setattr("service.web_connections.REQUEST_WITHIN_S", 1.0)
    wires = opened(server, 50, text)
    begun = time.monotonic()
    for _ in range(5):
        assert httpx.get(f"{server.url}/status").status_code == 200
    assert time.monotonic() - begun < 1.0
    for _ in range(4):  # a letter now and then is no reason to wait longer
        time.sleep(0.35)
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.sendall(b"x" if text else b"")
    assert all(map(closed_by_peer, wires))
    for wire in wires:
        wire.close()


def test_an_idle_or_slow_second_request_is_closed_too(server, monkeypatch):
    monkeypatch.setattr("service.web_connections.REQUEST_WITHIN_S", 0.5)
    (wire,) = opened(server, 1, b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b"200 OK" in wire.recv(4096)
    wire.sendall(b"GET /sta")
    begun = time.monotonic()
    assert closed_by_peer(wire)
    assert time.monotonic() - begun < 3
    wire.close()


def test_a_viewer_is_not_closed_by_that(server, run, monkeypatch):
    monkeypatch.setattr("service.web_connections.REQUEST_WITHIN_S", 0.2)
    with httpx.stream("GET", f"{server.url}/events", timeout=10) as stream:
        begun, seen = time.monotonic(), 0
        for line in stream.iter_lines():
            seen += line.startswith("event: status")
            run.take()
            if time.monotonic() - begun > 1.0:
                break
    assert seen >= 3


def test_connections_without_number_are_closed_and_cost_no_descriptors(server, monkeypatch):
    monkeypatch.setattr("service.web_connections.MAX_CONNECTIONS", 20)
    wires = opened(server, 60, b"")
    time.sleep(0.3)
    assert len(server._server.server_state.connections) <= 20
    for wire in wires:
        wire.close()
    time.sleep(0.3)
    assert httpx.get(f"{server.url}/status").status_code == 200


def test_a_body_that_never_ends_is_refused(server, monkeypatch, bearer, run):
    monkeypatch.setattr("service.web.BODY_WITHIN_S", 0.3)
    head = f"PUT /settings HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {bearer['Authorization']}\r\n"
    (wire,) = opened(server, 1, f"{head}Content-Length: 50\r\n\r\n{{".encode())
    answer = wire.recv(4096)
    assert b" 408 " in answer
    assert run.calls == []
    wire.close()


def test_huge_and_nested_settings_are_refused_quickly(server, bearer, run):
    bodies = [b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"9" * 60_000, b'{"a": 1' + b"0" * 5000 + b"}"]
    begun = time.monotonic()
    for body in bodies:
        assert httpx.put(f"{server.url}/settings", content=body, headers=bearer).status_code == 422
    assert httpx.put(f"{server.url}/settings", content=b"x" * 10_000_000, headers=bearer).status_code == 413
    assert time.monotonic() - begun < 3
    assert run.calls == []


# -- the stream ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9999", "tcp://127.8.8.8:*", "tcp://localhost:1", "tcp://[::1]:5", "ipc:///tmp/x"]
)
def test_the_stream_may_be_bound_on_this_machine(address):
    check_bind(Stream(bind=address))


@pytest.mark.parametrize(
    "address",
    ["tcp://0.0.0.0:9999", "tcp://*:9999", "tcp://10.0.0.5:9999", "tcp://[::]:9999", "tcp://127.0.0.1.evil.example:1",
     "tcp://eth0:9999", "udp://127.0.0.1:1"],
)  # fmt: skip
def test_the_stream_is_not_bound_for_others_unless_said(address, tmp_path):
    with pytest.raises(ConfigurationError, match=r"stream\.bind must be an address of this machine only.*bind_open"):
        LiveService(Settings().changed({"stream.bind": address, "output.directory": tmp_path}))
    check_bind(Stream(bind=address, bind_open=True))


def test_the_command_line_refuses_an_open_stream_with_code_3(tmp_path):
    command = [sys.executable, "-m", "service.cli", "live", "--stream-bind", "tcp://0.0.0.0:9999", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "anyone who reaches that port could send frames" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


class Service:
    """A live service in this process with a sender."""

    def __init__(self, folder):
        self.live = LiveService(
            Settings().changed(
                {
                    "stream.bind": "tcp://127.0.0.1:*",
                    "stream.drain_s": 0.1,
                    "output.directory": folder,
                    "screening.enabled": False,
                    "reconstruction.enabled": False,
                }
            )
        )
        self.live.start()
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PUSH)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(self.live.receiver.endpoint)

    def close(self):
        self.socket.close()
        self.context.term()
        self.live.stop()


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path / "deep" / "output")
    yield service
    service.close()


STRANGE = ["../../etc/passwd", "/etc/passwd", "..", "", "7\0.nxs", "$(id)", -1, 2**31, 2**70, 10**3000, 1.5, True, None,
           [7], {"a": 7}, "7"]  # fmt: skip


def test_a_series_that_is_no_number_never_becomes_a_name(service, tmp_path, wire, wait_until):
    sent = 0
    for series in STRANGE:
        for parts in (wire.header(series, SHAPE, ntrigger=1), wire.image(np.ones(SHAPE, np.uint16), series, 0)):
            service.socket.send_multipart(parts)
        sent += 1
    for parts in (wire.header(5, SHAPE, ntrigger=1), wire.image(np.ones(SHAPE, np.uint16), 5, 0), wire.end(5)):
        service.socket.send_multipart(parts)
    wait_until(lambda: service.live.status().state == "complete", 15)
    status = service.live.status()
    assert status.balanced
    assert status.counts.accepted == 1
    made = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert "series_5.nxs" in made
    assert {name for name in made if not name.startswith("series_5.")} == {".series_5.in-use"}
    assert status.result == str(tmp_path / "deep" / "output" / "series_5.nxs")
    assert sent == len(STRANGE)


def test_hostile_headers_are_bounded_and_their_words_stay_words(service, wire, wait_until):
    nested = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
    service.socket.send_multipart([wire.header(1, SHAPE, ntrigger=1)[0], nested])
    service.socket.send_multipart([nested, b"", b""])
    service.socket.send_multipart([b"[" * 900_000])
    header = wire.header(6, SHAPE, ntrigger=1, description=HOSTILE, trigger_mode=HOSTILE, beam_center_x=HOSTILE)
    service.socket.send_multipart([*header, HOSTILE.encode()])
    service.socket.send_multipart(wire.image(np.ones(SHAPE, np.uint16), 6, 0))
    service.socket.send_multipart(wire.end(6))
    wait_until(lambda: service.live.status().state == "complete" and service.live.status().series == 6, 15)
    status = service.live.status()
    assert all(len(error.message) < 600 for error in status.errors)
    with h5py.File(status.result) as file:
        assert file["entry/sum/frames"][()] == 1


def test_a_run_s_name_from_its_documents_stays_in_its_folder(tmp_path):
    from service.documents import DocumentWriter

    writer = DocumentWriter(tmp_path / "out")
    for uid in ("../../etc/passwd", "/etc/passwd", "", "a\0b", "abcd1234-5"):
        writer("start", {"uid": uid})
        assert writer.path.parent == tmp_path / "out"
        assert json.loads(writer.path.read_text().splitlines()[-1]) == {"name": "start", "doc": {"uid": uid}}
    assert writer.path.name == "abcd1234.documents.jsonl"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# -- the processes ---------------------------------------------------------------------------------------------------


def family(pid):
    """Return a process with its children and theirs."""
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text()
            children.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(int(text.split()[0]))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def sockets(pid):
    """Return (kind, address, port, remote port, state) of every IP socket of a process, from /proc alone."""
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            held |= set(re.findall(r"^socket:\[(\d+)\]$", str(link.readlink())))
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in held:
                address, port = fields[1].split(":")
                remote = int(fields[2].split(":")[1], 16)
                found.append((kind, address, int(port, 16), remote, int(fields[3], 16)))
    return found


def loopback(address):
    if len(address) == 8:
        return address.endswith("7F")
    return address == "00000000000000000000000001000000" or (
        address.startswith("0000000000000000FFFF0000") and address.endswith("7F")
    )


def open_to_others(pid):
    """Name listeners and datagram sockets that are not on the loopback interface."""
    listening = 10
    return [
        entry
        for member in family(pid)
        for entry in sockets(member)
        if (entry[4] == listening or entry[0].startswith("udp")) and not loopback(entry[1])
    ]


def test_the_search_for_open_ports_finds_them():
    with socket.socket() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
        one.bind(("127.0.0.1", 0))
        one.listen()
        two.bind(("127.0.0.1", 0))
        before = open_to_others(os.getpid())
        with socket.socket() as three, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as four:
            three.bind(("0.0.0.0", 0))
            three.listen()
            four.bind(("::", 0))
            found = [entry for entry in open_to_others(os.getpid()) if entry not in before]
            ports = {three.getsockname()[1], four.getsockname()[1]}
            assert {entry[2] for entry in found} == ports
            mine = {one.getsockname()[1], two.getsockname()[1]}
            assert mine <= {entry[2] for entry in sockets(os.getpid())}


class Process:
    """One of our programs, started as a user starts it."""

    def __init__(self, folder, *words):
        self.log = (folder / "stderr.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, *map(str, words)], stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=folder
        )
        self.ready = json.loads(self.process.stdout.readline())

    def end(self):
        self.process.terminate()
        out, _ = self.process.communicate(timeout=30)
        self.log.seek(0)
        return out + self.log.read()

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.log.close()


@pytest.fixture
def live(tmp_path):
    context = zmq.Context()
    sender = context.socket(zmq.PUSH)
    sender.setsockopt(zmq.LINGER, 0)
    port = sender.bind_to_random_port("tcp://127.0.0.1")
    words = ["--stream", f"tcp://127.0.0.1:{port}", "--output", tmp_path / "output", "--set", "screening.enabled=false"]
    words += ["--set", "reconstruction.enabled=false", "--set", "stream.drain_s=0.1"]
    live = Process(tmp_path, "-m", "service.cli", "live", *words)
    live.sender = sender
    yield live
    live.close()
    sender.close()
    context.term()


def test_a_live_service_listens_on_this_machine_only_and_its_token_is_nowhere_else(live, tmp_path, wire, wait_until):
    url, output = live.ready["http"], tmp_path / "output"
    token_file = Path(live.ready["token_file"])
    token = token_file.read_text().strip()
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    live.sender.send_multipart(wire.header(5, SHAPE, ntrigger=1))
    live.sender.send_multipart(wire.image(np.ones(SHAPE, np.uint16), 5, 0))
    bearer = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url) as client:
        wait_until(lambda: client.get("/status").json()["counts"]["accepted"] == 1, 15)
        assert client.put("/settings", json={"screening.chi2_ratio_max": 2.5}, headers=bearer).status_code == 200
        assert client.post("/snapshot", headers=bearer).status_code == 200
        assert client.post("/snapshot", headers={"Authorization": "Bearer not-it"}).status_code == 403
        told = [client.get(path).text for path in ("/", "/status", "/healthz", "/metrics")]
    put_read_only(live.ready["ca_server_port"], "XEDM:Chi2RatioMax")

    served = {(kind, port) for kind, _, port, _, state in sockets(live.process.pid) if state in (10, 7)}
    http = int(url.rsplit(":", 1)[1])
    assert {("tcp", http), ("tcp", live.ready["ca_server_port"]), ("udp", live.ready["ca_server_port"])} <= served
    assert open_to_others(live.process.pid) == []

    words = (
        Path(f"/proc/{live.process.pid}/cmdline").read_bytes() + Path(f"/proc/{live.process.pid}/environ").read_bytes()
    )
    assert token.encode() not in words
    wait_until(lambda: "Chi2RatioMax" in (output / "audit.log").read_text())
    said = live.end()
    assert not token_file.exists()
    for text in [*told, said, json.dumps(live.ready)]:
        assert token not in text
    for path in output.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path
    with h5py.File(output / "series_5.nxs") as file:
        texts = []
        file.visititems(lambda _, item: texts.append(repr(item[()]) if isinstance(item, h5py.Dataset) else ""))
        assert len(texts) > 20
        assert not any(token in text for text in texts)

    audit = output / "audit.log"
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600
    lines = audit.read_text().splitlines()
    wanted = [
        r'INFO http 127\.0\.0\.1:\d+ PUT /settings {"screening\.chi2_ratio_max": 2\.5}',
        r"INFO http 127\.0\.0\.1:\d+ POST /snapshot",
        r"WARNING refused http 127\.0\.0\.1:\d+ POST /snapshot: the token must be the one of this run",
        r"WARNING refused 'ca nobody@.*' put to Chi2RatioMax: Chi2RatioMax is read-only",
    ]
    for rule, line in zip(wanted, lines, strict=True):
        assert re.search(rule, line), line
    assert "not-it" not in audit.read_text()


def test_a_simulated_beamline_listens_on_this_machine_only(tmp_path):
    sim = Process(tmp_path, "-m", "service.cli", "sim", "--speed", "100")
    try:
        port = sim.ready["ca_server_port"]
        served = {(kind, port) for kind, _, port, _, state in sockets(sim.process.pid) if state in (10, 7)}
        stream = int(sim.ready["stream"].rsplit(":", 1)[1])
        assert {("tcp", port), ("udp", port), ("tcp", stream)} <= served
        assert open_to_others(sim.process.pid) == []
        sim.end()
    finally:
        sim.close()


# -- Channel Access, by hand -----------------------------------------------------------------------------------------


def message(command, payload=b"", kind=0, count=0, one=0, two=0):
    payload += bytes(-len(payload) % 8)
    return struct.pack(">HHHHII", command, len(payload), kind, count, one, two) + payload


def answers(wire, wanted):
    """Read messages until one of this command comes; return its header and payload."""
    while True:
        head = struct.unpack(">HHHHII", exactly(wire, 16))
        size = head[1]
        if size == 0xFFFF:
            size = struct.unpack(">II", exactly(wire, 8))[0]
        body = exactly(wire, size)
        if head[0] == wanted:
            return head, body


def exactly(wire, size):
    taken = b""
    while len(taken) < size:
        piece = wire.recv(size - len(taken))
        assert piece
        taken += piece
    return taken


def channel(port, name, buffer=None):
    """Connect and create a channel; return the socket and the server's number for the channel."""
    wire = socket.socket()
    if buffer:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    wire.settimeout(5)
    wire.connect(("127.0.0.1", port))
    greeting = message(0, count=13) + message(21, b"here\0") + message(20, b"nobody\0")
    wire.sendall(greeting + message(18, name.encode() + b"\0", one=1, two=13))
    head, _ = answers(wire, 18)
    return wire, head[5]


def put_read_only(port, name):
    """Write to a PV whatever the server said about access; read the refusal."""
    wire, sid = channel(port, name)
    with wire:
        wire.sendall(message(19, struct.pack(">d", 2.0), kind=6, count=1, one=sid, two=9))
        answers(wire, 11)


def resident_mib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def test_viewers_that_never_read_cost_neither_memory_nor_rate(live, wire, wait_until):
    port, http = live.ready["ca_server_port"], int(live.ready["http"].rsplit(":", 1)[1])
    blobs = [wire.image(np.full(SHAPE, number % 7, np.uint16), 5, number) for number in range(1200)]
    live.sender.send_multipart(wire.header(5, SHAPE, ntrigger=1200))

    def send(start, stop):
        begun = time.monotonic()
        for parts in blobs[start:stop]:
            live.sender.send_multipart(parts)
        wait_until(lambda: received() == stop, 20)
        return time.monotonic() - begun

    def received():
        return httpx.get(f"{live.ready['http']}/status").json()["counts"]["received"]

    send(0, 200)  # warm
    alone = send(200, 700)
    stalled = []
    for _ in range(10):
        viewer = socket.socket()
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        viewer.connect(("127.0.0.1", http))
        viewer.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        stalled.append(viewer)
    for name in ("Preview", "Last:Frame", "Degraded", "Preview"):
        client, sid = channel(port, f"XEDM:{name}", 4096)
        for number in range(20):
            client.sendall(message(1, bytes(12) + struct.pack(">HH", 1, 0), kind=4, count=0, one=sid, two=number))
        stalled.append(client)
    time.sleep(0.3)
    before = resident_mib(live.process.pid)
    beside = send(700, 1200)
    time.sleep(1.2)  # a picture more
    assert resident_mib(live.process.pid) - before < 40
    assert beside < 3 * alone + 1.0
    status = httpx.get(f"{live.ready['http']}/status").json()
    assert status["balanced"]
    assert status["counts"]["received"] == 1200
    for viewer in stalled:
        viewer.close()


def test_the_page_about_security_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+)`", (HOUSE / "docs" / "explanation" / "security.md").read_text()))
    there = {
        name
        for path in (HOUSE / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 50
    assert named - there == set()
