"""`xedm check` beside the beamline: stream, detector API, page, ports, disk, Channel Access; each broken alone."""

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import caproto
import pytest
import zmq

from service.ca_repeater import Repeater
from service.check import Finding, exit_code
from service.check_ca import check_environment, check_repeater
from service.check_disk import check_output
from service.check_doubles import check_doubles
from service.check_network import check_catalog, check_detector_api, check_page, check_pv_port, check_stream
from service.cli.check import gathered
from service.config import Settings
from service.processes import start_live, start_sim

TIMEOUT_S = 2.0


def settings(**changes):
    return Settings().changed({name.replace("__", "."): value for name, value in changes.items()})


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def web_server(answers):
    """Serve JSON by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path in answers
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(self.path)).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(5)


def test_looking_at_the_stream_takes_no_frame_from_who_receives_it():
    with zmq.Context() as context, context.socket(zmq.PUSH) as detector, context.socket(zmq.PULL) as service:
        port = detector.bind_to_random_port("tcp://127.0.0.1")
        service.connect(f"tcp://127.0.0.1:{port}")
        detector.send(b"0")
        assert service.poll(5000)
        (found,) = check_stream(settings(stream__connect=f"tcp://127.0.0.1:{port}"), TIMEOUT_S)
        for number in range(1, 50):
            detector.send(b"%d" % number)
            if number % 10 == 0:
                list(check_stream(settings(stream__connect=f"tcp://127.0.0.1:{port}"), TIMEOUT_S))
        received = []
        while len(received) < 50 and service.poll(5000):
            received.append(int(service.recv()))
    assert received == list(range(50))
    assert (found.state, found.took_s < TIMEOUT_S) == ("ok", True)


def test_a_stream_nobody_serves_is_told_with_what_to_do():
    (found,) = check_stream(settings(stream__connect=f"tcp://127.0.0.1:{free_port()}"), TIMEOUT_S)
    assert (found.state, found.do) == ("unreached", "switch the detector's stream on, or mend the port")
    assert "nobody listens on port" in found.said


def test_a_detector_whose_name_nobody_knows(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror

    monkeypatch.setattr(socket, "create_connection", unknown)
    (found,) = check_stream(settings(stream__connect="tcp://no-such-dcu:9999"), TIMEOUT_S)
    assert (found.state, found.said) == ("unreached", "no computer is called no-such-dcu")


def test_a_detector_that_does_not_answer(monkeypatch):
    def silent(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    (found,) = check_stream(settings(stream__connect="tcp://10.0.0.5:9999"), TIMEOUT_S)
    assert (found.state, found.said) == ("unreached", "no answer within 2 s")
    assert found.do == "is 10.0.0.5 switched on and on this network? does a firewall hold port 9999?"


def test_no_stream_in_the_configuration_is_worth_a_note():
    (found,) = check_stream(settings(), TIMEOUT_S)
    assert (found.state, found.what) == ("note", "stream.connect")


def test_a_stream_to_bind_is_free_or_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        (taken,) = check_stream(settings(stream__bind=address), TIMEOUT_S)
    (free,) = check_stream(settings(stream__bind=f"tcp://127.0.0.1:{free_port()}"), TIMEOUT_S)
    assert (taken.state, free.state) == ("note", "ok")


@pytest.mark.parametrize(("state", "verdict"), [("idle", "ok"), ("na", "wrong"), ("error", "wrong")])
def test_the_detector_api_is_asked_for_version_and_state(state, verdict):
    answers = {
        "/detector/api/version": {"value": "1.6.0"},
        "/detector/api/1.6.0/status/state": {"value": state},
    }
    with web_server(answers) as port:
        version, found = check_detector_api(f"http://127.0.0.1:{port}", TIMEOUT_S)
    assert (version.said, found.state, found.said) == ("SIMPLON 1.6.0", verdict, state)


def test_a_detector_api_that_is_somebody_else_or_nobody():
    with web_server({"/detector/api/version": [1, 2]}) as port:
        (found,) = check_detector_api(f"http://127.0.0.1:{port}", TIMEOUT_S)
    assert (found.state, found.said) == ("unreached", "an answer that is not SIMPLON's")
    (found,) = check_detector_api(f"http://127.0.0.1:{port}", TIMEOUT_S)
    assert (found.state, found.said) == ("unreached", "no answer: Connection refused")
    assert list(check_detector_api(None, TIMEOUT_S)) == []


def test_the_page_is_ours_or_free_or_taken():
    status = {"state": "idle", "series": None, "balanced": True, "degraded": ["disk full"]}
    with web_server({"/status": status}) as port:
        (found,) = check_page(settings(http__port=port), TIMEOUT_S)
    assert (found.state, found.said) == ("note", "xedm live: idle, series None, degraded: disk full")
    with web_server({}) as port:
        (found,) = check_page(settings(http__port=port), TIMEOUT_S)
    assert (found.state, found.do) == ("wrong", "stop that program, or set http.port to another")
    (found,) = check_page(settings(http__port=free_port()), TIMEOUT_S)
    assert found.state == "ok"
    assert list(check_page(settings(), TIMEOUT_S)) == []


def test_a_catalogue_elsewhere_is_asked_what_it_is():
    with web_server({"/api/v1/": {"library_version": "0.2.20"}}) as port:
        there = settings(catalog__server=f"http://127.0.0.1:{port}")
        (keyed,) = check_catalog(there, {"TILED_API_KEY": "secret"}, TIMEOUT_S)
        (bare,) = check_catalog(there, {}, TIMEOUT_S)
    (gone,) = check_catalog(there, {}, TIMEOUT_S)
    assert (keyed.state, bare.state, gone.state) == ("ok", "note", "unreached")
    assert keyed.said.startswith("Tiled 0.2.20, answered in")
    assert "secret" not in str(keyed)
    assert list(check_catalog(settings(), {}, TIMEOUT_S)) == []


def test_the_port_of_the_pvs_is_ours_or_free_or_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (found,) = check_pv_port(settings(pvs__port=port), answers=False)
        assert (found.state, f"add 127.0.0.1:{port} to EPICS_CA_ADDR_LIST" in found.do) == ("wrong", True)
        assert list(check_pv_port(settings(pvs__port=port), answers=True)) == []
    (found,) = check_pv_port(settings(pvs__port=free_port()), answers=False)
    assert found.state == "ok"


def test_the_output_folder_is_written_and_left_as_it_was(tmp_path):
    speed, space = check_output(settings(output__directory=tmp_path))
    assert (speed.state in ("ok", "wrong"), "MB/s to the disk" in speed.said) == (True, True)
    assert "GiB free" in space.said
    assert list(tmp_path.iterdir()) == []
    speed, _ = check_output(settings(output__directory=tmp_path / "new" / "folder"))
    assert f"will be made in {tmp_path}" in speed.said
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_written_is_an_invalid_setting(tmp_path):
    (tmp_path / "file").write_text("")
    (found,) = check_output(settings(output__directory=tmp_path / "file" / "results"))
    assert (found.state, found.said) == ("invalid", "cannot be written: Not a directory")


def test_a_disk_that_is_too_small_for_the_spool(tmp_path):
    changes = {"output__directory": tmp_path, "spool__enabled": True, "spool__budget_gib": 1e9}
    _, space = check_output(settings(**changes))
    assert space.state == "note"
    assert "spool of 1e+09 GiB (spool.budget_gib)" in space.said


def test_a_search_for_pvs_that_goes_nowhere_is_wrong():
    (found,) = check_environment({"EPICS_CA_AUTO_ADDR_LIST": "NO"})
    assert (found.state, "nowhere" in found.said) == ("wrong", True)
    (found,) = check_environment({})
    assert (found.state, found.said) == ("ok", "PVs are looked for on this network (EPICS_CA_AUTO_ADDR_LIST)")
    found = check_environment({"EPICS_CA_ADDR_LIST": "127.0.0.1:5080 127.0.0.2", "EPICS_CA_AUTO_ADDR_LIST": "NO"})
    assert [one.said for one in found] == ["PVs are looked for on 127.0.0.1:5080, 127.0.0.2"]


def test_a_gateway_whose_name_nobody_knows(monkeypatch):
    def unknown(*_):
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    _, found = check_environment({"EPICS_CA_ADDR_LIST": "gateway:5064"})
    assert (found.state, found.said) == ("wrong", "no computer is called gateway")


def test_a_repeater_that_answers_and_one_that_does_not():
    repeater = Repeater()
    environment = {"EPICS_CA_REPEATER_PORT": str(repeater.port)}
    try:
        (found,) = check_repeater(environment)
        assert (found.state, found.said) == ("ok", "answers")
    finally:
        repeater.close()
    (found,) = check_repeater(environment)
    assert (found.state, "none runs" in found.said) == ("ok", True)
    (found,) = check_repeater({"EPICS_CA_REPEATER_PORT": "here"})
    assert found.state == "wrong"


@contextmanager
def search_server(*pvs):
    """Answer searches for some PVs, as an IOC does."""
    server = caproto.Broadcaster(our_role=caproto.SERVER)
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    address = receiver.getsockname()
    server.server_addresses = [address]
    ending = threading.Event()

    def serve():
        while True:
            data, sender = receiver.recvfrom(65536)
            if ending.is_set():
                return
            commands = server.recv(data, sender)
            found = [command for command in commands if getattr(command, "name", None) in pvs]
            version = caproto.VersionResponse(13)
            answers = [caproto.SearchResponse(address[1], None, command.cid, 13) for command in found]
            if answers:
                receiver.sendto(server.send(version, *answers), sender)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield address
    ending.set()
    receiver.sendto(b"", address)
    thread.join(5)
    receiver.close()


def test_a_pv_that_two_iocs_serve_is_found():
    names = {"stage": "25A:PIEZO:X.RBV", "ring": "SR:I"}
    with search_server("25A:PIEZO:X.RBV", "SR:I") as one, search_server("25A:PIEZO:X.RBV") as other:
        (found,) = check_doubles(names, [one, other])
        assert (found.area, found.what, found.state) == ("stage", "25A:PIEZO:X.RBV", "wrong")
        assert sorted(found.said.removeprefix("served 2 times, by ").split(" and ")) == sorted(
            f"{host}:{port}" for host, port in (one, other)
        )
        assert list(check_doubles(names, [one], wait_s=0.1)) == []
        assert list(check_doubles(names, [("127.0.0.1", free_port())], wait_s=0.1)) == []


def finding(state, said="answers in 3 ms from here", what="A", area="stage"):
    return Finding(area=area, what=what, state=state, said=said)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["ok", "note"], 0),
        (["ok", "wrong"], 1),
        (["wrong", "invalid"], 3),
        (["wrong", "unreached", "invalid"], 4),
    ],
)
def test_the_worst_finding_decides_the_exit_code(states, code):
    assert exit_code(map(finding, states)) == code


def test_pvs_that_are_all_well_or_all_silent_go_into_one_line():
    many = [
        finding("ok", what="A"),
        finding("unreached", "no answer within 5 s", "B"),
        finding("ok", what="C"),
        finding("wrong", "not at Go", "D"),
        finding("unreached", "no answer within 5 s", "E"),
    ]
    lines = [(one.state, one.what, one.said) for one in gathered(many)]
    assert lines == [
        ("ok", "A ...", "2 PVs answer, the last in 0 ms"),
        ("unreached", "B and 1 more", "no answer within 5 s"),
        ("wrong", "D", "not at Go"),
    ]


def run_check(tmp_path, *options, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EPICS")}
    nowhere = {"EPICS_CA_ADDR_LIST": "127.0.0.1:9", "EPICS_CA_AUTO_ADDR_LIST": "NO", "EPICS_CA_REPEATER_PORT": "15065"}
    return subprocess.run(
        [sys.executable, "-m", "service.cli", "check", *options],
        cwd=tmp_path,
        env=clean | nowhere | environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_command_without_a_beamline_says_what_is_silent_and_ends_with_4(tmp_path):
    done = run_check(tmp_path, "--timeout", "0.3", "--set", "beamline.stage_x=OUR:X")
    assert done.returncode == 4, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("NO ANSWER stage: OUR:X.RBV and ") for line in lines)
    assert any(line.startswith("note      stream: stream.connect: no address is set") for line in lines)
    assert "must be mended before a scan." in lines[-1]
    assert done.stderr == ""


def test_the_command_speaks_json_a_line_a_finding(tmp_path):
    done = run_check(tmp_path, "--timeout", "0.3", "--json", "--stream", f"tcp://127.0.0.1:{free_port()}")
    *findings, summary = map(json.loads, done.stdout.splitlines())
    assert all(one.keys() == {"area", "what", "state", "said", "do", "took_s"} for one in findings)
    assert (summary["checked"], summary["exit_code"]) == (len(findings), 4)
    (stream,) = [one for one in findings if one["area"] == "stream"]
    assert stream["state"] == "unreached"


def test_a_wrong_configuration_ends_with_3_and_a_wrong_option_with_2(tmp_path):
    (tmp_path / "b.toml").write_text("[beamline]\nstagex = 'A'\n")
    done = run_check(tmp_path, "--config", "b.toml")
    assert (done.returncode, "did you mean 'beamline.stage_x'" in done.stderr) == (3, True)
    assert run_check(tmp_path, "--timeout", "0").returncode == 2


@pytest.mark.slow
def test_with_everything_there_the_command_says_that_all_is_well(tmp_path):
    port = free_port()
    beamline = start_sim(tmp_path / "sim", speed=100.0)
    try:
        live = start_live(tmp_path / "live", stream=beamline.ready["stream"], http=port)
        try:
            servers = " ".join(f"127.0.0.1:{each.ready['ca_server_port']}" for each in (beamline, live))
            options = ["--stream", beamline.ready["stream"], "--set", f"http.port={port}", "--timeout", "20"]
            done = run_check(tmp_path, *options, EPICS_CA_ADDR_LIST=servers)
        finally:
            live.stop()
    finally:
        beamline.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything is well." in done.stdout
    assert f"ok        service: http://127.0.0.1:{port}: xedm live: idle, series None" in done.stdout
    assert done.stderr == ""
