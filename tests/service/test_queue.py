"""The plans on the real bluesky-queueserver; `make test-queue` installs it."""

import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import h5py
import pytest

from service.listen import listen_tcp, port_of
from service.queue import queued

TIMEOUT_S = 240.0


class Stage:
    """A device."""


def plan(
    detectors,
    stage: Stage,
    exposure: float,
    step: float | Callable[[float], float],
    *,
    sample: str = "a",
    tell=print,
    confirm: Callable[[str], bool] | None = None,
):
    """Scan."""
    tell(sample, confirm)
    return (yield (detectors, stage, exposure, step))


def test_a_plan_for_the_queue_takes_names_for_devices_and_no_functions(capsys):
    taken = queued(plan)
    assert str(inspect.signature(taken)) == "(detectors, stage, exposure: float, step, *, sample: str = 'a')"
    assert taken.__name__ == "plan"
    assert taken.__doc__ == "Scan."
    assert inspect.isgeneratorfunction(taken)
    assert list(taken(["eig1m"], "stage", 1.0, 2.0, sample="b")) == [(["eig1m"], "stage", 1.0, 2.0)]
    assert capsys.readouterr().out == "b None\n"


def free_port():
    with listen_tcp(0, what="a test", option="none") as held:
        return port_of(held)


@pytest.fixture
def beamline(tmp_path):
    """Give the environment of a client of a simulated beamline and a live service."""
    from service.processes import start_live, start_sim

    sim = start_sim(tmp_path, speed=100.0)
    live = start_live(tmp_path, stream=sim.ready["stream"], settings=["reconstruction.enabled=false"])
    ports = sim.ready["ca_server_port"], live.ready["ca_server_port"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_CA")}
    yield kept | {
        "EPICS_CA_ADDR_LIST": " ".join(f"127.0.0.1:{port}" for port in ports),
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_REPEATER_PORT": str(sim.ready["repeater_port"]),
    }
    live.stop()
    sim.stop()


@pytest.fixture
def manager(tmp_path, beamline):
    """Give a function that asks the queueserver."""
    pytest.importorskip("bluesky_queueserver", reason="make test-queue installs it")
    from bluesky_queueserver.manager.comms import ZMQCommSendThreads

    (tmp_path / "beamline.toml").write_text("[catalog]\nenabled = false\n")
    command = [sys.executable, "-m", "service.cli", "queue", "--config", str(tmp_path / "beamline.toml")]
    command += ["--output", str(tmp_path), "--port", str(free_port()), "--with-parent"]
    with subprocess.Popen(
        command, env=beamline, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        ready = process.stdout.readline()
        assert ready, process.stderr.read()
        client = ZMQCommSendThreads(zmq_server_address=json.loads(ready)["control"])
        try:
            yield lambda method, **params: client.send_message(method=method, params=params, timeout=10_000)
        finally:
            client.close()
            client._ctx.term()  # which the library leaves open
            process.stdin.close()
            assert process.wait(60) == 0


def wait_for(ask, what, condition):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition(status := ask("status")):
        assert time.monotonic() < deadline, f"{what}: {status}"
        time.sleep(0.2)
    return status


@pytest.mark.queue
@pytest.mark.timeout(300)
def test_the_queue_runs_an_ensemble_scan(tmp_path, manager):
    user = {"user": "tests", "user_group": "primary"}
    assert manager("environment_open")["success"]
    wait_for(manager, "environment", lambda now: now["worker_environment_exists"])
    plans = manager("plans_allowed", user_group="primary")["plans_allowed"]
    assert {"ensemble_scan", "count", "mv"} <= set(plans)
    assert {"eig1m", "stage", "live"} <= set(manager("devices_allowed", user_group="primary")["devices_allowed"])

    arguments = [["eig1m", "live"], "stage", 0, 20, 0, 10, 10, 10]
    item = {"item_type": "plan", "name": "ensemble_scan", "args": arguments, "kwargs": {"sample": "queued"}}
    wrong = item | {"kwargs": {"sampel": "queued"}}
    refused = manager("queue_item_add", item=wrong, **user)
    assert not refused["success"]
    assert "sampel" in refused["msg"]
    added = manager("queue_item_add", item=item, **user)
    assert added["success"], added["msg"]
    assert manager("queue_start")["success"]
    wait_for(manager, "queue", lambda now: now["items_in_history"] == 1 and now["manager_state"] == "idle")
    (done,) = manager("history_get")["items"]
    assert done["result"]["exit_status"] == "completed", done["result"]
    (uid,) = done["result"]["run_uids"]

    (file,) = tmp_path.glob("*.documents.jsonl")
    documents = [json.loads(line) for line in file.read_text().splitlines()]
    assert documents[0]["doc"]["uid"] == uid
    assert documents[-1]["doc"]["num_events"]["primary"] == 6
    assert (tmp_path / "queued-scan_id-1-primary.csv").exists()
    assert manager("environment_close")["success"]
    wait_for(manager, "environment", lambda now: not now["worker_environment_exists"])
    with h5py.File(tmp_path / "series_1.nxs") as result:
        points = result["entry/frames/point"][()]
    assert sorted(points[points >= 0].tolist()) == list(range(6))
