"""The simulation as a process: alone on loopback, silent elsewhere, and gone when told."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sim.ports import claim, client_environment

HOSTILE = {
    "EPICS_CA_SERVER_PORT": "5064",
    "EPICS_CA_REPEATER_PORT": "5065",
    "EPICS_CA_ADDR_LIST": "255.255.255.255",
    "EPICS_CAS_INTF_ADDR_LIST": "0.0.0.0",
    "EPICS_CAS_SERVER_PORT": "5064",
    "EPICS_CAS_BEACON_PORT": "5065",
    "EPICS_CAS_BEACON_ADDR_LIST": "255.255.255.255",
    "EPICS_CAS_IGNORE_ADDR_LIST": "127.0.0.1",
}
EPICS_PORTS = (5064, 5065)


@contextmanager
def simulation(folder, *options, environment=None):
    command = [sys.executable, "-P", "-m", "sim", "--output", str(folder / "files"), *options]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EPICS")}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=inherited | (environment or {}),
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def ready(process, timeout=60.0):
    assert select.select([process.stdout], [], [], timeout)[0], "no ready line in time"
    return json.loads(process.stdout.readline())


def bound_sockets(pid, table):
    """(address, port, bytes waiting) of every socket of a process in one table of /proc/net."""
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = []
    for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            address, port = fields[1].split(":")
            found.append((address, int(port, 16), int(fields[4].split(":")[1], 16)))
    return found


@pytest.fixture(scope="module")
def listeners():
    """UDP sockets where a real CA repeater and server would hear us, opened before the simulation starts."""
    with ExitStack() as stack:
        opened = []
        for port in EPICS_PORTS:
            listener = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            try:
                listener.bind(("", port))
            except OSError:
                pytest.skip(f"UDP port {port} is used on this machine")
            opened.append(listener)
        yield opened


@pytest.fixture(scope="module")
def running(listeners, tmp_path_factory):
    """A simulation that inherited the worst possible EPICS settings, and its ready line."""
    assert len(listeners) == len(EPICS_PORTS)
    with simulation(tmp_path_factory.mktemp("sim"), "--speed", "50", environment=HOSTILE) as process:
        yield process, ready(process)


def test_says_where_it_is(running):
    _, line = running
    assert line["ready"] is True
    assert line["prefix"] == "25A:"
    assert line["ca_server_port"] not in EPICS_PORTS
    assert line["repeater_port"] not in EPICS_PORTS


def test_no_beacon_and_nothing_else_goes_to_the_ports_of_the_real_beamline(running, listeners):
    _, line = running
    deadline = time.monotonic() + 2.0
    heard = []
    while (left := deadline - time.monotonic()) > 0.0:
        for listener in select.select(listeners, [], [], left)[0]:
            heard += [(listener.getsockname()[1], *listener.recvfrom(65536))]
    assert heard == []
    # The counter-proof: beacons are sent, and our own repeater passes them on to who registers.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30.0)
        client.sendto(b"", ("127.0.0.1", line["repeater_port"]))
        kinds = [int.from_bytes(client.recv(64)[:2], "big") for _ in range(2)]
    assert kinds == [17, 13]  # REPEATER_CONFIRM, RSRV_IS_UP


@pytest.mark.parametrize("table", ["tcp", "udp"])
def test_every_socket_is_on_loopback(running, table):
    process, line = running
    addresses = bound_sockets(process.pid, table)
    assert addresses
    assert {address for address, _, _ in addresses} == {"0100007F"}
    assert line["ca_server_port"] in {port for _, port, _ in addresses}
    assert bound_sockets(process.pid, table + "6") == []


READ_ALL = """
import json, sys
import epics
print(json.dumps({name: epics.caget(name, as_string=True, timeout=10) for name in sys.argv[1:]}))
"""


def test_pyepics_reads_the_documented_pvs_without_a_warning(running):
    _, line = running
    wanted = ["25A:PIEZO:X.RBV", "25A:PIEZO:Y.DMOV", "25A:PIEZO:Z.EGU", "25A:FS:Cmd", "25A:FS:Sts", "25A:BS:Sts"]
    wanted += ["25A:ATT:Transmission", "25A:ATT:Transmission_RBV", "25A:ATT:Moving", "SR-DI-DCCT:BeamCurrent"]
    wanted += ["TPS:TimeToNextInjSec", "25A:SIM:BeamDump", "25A:SIM:Speed"]
    environment = os.environ | client_environment(line["ca_server_port"], line["repeater_port"])
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *wanted],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    values = json.loads(done.stdout)
    assert None not in values.values()
    assert (values["25A:FS:Sts"], values["25A:BS:Sts"], values["25A:FS:Cmd"]) == ("Closed", "In", "Close")
    assert values["25A:PIEZO:Z.EGU"] == "um"
    assert float(values["SR-DI-DCCT:BeamCurrent"]) > 490.0
    assert 0.0 < float(values["TPS:TimeToNextInjSec"]) <= 240.0
    assert done.stderr == ""


def test_caproto_reads_it_too(running):
    _, line = running
    environment = os.environ | client_environment(line["ca_server_port"], line["repeater_port"])
    command = [str(Path(sys.executable).parent / "caproto-get"), "--terse", "25A:PIEZO:X.HLM"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "2000" in done.stdout


def test_terminates_cleanly(running):
    """Last of the module: ends the simulation of the tests above."""
    process, _ = running
    process.send_signal(signal.SIGTERM)
    assert process.wait(15.0) == 0
    assert process.stdout.read() == b""


def test_is_silent_on_stderr_and_obeys_ctrl_c(tmp_path):
    with simulation(tmp_path) as process:
        ready(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(15.0) == 0
    assert (tmp_path / "log").read_text() == ""


def test_ends_with_its_parent(tmp_path):
    with simulation(tmp_path, "--with-parent") as process:
        ready(process)
        process.stdin.write(b"still here\n")
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.stdin.close()
        assert process.wait(15.0) == 0


def test_a_taken_port_is_said_and_ends_with_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with simulation(tmp_path, "--ca-port", str(port)) as process:
            assert process.wait(60.0) == 1
    log = (tmp_path / "log").read_text()
    assert f"port {port} on 127.0.0.1 must be free" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--speed", "0"], "speed must be above 0"),
        (["--seed", "-1"], "seed must be 0 or more"),
        (["--detector", "pilatus"], "invalid choice: 'pilatus'"),
        (["--fault", "gremlin"], "fault must be one of"),
    ],
)
def test_wrong_usage_ends_with_2(options, words, tmp_path):
    with simulation(tmp_path, *options) as process:
        assert process.wait(30.0) == 2
    log = (tmp_path / "log").read_text()
    assert words in log
    assert "Traceback" not in log


def test_claimed_ports_are_held_so_that_nobody_can_take_them_before_the_server_runs():
    ports = claim()
    wanted = [(socket.SOCK_STREAM, ports.server), (socket.SOCK_DGRAM, ports.server)]
    for kind, port in [*wanted, (socket.SOCK_DGRAM, ports.repeater_port)]:
        with socket.socket(socket.AF_INET, kind) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="Address already in use"):
                other.bind(("127.0.0.1", port))
    with pytest.raises(OSError, match=rf"port {ports.server} on 127.0.0.1 must be free .*; choose another --ca-port"):
        claim(ports.server)
    assert ports.server not in EPICS_PORTS
    number = ports.server
    ports.close()
    claim(number).close()
