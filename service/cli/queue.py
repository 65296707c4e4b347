"""`xedm queue`: bluesky-queueserver with the plans and devices of this beamline."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.output import end_with_input
from service.errors import NotReachedError, UsageError, UserError

CONTROL_PORT, INFO_PORT = 60615, 60625
"""What clients of the queueserver take unless told otherwise."""
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


def queue(
    config: Annotated[Path | None, typer.Option(help="TOML file with the beamline's PV names")] = None,
    output: Annotated[Path, typer.Option(help="folder for documents and tables")] = Path("xedm-output"),
    redis: Annotated[str | None, typer.Option(help="HOST:PORT that keeps the queue; default: memory only")] = None,
    port: Annotated[int, typer.Option(help="port for control; the next but nine is for its news")] = CONTROL_PORT,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="end when standard input closes")] = False,
) -> None:
    """Run bluesky-queueserver with this beamline's plans, on this machine only.

    Prints one JSON line when it answers; then: qserver environment open. Example: xedm queue --config beamline.toml
    """
    _check(config, port)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if with_parent:
        threading.Thread(target=end_with_input, args=(stop,), name="parent", daemon=True).start()
    with _redis(redis) as address, _manager(output, config, address, port) as (process, addresses):
        print(json.dumps({"ready": True, **addresses}), flush=True)
        while not stop.wait(0.2):
            if process.poll() is not None:
                raise UserError(f"the queueserver ended with code {process.returncode} (log: {output / 'queue.log'})")


def _check(config: Path | None, port: int) -> None:
    from service.config import load_settings

    missing = [name for name in ("bluesky_queueserver", "fakeredis") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the queue needs {' and '.join(missing)}, which are not installed; install them: make queue")
    if not 0 < port < 65526:
        raise UsageError(f"--port must be from 1 to 65525, got {port}")
    load_settings(config)  # a mistake is told here, not in the worker's log


@contextlib.contextmanager
def _redis(address: str | None) -> Iterator[str]:
    """Give the address of a Redis; without one, of a stand-in that keeps the queue as long as this process lives."""
    if address is not None:
        yield address
        return
    from fakeredis import TcpFakeServer

    from service.listen import LOOPBACK

    server = TcpFakeServer((LOOPBACK, 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True, name="redis stand-in")
    thread.start()
    try:
        yield f"{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def _manager(
    output: Path, config: Path | None, redis: str, port: int
) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, Any]]]:
    from service.queue import PROFILE

    output.mkdir(parents=True, exist_ok=True)
    control, info = (f"tcp://127.0.0.1:{number}" for number in (port, port + INFO_PORT - CONTROL_PORT))
    words = ["--startup-dir", str(PROFILE), "--keep-re", "--redis-addr", redis, "--redis-name-prefix", "xedm"]
    words += ["--zmq-control-addr", control, "--zmq-info-addr", info, "--zmq-publish-console", "OFF"]
    words += ["--existing-plans-devices", str((output / "queue_plans_and_devices.yaml").resolve())]
    words += ["--user-group-permissions", str(PROFILE / "user_group_permissions.yaml")]
    environment = os.environ | {"XEDM_OUTPUT": str(output.resolve())}
    environment |= {} if config is None else {"XEDM_CONFIG": str(config.resolve())}
    with (output / "queue.log").open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("start-re-manager")), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process, control, output)
        yield process, {"control": control, "info": info, "redis": redis}
    finally:
        _end(process)


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", control: str, output: Path) -> None:
    from bluesky_queueserver.manager.comms import ZMQCommSendThreads

    client = ZMQCommSendThreads(zmq_server_address=control)
    deadline = time.monotonic() + READY_TIMEOUT_S
    try:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(Exception):  # it has several ways to say that nobody answers
                if client.send_message(method="status").get("manager_state"):
                    return
            time.sleep(0.2)
    finally:
        client.close()
    raise NotReachedError(
        f"the queueserver must answer at {control} within {READY_TIMEOUT_S:g} s, got nothing (log: "
        f"{output / 'queue.log'}); see whether the port is taken (--port)"
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the manager, its watchdog and its worker: one process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5.0)
