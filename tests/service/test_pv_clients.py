"""Clients that others wrote read the same PVs, and learn why a put was refused: libca from C, pyepics, caproto."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from caproto import ErrorResponseReceived
from caproto.sync import client

from service.pv_table import TABLE
from service.pvs import start_pvs

pytestmark = pytest.mark.usefixtures("no_thread_left")

SOURCE = Path(__file__).with_name("ca_client.c")
COMPILER = shutil.which("gcc") or shutil.which("cc")
PYEPICS = """
import json, sys
import epics
found = {}
for name in sys.argv[1:]:
    pv = epics.PV(name, form="ctrl", connection_timeout=10)
    value = pv.get(timeout=10)
    found[name] = {"value": value, "units": pv.units, "low": pv.lower_disp_limit, "high": pv.upper_disp_limit,
                   "severity": pv.severity, "write": pv.write_access}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def ca_client(tmp_path_factory):
    """A program in C, linked with EPICS base's client library from beside the environment, where the C IOC lives."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    base = Path(sys.prefix) / "ioc" / "epicscorelibs"
    assert base.is_dir(), f"EPICS base must be installed in {base}; run: make install"

    program = tmp_path_factory.mktemp("ca") / "ca_client"
    words = [COMPILER, "-Wall", "-Werror", "-o", str(program), str(SOURCE)]
    words += [f"-I{base / 'include' / folder}" for folder in ("", "os/Linux", "compiler/gcc")]
    words += [str(base / "lib" / "libca.so"), str(base / "lib" / "libCom.so"), f"-Wl,-rpath,{base / 'lib'}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr

    def run(*words):
        done = subprocess.run([str(program), *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    return run


@pytest.fixture
def serve(run, monkeypatch):
    servers = []

    def start(*, steering=False):
        server = start_pvs(run, "TEST:", steering=steering)
        servers.append(server)
        for name, value in (
            ("EPICS_CA_ADDR_LIST", "127.0.0.1"), ("EPICS_CA_AUTO_ADDR_LIST", "NO"),
            ("EPICS_CA_SERVER_PORT", str(server.port)), ("EPICS_CA_REPEATER_PORT", str(server.port)),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        return server

    yield start
    for server in servers:
        server.stop()


def text_of(name):
    return bytes(client.read(f"TEST:{name}", repeater=False, timeout=10).data).rstrip(b"\0").decode()


def test_three_clients_read_the_same(serve, run, wait_until, ca_client):
    serve(steering=True)
    run.start(series=12, announced=50)
    for verdict in ("accepted", "streak", "background"):
        run.take(verdict)
    run.update(state="incomplete", balanced=False)
    wait_until(lambda: client.read("TEST:Last:Frame", repeater=False, timeout=5).data[0] == 2)
    wait_until(lambda: client.read("TEST:Preview:Width", repeater=False, timeout=5).data[0] > 0)
    chosen = [pv for pv in TABLE if pv.kind in ("integer", "number", "string", "choice")]
    names = [f"TEST:{pv.name}" for pv in chosen]

    from_c = {line.split("|")[0]: line.split("|")[1:] for line in ca_client(*names)}
    words = [sys.executable, "-c", PYEPICS, *names]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    from_pyepics = json.loads(done.stdout.splitlines()[-1])

    for pv, name in zip(chosen, names, strict=True):
        reading = client.read(name, data_type="control", repeater=False, timeout=5)
        value = reading.data[0]
        access, c_value, c_units, c_low, c_high, c_severity = from_c[name]
        other = from_pyepics[name]
        assert access == ("rw" if pv.written_by else "r"), name
        assert other["write"] == bool(pv.written_by), name
        if pv.kind in ("integer", "number"):
            numbers = [float(value), float(c_value), float(other["value"])]
            assert repr(numbers[0]) == repr(numbers[1]) == repr(numbers[2]), name
            assert reading.metadata.units.decode() == c_units == other["units"] == pv.units, name
            low, high = pv.limits or (0, 0)
            for limits in ((reading.metadata.lower_disp_limit, reading.metadata.upper_disp_limit),
                           (float(c_low), float(c_high)), (other["low"], other["high"])):  # fmt: skip
                assert limits == pytest.approx((low, high), rel=1e-5), name
        elif pv.kind == "string":
            assert value.decode() == c_value == other["value"], name
        else:
            assert pv.choices[value] == c_value == pv.choices[other["value"]], name
        assert int(c_severity) == other["severity"] == int(reading.metadata.severity), name
    assert (from_c["TEST:State"][1], from_c["TEST:State"][-1]) == ("incomplete", "1")
    assert (from_c["TEST:Balanced"][1], from_c["TEST:Balanced"][-1]) == ("No", "2")


def test_a_c_client_steers_within_the_limits_and_finds_the_reason(serve, run, ca_client):
    serve(steering=True)
    assert ca_client("-put", "TEST:IntensityRatioMin", "1.4") == ["Channel write request failed"]
    assert text_of("Put:Error") == "IntensityRatioMin must be 0 to 1, got 1.4; choose a value between"
    assert run.calls == []
    assert ca_client("-put", "TEST:IntensityRatioMin", "0.4") == ["done"]
    assert text_of("Put:Error") == ""
    assert run.calls[-1][:2] == ("settings", {"screening.intensity_ratio_min": 0.4})
    assert ca_client("-put", "TEST:Expected", "-3") == ["Channel write request failed"]
    assert text_of("Put:Error").startswith("Expected must be 0 to")
    assert text_of("Point:Error") == ""


def test_steering_is_closed_until_the_configuration_opens_it(serve, run, ca_client):
    serve(steering=False)
    for name, value in (("Chi2RatioMax", "1.9"), ("IntensityRatioMin", "0.4"), ("Reconstruct", "1")):
        assert ca_client("-put", f"TEST:{name}", value) == ["Write access denied"]
        with pytest.raises(ErrorResponseReceived, match=r"read-only; set pvs\.steering to true"):
            client.write(f"TEST:{name}", float(value), notify=True, repeater=False, timeout=5)
        assert text_of("Put:Error").startswith(f"{name} is read-only; set pvs.steering")
    assert run.calls == []
