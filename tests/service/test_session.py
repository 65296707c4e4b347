"""The session: its EPICS settings, its repeater, and what Ctrl-C, an abort and leaving do at a real prompt."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import pexpect
import pytest

from service import session
from service.ca_repeater import CONFIRM, REGISTER, Repeater
from service.config import Settings

REGISTRATION = struct.pack(">HHHHII", REGISTER, 0, 0, 0, 0, 0)
BEACON = struct.pack(">HHHHII", 13, 0, 13, 5064, 7, 0)
BEACON_WITH_SENDER = struct.pack(">HHHHII", 13, 0, 13, 5064, 7, 0x7F000001)


@pytest.fixture
def inherited(monkeypatch):
    """Give an environment that points at a real beamline, and undo what the test does to it."""
    for name, value in {
        "EPICS_CA_ADDR_LIST": "10.0.0.255",
        "EPICS_CA_AUTO_ADDR_LIST": "YES",
        "EPICS_CA_NAME_SERVERS": "10.0.0.1:5064",
        "EPICS_CAS_INTF_ADDR_LIST": "0.0.0.0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(session, "_talks_already", lambda: False)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("inherited")
def test_nothing_inherited_survives():
    session.apply_ca_environment([5001, 5002], repeater_port=5003)
    settings = {name: value for name, value in os.environ.items() if name.startswith("EPICS_CA")}
    assert settings == {
        "EPICS_CA_ADDR_LIST": "127.0.0.1:5001 127.0.0.1:5002",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": "5001",
        "EPICS_CA_REPEATER_PORT": "5003",
        "EPICS_CA_MAX_ARRAY_BYTES": "10000000",
    }


@pytest.mark.usefixtures("inherited")
def test_a_session_without_a_repeater_gets_its_own():
    session.apply_ca_environment([5001])
    port = int(os.environ["EPICS_CA_REPEATER_PORT"])
    assert port != 5065
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5.0)
        client.sendto(REGISTRATION, ("127.0.0.1", port))
        assert struct.unpack(">H", client.recv(64)[:2]) == (CONFIRM,)
    session._repeaters.pop().close()


def test_settings_after_the_first_pv_are_refused(monkeypatch):
    monkeypatch.setattr(session, "_talks_already", lambda: True)
    with pytest.raises(RuntimeError, match="EPICS settings must be made before the first PV"):
        session.apply_ca_environment([5001])


def test_the_repeater_passes_beacons_on():
    repeater = Repeater()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
    ):
        client.settimeout(5.0)
        client.sendto(REGISTRATION, ("127.0.0.1", repeater.port))
        assert struct.unpack(">H", client.recv(64)[:2]) == (CONFIRM,)
        server.sendto(BEACON, ("127.0.0.1", repeater.port))
        assert client.recv(64) == BEACON_WITH_SENDER
    repeater.close()


def test_there_is_one_repeater_a_machine(monkeypatch):
    first = Repeater()
    monkeypatch.setenv("EPICS_CA_REPEATER_PORT", str(first.port))
    session.provide_repeater()
    assert session._repeaters == []
    first.close()
    session.provide_repeater()
    assert session._repeaters[0].port == int(os.environ["EPICS_CA_REPEATER_PORT"])
    session._repeaters.pop().close()


def test_names_follow_the_detector():
    names = session.beamline_names(Settings(), detector="eig16m", live_prefix="LIVE:")
    assert names["detector"] == "25A:EIG16M:cam1:"
    assert names["live_prefix"] == "LIVE:"
    assert names["ring_countdown"] == "TPS:TimeToNextInjSec"


class Prompt:
    """IPython on a terminal, as a person sees it."""

    def __init__(self, folder):
        self.count = 1
        command = ["-m", "service.cli", "shell", "--sim", "--speed", "20", "--no-catalog", "--output", str(folder)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS")}
        self.process = pexpect.spawn(
            sys.executable,
            command,
            env=environment | {"TERM": "dumb"},
            encoding="utf-8",
            timeout=90,
            dimensions=(50, 200),
        )
        self.wait()
        self.say("shutter.status.subscribe(lambda value, **_: print('shutter is', value), run=False);")

    def wait(self):
        self.process.expect(rf"In \[{self.count}\]: ")
        self.count += 1
        return self.process.before

    def say(self, line):
        self.process.sendline(line)
        return self.wait()

    def ask(self, expression):
        self.process.sendline(f"print('<' + str({expression}) + '>')")
        self.process.expect(r"\r\n<(.*)>\r\n")
        answer = self.process.match[1]
        self.wait()
        return answer

    def ask_until(self, expression, answer):
        for _ in range(50):
            told = self.ask(expression)
            if told == answer:
                return
            time.sleep(0.2)
        raise AssertionError(f"{expression} must become {answer}, got {told}")

    def scan_until_exposing(self):
        self.process.sendline("RE(ensemble_scan([eig1m, live], stage, 0, 20, 0, 0, 10, 60))")
        self.process.expect("shutter is Open")
        time.sleep(1.0)  # into an exposure of 3 s

    def press_ctrl_c_twice(self):
        self.process.send("\x03")
        time.sleep(0.4)
        self.process.send("\x03")
        return self.wait()


@pytest.mark.timeout(240)
def test_ctrl_c_twice_abort_and_leaving_at_a_prompt(tmp_path):
    prompt = Prompt(tmp_path)
    try:
        mistake = prompt.say("RE(bps.mv(stage.x, 1e5))")
        assert "LimitError: stage_x must be sent between its soft limits -2000 and 2000 um, got 100000 um" in mistake
        assert "Traceback" not in mistake
        assert "Traceback" in prompt.say("%tb")
        assert "this session has no catalogue of runs" in prompt.say("cat")
        assert "UserError: this session has no catalogue of runs" in prompt.say("cat[-1]")
        assert "Traceback" in prompt.say("[].pop()")  # what a person typed is theirs to look into
        prompt.scan_until_exposing()
        paused = prompt.press_ctrl_c_twice()
        assert "RE.resume()" in paused
        assert "Traceback" not in paused
        assert prompt.ask("shutter.status.get()") == "Closed"
        assert prompt.ask("[(void.frame, void.reason) for void in eig1m.voids]") == "[(0, 'paused')]"
        assert prompt.ask("live.paused.get()") == "1"
        assert prompt.ask("eig1m.cam.armed.get()") == "1"
        prompt.say("RE.abort()")
        assert prompt.ask("(eig1m.cam.armed.get(), eig1m.cam.acquire.get(), RE.state)") == "(0, 0, 'idle')"
        assert "live_last_total" in prompt.ask("live.read()")
        prompt.say("import ophyd, threading; dump = ophyd.EpicsSignal('25A:SIM:BeamDump', name='dump')")
        # a third of an exposure after the shutter has opened, for two thirds of one
        prompt.say("fired = []; later = lambda at, state: threading.Timer(at, dump.put, [state]).start()")
        prompt.say(
            "once = lambda value, **_: value == 'Open' and not fired and (fired.append(1), later(1, 1), later(3, 0))"
        )
        prompt.say("shutter.status.subscribe(once, run=False);")
        seen = prompt.say("RE(ensemble_scan([eig1m, live], stage, 0, 10, 0, 0, 10, 60))")
        assert "less than 10 mA stored; the run goes on when the beam is back" in seen
        assert prompt.ask("[void.reason for void in eig1m.voids]") == "['paused']"
        assert prompt.ask("(eig1m.point_index.get(), eig1m.valid.get(), live.paused.get())") == "(1, 1, 0)"
        where = prompt.say("%wa motors")
        assert re.search(r"stage_x +10\.\d* +-2000\.0 +2000\.0", where), where
        prompt.ask_until("live.state.get()", "complete")  # of so few frames none is judged before
        assert "no display here: the figure is in" in prompt.say("live.plot();")
        prompt.scan_until_exposing()
        prompt.press_ctrl_c_twice()
        assert prompt.ask("eig1m.armed_here") == "True"
        prompt.process.sendline("exit")
        prompt.process.expect(pexpect.EOF, timeout=60)
        left = prompt.process.before
    finally:
        prompt.process.close(force=True)
    assert prompt.process.exitstatus == 0
    # Nothing that could not be made safe, nothing about servers that went away or a repeater that is missing.
    assert "Traceback" not in left
    assert "must be disarmed" not in left
    assert "CA.Client" not in left
    log = (tmp_path / "session.log").read_text()
    assert "must be disarmed" not in log
    assert "callback exception" not in log


def scan_command(folder, *options):
    return [sys.executable, "-m", "service.cli", "scan", "--no-catalog", "--output", str(folder), *options]


def test_a_scan_needs_a_beamline(tmp_path):
    done = subprocess.run(
        scan_command(tmp_path, "--x", "0", "1", "1", "--y", "0", "1", "1", "--exposure", "1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "xedm: give either --sim, or --config FILE with the beamline's PV names"


def test_a_scan_told_to_stop_ends_safely_with_what_it_has(tmp_path):
    options = ["--json", "--sim", "--speed", "50", "--x", "0", "90", "10", "--y", "0", "90", "10", "--exposure", "20"]
    options += ["--set", "reconstruction.enabled=false"]  # two frames make no image, but many tries
    with subprocess.Popen(
        scan_command(tmp_path, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 60.0
            while time.monotonic() < deadline:
                if any('"eig1m_point_index": 0' in path.read_text() for path in tmp_path.glob("*.documents.jsonl")):
                    break
                time.sleep(0.1)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    *points, end = [json.loads(line) for line in out.splitlines()]
    assert [line["point"] for line in points] == list(range(1, len(points) + 1))
    assert end["stopped"]
    assert end["counts"]["received"] >= len(points) >= 1
    assert end["counts"]["missing"] == 0
    assert "Traceback" not in errors
    assert '"exit_status": "abort"' in next(tmp_path.glob("*.documents.jsonl")).read_text()
    assert (tmp_path / "series_1.nxs").exists()
