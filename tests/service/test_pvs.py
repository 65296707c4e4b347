import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from caproto import AccessRights, ChannelType, ErrorResponseReceived
from caproto.sync import client

from service.listen import PortTakenError
from service.preview import gray_bytes
from service.pv_table import TABLE, as_markdown
from service.pvs import start_pvs
from service.status import DirectBeam

pytestmark = pytest.mark.usefixtures("no_thread_left")

CONTRACT = {
    "State", "Degraded", "Series", "Announced", "Balanced", "Rate", "Behind", "Pending", "Frames:Received",
    "Frames:Accepted", "Frames:LowIntensity", "Frames:Streak", "Frames:Background", "Frames:Gated",
    "Frames:Corrupt", "Frames:Duplicate", "Frames:Foreign", "Frames:Missing", "Last:Frame", "Last:Total",
    "Last:Chi2", "Last:Verdict", "Resolution", "Preview", "Preview:Width", "Preview:Height", "Point",
    "Expected", "Paused", "Chi2RatioMax", "IntensityRatioMin", "Reconstruct",
}  # fmt: skip
POINT = {"series": 7, "frame": 3, "point": 2, "x_um": 1.5, "y_um": -2.0, "void": False}


class Beside:
    """A Channel Access client that is told the server's port and nothing else."""

    def __init__(self, server):
        self.prefix = server.prefix

    def get(self, name, **options):
        return client.read(self.prefix + name, repeater=False, timeout=5, **options)

    def value(self, name):
        return self.get(name).data[0]

    def text(self, name):
        return bytes(self.get(name).data).rstrip(b"\0").decode()

    def severity(self, name):
        return int(self.get(name, data_type="time").metadata.severity)

    def put(self, name, value, **options):
        return client.write(self.prefix + name, value, notify=True, repeater=False, timeout=5, **options)


def point_to(monkeypatch, server):
    monkeypatch.setenv("EPICS_CA_ADDR_LIST", "127.0.0.1")
    monkeypatch.setenv("EPICS_CA_AUTO_ADDR_LIST", "NO")
    monkeypatch.setenv("EPICS_CA_SERVER_PORT", str(server.port))


@pytest.fixture
def serve(run, monkeypatch):
    servers = []

    def start(**options):
        server = start_pvs(run, "TEST:", **options)
        servers.append(server)
        point_to(monkeypatch, server)
        return Beside(server)

    yield start
    for server in servers:
        server.stop()


def test_every_pv_of_the_contract_is_there():
    assert {pv.name for pv in TABLE} >= CONTRACT
    assert TABLE[-1].name == "Last:Frame"


def test_the_reference_page_holds_the_table():
    page = Path(__file__).parents[2] / "docs" / "reference" / "pvs.md"
    assert as_markdown() in page.read_text()


def test_idle_values(serve):
    ca = serve()
    assert ca.value("State") == b"idle"
    assert ca.text("Degraded") == ""
    assert [ca.value(name) for name in ("Series", "Announced", "Last:Frame", "Last:Total")] == [-1, -1, -1, -1]
    assert math.isnan(ca.value("Resolution"))
    assert ca.value("EndsWithin") == 0.0
    assert math.isnan(ca.value("Last:Chi2"))
    assert ca.value("Preview:Width") == 0
    assert ca.value("Balanced") == b"Yes"
    assert ca.value("Chi2RatioMax") == 1.6


def test_values_follow_the_run(serve, run, wait_until):
    ca = serve()
    run.start(series=12, announced=50)
    for verdict in ["accepted", "accepted", "streak", "low_intensity", "background"]:
        run.take(verdict)
    run.reconstruct(9.8e-9)
    wait_until(lambda: ca.value("Resolution") == 9.8e-9)
    for category, name in [
        ("received", "Received"), ("accepted", "Accepted"), ("low_intensity", "LowIntensity"), ("streak", "Streak"),
        ("background", "Background"), ("gated", "Gated"), ("missing", "Missing"),
    ]:  # fmt: skip
        assert ca.value(f"Frames:{name}") == getattr(run.now.counts, category)
    assert ca.value("State") == b"receiving"
    assert (ca.value("Series"), ca.value("Announced"), ca.value("Last:Frame")) == (12, 50, 4)
    assert ca.value("Last:Verdict") == b"background"
    assert ca.value("Last:Total") == run.now.last.total
    assert ca.value("Last:Chi2") == run.now.last.chi2
    rate = ca.get("Rate", data_type="control")
    assert (rate.data[0], rate.metadata.units, rate.metadata.precision) == (9.7, b"Hz", 2)


def test_a_number_beyond_a_long_does_not_stop_the_rest(serve, run, wait_until):
    ca = serve()
    run.update(series=2**40, behind=3)
    wait_until(lambda: ca.value("Behind") == 3)
    assert ca.value("Series") == 2**31 - 1


def test_alarms_and_long_reasons(serve, run, wait_until):
    ca = serve()
    assert ca.severity("State") == ca.severity("Degraded") == ca.severity("Balanced") == 0
    reasons = ["disk full: results are kept in memory only, free some space", "ring at 3 °C " + "x" * 2000]
    run.update(state="failed", degraded=reasons, balanced=False)
    wait_until(lambda: ca.severity("Balanced") == 2)
    assert ca.severity("State") == 2
    assert ca.severity("Degraded") == 1
    text = ca.text("Degraded")
    assert text.startswith("disk full: results are kept in memory only, free some space; ring at 3 °C xx")
    assert len(text.encode()) == 1024
    run.update(state="incomplete", degraded=[], balanced=True)
    wait_until(lambda: ca.severity("Balanced") == 0)
    assert ca.severity("State") == 1
    assert ca.text("Degraded") == ""


def test_preview_is_the_sum(serve, run, wait_until):
    ca = serve()
    run.start()
    run.take()
    wait_until(lambda: ca.value("Preview:Width") > 0)
    rows, cols = ca.value("Preview:Height"), ca.value("Preview:Width")
    picture = np.array(ca.get("Preview").data[: rows * cols], np.uint8).reshape(rows, cols)
    np.testing.assert_array_equal(picture, gray_bytes(run.preview("sum")))


def test_a_point_is_booked_when_the_put_completes(serve, run):
    ca = serve()
    for frame in range(5):
        ca.put("Point", json.dumps(POINT | {"frame": frame}).encode())
        assert run.points[-1].frame == frame
    assert run.points[0].model_dump() == POINT | {"frame": 0}
    assert ca.text("Point:Error") == ""
    assert json.loads(ca.text("Point"))["frame"] == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rubbish", "Point must be JSON text with series, frame, point"),
        ("\0\0", "Point must be text"),
        ("x", "Point must be JSON text"),
        ('{"x": 1}\xff', "Point must be"),
        ("[" * 1024, "Point must be JSON text"),
        (json.dumps(POINT | {"frame": -1}), "frame: Input should be greater than or equal to 0"),
        (json.dumps({"series": 7}), "frame: Field required"),
        (json.dumps(POINT | {"more": 1}), "more: Extra inputs are not permitted"),
        (json.dumps(POINT | {"frame": 2**31}), "frame must be at most 2147483647, got 2147483648"),
        (json.dumps(POINT | {"x_um": 1e300}), "x_um must be within 1e+06 um of the origin, got 1e+300"),
        (json.dumps(POINT | {"y_um": math.nan}), "y_um must be within 1e+06 um of the origin, got nan"),
    ],
)
def test_a_bad_point_is_refused_with_the_reason(serve, run, text, reason):
    ca = serve()
    with pytest.raises(ErrorResponseReceived) as refusal:
        ca.put("Point", text.encode("latin-1"))
    said = refusal.value.args[0].error_message.decode()
    assert reason in said
    assert said.split("Refused ")[1].rstrip("\0") == ca.text("Point:Error")
    assert ca.severity("Point:Error") == 2
    assert run.points == []
    ca.put("Point", json.dumps(POINT).encode())
    assert ca.text("Point:Error") == ""
    assert ca.severity("Point:Error") == ca.severity("Point") == 0


def test_a_refusal_by_the_service_and_a_fault_reach_the_writer(serve, run, monkeypatch, caplog):
    ca = serve()

    def refuse(note):
        raise ValueError(f"series must be 7, got {note.series}; arm again")

    monkeypatch.setattr(run, "book_point", refuse)
    with pytest.raises(ErrorResponseReceived, match="series must be 7, got 8; arm again"):
        ca.put("Point", json.dumps(POINT | {"series": 8}).encode())
    assert "Traceback" not in caplog.text

    def fall(_):
        raise OSError("secret detail")

    monkeypatch.setattr(run, "book_point", fall)
    with pytest.raises(ErrorResponseReceived, match="the service could not do it; its log has the reason"):
        ca.put("Point", json.dumps(POINT).encode())
    assert "secret detail" in caplog.text


def test_expected_and_paused(serve, run, wait_until):
    ca = serve()
    ca.put("Expected", 400)
    assert run.now.expected == 400
    wait_until(lambda: ca.value("Announced") == 400)
    with pytest.raises(ErrorResponseReceived, match=r"Expected must be 0 to 2\.14748e"):
        ca.put("Expected", -5)
    assert ca.value("Expected") == 400
    assert ca.severity("Expected") == 0
    ca.put("Paused", 1)
    assert run.now.paused is True
    ca.put("Paused", b"No", data_type=ChannelType.STRING)
    assert run.now.paused is False
    with pytest.raises(ErrorResponseReceived, match="Paused must be one of its states"):
        ca.put("Paused", 7)


def test_the_purpose_is_taken_for_an_open_series_only(serve, run, wait_until):
    ca = serve()
    with pytest.raises(ErrorResponseReceived, match="a series must be open to be for background, got none"):
        ca.put("Purpose", b"background", data_type=ChannelType.STRING)
    run.update(state="armed")
    ca.put("Purpose", b"alignment", data_type=ChannelType.STRING)
    assert run.now.purpose == "alignment"
    assert math.isnan(ca.value("DirectBeam:Row"))
    assert ca.value("DirectBeam:Peak") == -1
    run.update(direct_beam=DirectBeam(row=488.31, col=514.62, peak=3000, photons=31000))
    wait_until(lambda: ca.value("DirectBeam:Photons") == 31000)
    assert (ca.value("DirectBeam:Row"), ca.value("DirectBeam:Column")) == (488.31, 514.62)


def test_without_the_right_nothing_steers_and_nothing_else_is_written(serve, run, caplog):
    ca = serve()
    for name, value in [("Chi2RatioMax", 2.0), ("IntensityRatioMin", 0.1), ("Reconstruct", 1)]:
        with pytest.raises(ErrorResponseReceived, match=r"is read-only; set pvs\.steering to true"):
            ca.put(name, value)
    for pv in TABLE:
        if not pv.written_by:
            with pytest.raises(ErrorResponseReceived, match="is read-only; it shows what the service does"):
                ca.put(pv.name, b"1", data_type=ChannelType.STRING)
    assert run.calls == []
    assert caplog.text.count("is read-only") == sum(pv.written_by != "scan" for pv in TABLE)
    assert "Traceback" not in caplog.text


def test_steering_within_limits(serve, run, caplog):
    ca = serve(steering=True)
    with caplog.at_level("INFO", "xedm.audit"):
        ca.put("Chi2RatioMax", 1.9)
    assert run.calls[0][:2] == ("settings", {"screening.chi2_ratio_max": 1.9})
    assert run.calls[0][2].startswith("ca ")
    assert "put to Chi2RatioMax" in caplog.text
    assert ca.value("Chi2RatioMax") == 1.9
    limits = ca.get("IntensityRatioMin", data_type="control").metadata
    assert (limits.lower_ctrl_limit, limits.upper_ctrl_limit) == (0, 1)
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ErrorResponseReceived, match="IntensityRatioMin must be 0 to 1, got"):
            ca.put("IntensityRatioMin", value)
    with pytest.raises(ErrorResponseReceived, match=r"screening\.chi2_ratio_max must be 0\.1 to 1000\.0, got 5000"):
        ca.put("Chi2RatioMax", 5000.0)  # the service's own limit
    with pytest.raises(ErrorResponseReceived, match="Chi2RatioMax must be a number, got something else"):
        ca.put("Chi2RatioMax", b"much", data_type=ChannelType.STRING)
    assert ca.value("IntensityRatioMin") == 0.3
    assert len(run.calls) == 1
    run.start()
    run.take()
    ca.put("Reconstruct", 1)
    assert run.calls[-1][0] == "reconstruct"
    assert ca.value("Reconstruct") == b"No"


def test_a_put_cannot_bring_its_own_limits_or_alarms(serve, run):
    ca = serve(steering=True)
    reading = ca.get("IntensityRatioMin", data_type="control")
    reading.metadata.upper_ctrl_limit = 50.0
    with pytest.raises(ErrorResponseReceived, match="IntensityRatioMin must be 0 to 1"):
        ca.put("IntensityRatioMin", [40.0], data_type=ChannelType.CTRL_DOUBLE, metadata=reading.metadata)
    ca.put("IntensityRatioMin", [0.4], data_type=ChannelType.CTRL_DOUBLE, metadata=reading.metadata)
    assert ca.get("IntensityRatioMin", data_type="control").metadata.upper_ctrl_limit == 1.0
    assert run.calls[-1][1] == {"screening.intensity_ratio_min": 0.4}


def test_fields_can_be_read_and_not_written(serve):
    ca = serve(steering=True)
    assert ca.value("Rate.EGU") == b"Hz"
    assert ca.value("Rate.RTYP") == b"ai"
    assert ca.value("Rate.DESC") == b"frames a second"
    assert ca.value("State.VAL") == b"idle"
    with pytest.raises(ErrorResponseReceived):
        ca.put("Rate.DESC", b"mine", data_type=ChannelType.STRING)
    assert ca.value("Rate.DESC") == b"frames a second"


def test_pyepics_reads_waits_and_writes(serve, run, tmp_path):
    """The C client in a process of its own, as a scan uses it."""
    serve(steering=False)
    run.start()
    script = tmp_path / "scan.py"
    script.write_text(
        """
import json, sys, threading, time
import epics
events = []
moved = threading.Event()
def seen(value=None, **rest):
    events.append((int(value), time.time()))
    moved.set()
frame = epics.PV("TEST:Last:Frame", callback=seen)
assert frame.wait_for_connection(5)
assert moved.wait(5)
out = {"state": epics.caget("TEST:State"), "degraded": epics.caget("TEST:Degraded", as_string=True)}
threshold = epics.PV("TEST:Chi2RatioMax")
threshold.wait_for_connection(5)
out["write_access"] = [threshold.write_access, epics.PV("TEST:Point", connection_timeout=5).write_access]
point = epics.PV("TEST:Point")
point.wait_for_connection(5)
note = {"series": 7, "frame": 0, "point": 0, "x_um": 0.5, "y_um": 0.25, "void": False}
begun = time.time()
point.put(json.dumps(note), wait=True, timeout=5)
out["booked_s"] = time.time() - begun
print("booked", flush=True)
sys.stdin.readline()
deadline = time.time() + 5
while events[-1][0] < 2 and time.time() < deadline:
    time.sleep(0.001)
out["events"] = events
point.put("rubbish", wait=True, timeout=5)
out["error"] = epics.caget("TEST:Point:Error", as_string=True)
print(json.dumps(out), flush=True)
"""
    )
    environment = os.environ | {"EPICS_CA_REPEATER_PORT": os.environ["EPICS_CA_SERVER_PORT"]}
    scan = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert scan.stdout.readline() == "booked\n"
        assert [note.point for note in run.points] == [0]
        taken = []
        for _ in range(3):
            time.sleep(0.1)
            run.take()
            taken.append(time.time())
        out, _ = scan.communicate("go\n", timeout=20)
    finally:
        scan.kill()
        scan.wait(5)
    said = json.loads(out)
    assert said["state"] == "armed"
    assert said["degraded"] == ""
    assert said["write_access"] == [False, True]
    assert said["booked_s"] < 0.5
    assert "Point must be JSON text" in said["error"]
    assert [value for value, _ in said["events"]] == [-1, 0, 1, 2]
    assert all(seen - begun < 0.25 for (_, seen), begun in zip(said["events"][1:], taken, strict=True))


@pytest.mark.parametrize("steering", [True, False])
def test_a_session_sets_a_threshold_or_hears_why_not(serve, run, steering, tmp_path):
    """The device of a session, in a process of its own, against the real PVs."""
    serve(steering=steering)
    run.start()
    script = tmp_path / "session.py"
    script.write_text(
        """
import json
from devices.live_result import LiveResult
live = LiveResult("TEST:", name="live")
live.chi2_ratio_max.wait_for_connection(10)
def outcome(value):
    try:
        live.chi2_ratio_max.set(value, timeout=5).wait(10)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "set"
print(json.dumps([outcome(1.8), outcome(1e9), live.chi2_ratio_max.get(use_monitor=False)]))
"""
    )
    environment = os.environ | {"EPICS_CA_REPEATER_PORT": os.environ["EPICS_CA_SERVER_PORT"]}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    within, outside, stands = json.loads(done.stdout)
    if steering:
        assert (within, stands) == ("set", 1.8)
        assert outside.startswith(
            "LiveServiceError: TEST:Chi2RatioMax must become 1e+09 within 5 s, got 1.8; the service"
        )
    else:
        assert within.startswith(
            "LiveServiceError: TEST:Chi2RatioMax must become 1.8 within 5 s, got a service that lets"
        )
        assert stands == 1.6


def test_a_burst_is_pushed_together_and_the_last_value_stands(serve, run, wait_until):
    ca = serve()
    run.start()
    for _ in range(300):
        run.take()
    wait_until(lambda: ca.value("Last:Frame") == 299)
    assert ca.value("Frames:Received") == 300
    assert ca.value("Last:Total") == run.now.last.total


def listeners(kind, port):
    lines = Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {f[1].split(":")[0] for f in fields if f[1].endswith(f":{port:04X}") and f[3] in ("0A", "07")}


def test_everything_is_on_this_machine_and_beacons_reach_only_us(run):
    before = dict(os.environ)
    server = start_pvs(run, "TEST:")
    try:
        assert dict(os.environ) == before
        held = server._sockets[2]
        assert set(server._server.beacon_socks) == {held.getsockname()}
        held.setblocking(True)
        held.settimeout(5)
        datagram, _ = held.recvfrom(100)
        assert int.from_bytes(datagram[:2], "big") == 13  # CA_PROTO_RSRV_IS_UP
        loopback = {"0100007F"}
        assert listeners("tcp", server.port) == listeners("udp", server.port) == loopback
    finally:
        server.stop()


def test_a_taken_port_is_a_sentence(serve, run):
    first = start_pvs(run, "TEST:")
    try:
        with pytest.raises(PortTakenError, match=f"the port of the PVs must be .* got {first.port}, which another"):
            start_pvs(run, "TEST:", first.port)
    finally:
        first.stop()
    serve(port=first.port)  # free again at once


def test_two_servers_keep_apart(run, monkeypatch):
    one, two = start_pvs(run, "A:"), start_pvs(run, "B:")
    try:
        for server in (one, two):
            point_to(monkeypatch, server)
            assert Beside(server).value("State") == b"idle"
    finally:
        one.stop()
        two.stop()


def test_rubbish_on_the_wire_harms_nobody(serve, run):
    ca = serve()
    port = int(os.environ["EPICS_CA_SERVER_PORT"])
    rng = np.random.default_rng(2)
    for size in (1, 16, 40, 4000):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as wire:
                wire.sendall(rng.bytes(size))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
                wire.sendto(rng.bytes(size), ("127.0.0.1", port))
    run.update(behind=11)
    time.sleep(0.1)
    assert ca.value("Behind") == 11


def test_stop_is_quick_with_clients_connected(run):
    server = start_pvs(run, "TEST:")
    wires = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    time.sleep(0.1)
    begun = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - begun < 2
    for wire in wires:
        wire.settimeout(2)
        with wire, contextlib.suppress(ConnectionResetError):
            assert wire.recv(10) == b""


def test_access_rights_are_told(serve):
    serve()
    from service.pv_channels import make_channels

    async def write(value, _):
        return value

    for steering, expected in [(False, AccessRights.READ), (True, AccessRights.READ | AccessRights.WRITE)]:
        channels = make_channels(dict.fromkeys((pv.name for pv in TABLE), write), steering=steering)
        assert channels["Chi2RatioMax"].check_access("host", "user") == expected
        assert channels["Point"].check_access("host", "user") == AccessRights.READ | AccessRights.WRITE
        assert channels["State"].check_access("host", "user") == AccessRights.READ
