"""What can go wrong around a running service: its disk, its folder, its processes, its viewers, and its own restarts.

Each is done to the real process. Nothing is patched inside it.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from service import http_client
from service.errors import UserError
from service.processes import Running, start

LEFT_OVER = 4096
"""Bytes into which files may still be written on a full disk: SQLite reads and writes its first page."""


@contextlib.contextmanager
def disk_full(process: int) -> Iterator[None]:
    """Let no file of a process grow: every write beyond the first page is answered with EFBIG.

    Only the soft limit is lowered, so that who is not root may raise it again; a child inherits it. Python ignores
    SIGXFSZ, so that the error reaches the program as it does from a full disk.
    """
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (LEFT_OVER, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def folder_away(folder: Path) -> Iterator[None]:
    """Put a file where the output folder was: nothing can be opened or made there, as when a network disk is away.

    Missing rights would stop everybody but root. Files that are open already stay so.
    """
    away = folder.with_name(folder.name + ".away")
    folder.rename(away)
    folder.write_text("the disk is away")
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


@contextlib.contextmanager
def stopped(process: int) -> Iterator[None]:
    """Stop a process as a starved machine would."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


@contextlib.contextmanager
def deaf_viewers(http: str, count: int) -> Iterator[None]:
    """Open so many connections to /events that never read what comes."""
    place = urllib.parse.urlsplit(http)
    sockets = []
    try:
        for _ in range(count):
            one = socket.create_connection((place.hostname, place.port), timeout=5)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.sendall(f"GET /events HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
            sockets.append(one)
        yield
    finally:
        for one in sockets:
            one.close()


def children(process: int) -> list[int]:
    """Return the process ids of the children."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found


def kill_imaging(process: int, within_s: float) -> int:
    """Kill the first process that makes an image for the service within so many seconds; return how many."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        for child in children(process):
            with contextlib.suppress(OSError):
                if b"imaging_child" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(child, signal.SIGKILL)
                    return 1
        time.sleep(0.01)
    return 0


def kill(live: Running) -> None:
    """SIGKILL."""
    live.process.kill()
    live.process.wait(10)


def terminate(live: Running, within_s: float = 10.0) -> tuple[int | None, float]:
    """SIGTERM; return the exit code (None: it had to be killed) and the seconds it took."""
    begun = time.monotonic()
    live.process.terminate()
    try:
        code: int | None = live.process.wait(within_s + 20)
    except subprocess.TimeoutExpired:
        kill(live)
        code = None
    return code, time.monotonic() - begun


def steer(live: Running, changes: dict[str, object]) -> str:
    """Put other settings in force; return the refusal, empty when there is none."""
    try:
        http_client.put_settings(live.ready["http"], changes, Path(live.ready["token_file"]))
    except UserError as error:
        return str(error)
    return ""


def second_service(out: Path) -> str:
    """Start another service on the same folder and end it again; return what was wrong with it, empty when nothing."""
    words = ["-m", "service.cli", "live", "--stream", "tcp://127.0.0.1:9", "--output", str(out), "--with-parent"]
    try:
        second = start("second service", words, out.with_name("second.log"), 30)
    except UserError as error:
        return str(error)
    with urllib.request.urlopen(f"{second.ready['http']}/status", timeout=30) as answer:
        status = json.load(answer)
    code = second.stop()
    if status["state"] != "idle" or status["errors"] or code:
        return f"it ended with {code}, state {status['state']}, errors {status['errors']}"
    return ""


def descriptors(process: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{process}/fd"))


def memory_mib(process: int) -> float:
    """Return the resident memory of a process."""
    fields = Path(f"/proc/{process}/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) / 1024
