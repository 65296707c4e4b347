"""Starting the simulated beamline and the live service as processes of their own."""

import atexit
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from service.errors import ConfigurationError, NotReachedError, UsageError, UserError

START_TIMEOUT_S = 90.0
"""The very first start compiles."""
STOP_TIMEOUT_S = 30.0
LOG_TAIL = 2000


@dataclass(slots=True, kw_only=True)
class Running:
    """A process that has said it is ready.

    Attributes
    ----------
    name : str
        For messages.
    process : subprocess.Popen
    ready : dict
        Its ready line.
    log : Path
        Where its standard error goes.
    lines : list of str
        What it has printed since, newest last.
    """

    name: str
    process: subprocess.Popen[bytes]
    ready: dict[str, Any]
    log: Path
    lines: list[str] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Ask it to end, wait, and insist when it does not.

        Parameters
        ----------
        timeout_s : float
            How long it may take to drain and save.

        Returns
        -------
        int
            Its exit code, negative when it had to be killed.
        """
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5.0)
        _close(self.process.stdin)
        return int(self.process.returncode)


def start_sim(
    output: Path,
    *,
    detector: str = "eig1m",
    sample: str = "au-sio2",
    speed: float = 1.0,
    seed: int = 0,
    truth: Path | None = None,
    faults: Sequence[str] = (),
    options: Sequence[str] = (),
    timeout_s: float = START_TIMEOUT_S,
) -> Running:
    """Start the simulated beamline.

    Parameters
    ----------
    output : Path
        Folder for its log and the detector's own files.
    detector, sample, speed, seed, truth, faults
        As `xedm sim` takes them.
    options : sequence of str
        More options of `python -m sim`.
    timeout_s : float
        Until it must be ready.

    Raises
    ------
    NotReachedError
        When it is not; the sentence holds the end of its log.
    UsageError, ConfigurationError
        When it refused what it was told, in its own words.
    """
    words = ["--detector", detector, "--sample", sample, "--speed", f"{speed:g}", "--seed", str(seed)]
    words += ["--output", str(output / "detector"), "--with-parent"]
    if truth is not None:
        words += ["--truth", str(truth)]
    for fault in faults:
        words += ["--fault", fault]
    return start("simulated beamline", ["-m", "sim", *words, *options], output / "sim.log", timeout_s)


def watching_ring_of(ca_server_port: int) -> str:
    """Return the setting with which the live service shows the ring of a simulated beamline."""
    return f"pvs.ring_addresses=127.0.0.1:{ca_server_port}"


def start_live(
    output: Path,
    *,
    stream: str,
    http: int = 0,
    settings: Sequence[str] = (),
    options: Sequence[str] = (),
    timeout_s: float = START_TIMEOUT_S,
) -> Running:
    """Start the live service on a stream.

    Parameters
    ----------
    output : Path
        Folder for results and its log.
    stream : str
        Address of the detector's PUSH socket.
    http : int
        Port of the page, 0 for a free one.
    settings : sequence of str
        `section.key=value` texts.
    options : sequence of str
        More options of `xedm live`.
    timeout_s : float
        Until it must be ready.

    Raises
    ------
    NotReachedError
        When it is not; the sentence holds the end of its log.
    UsageError, ConfigurationError
        When it refused what it was told, in its own words.
    """
    words = ["--stream", stream, "--output", str(output), "--http", str(http), "--with-parent"]
    for pair in settings:
        words += ["--set", pair]
    return start("live service", ["-m", "service.cli", "live", *words, *options], output / "live.log", timeout_s)


def start(name: str, arguments: Sequence[str], log: Path, timeout_s: float, *, nice: int = 0) -> Running:
    """Start one of our own programs and wait for its ready line; `nice` gives way to others.

    It gets a session of its own, so that Ctrl-C in the terminal reaches the person's session only, and a standard input
    that ends with ours, even when we are killed: ``--with-parent`` has them end then.

    Raises
    ------
    NotReachedError
        When it ends or stays silent.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # -P: a folder named sim or service in the working directory must not be taken for ours.
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*(["nice", "-n", str(nice)] if nice else []), sys.executable, "-P", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    running = Running(name=name, process=process, ready={}, log=log)
    # Whatever ends this process ends the child too; one that is stopped already is left alone.
    atexit.register(running.stop)
    said_ready = threading.Event()
    threading.Thread(target=_listen, args=(running, said_ready), daemon=True, name=f"{name} output").start()
    deadline = time.monotonic() + timeout_s
    while not said_ready.wait(0.05):
        if not running.alive or time.monotonic() > deadline:
            problem = _not_ready(running, timeout_s)
            running.stop(2.0)
            raise problem
    return running


def _listen(running: Running, said_ready: threading.Event) -> None:
    """Read what the process prints: first the ready line, then whatever comes, so that its pipe never fills."""
    output = running.process.stdout
    assert output is not None
    with output:
        for raw in output:
            line = raw.decode(errors="replace").strip()
            answer = _json(line) if not said_ready.is_set() else {}
            if answer.get("ready"):
                running.ready.update(answer)
                said_ready.set()
            else:
                running.lines.append(line)


def _json(line: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _not_ready(running: Running, timeout_s: float) -> UserError:
    """Return why a process is not ready: in its own words and with its own exit code when it gave up by itself."""
    end = running.log.read_text(errors="replace")[-LOG_TAIL:].strip()
    code = running.process.poll()
    kind = next((kind for kind in (UsageError, ConfigurationError) if kind.exit_code == code), NotReachedError)
    if kind is not NotReachedError and end:
        return kind(f"{end.splitlines()[-1].removeprefix('xedm: ')} (said by the {running.name}, log: {running.log})")
    got = "nothing" if code is None else f"exit code {code}"
    said = f"; it says: {end}" if end else ""
    return NotReachedError(f"{running.name} must be ready within {timeout_s:g} s, got {got}{said} (log: {running.log})")


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None and not pipe.closed:
        pipe.close()
