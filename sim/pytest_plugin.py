"""pytest plugin: a simulated beamline for tests of your own plans.

Installed with the package and loaded by every pytest of the environment, so it imports nothing heavy. It offers two
fixtures, `xedm_beamline` and `xedm_beamline_options`; see ``docs/how-to/test-your-plan.md``.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

START_TIMEOUT_S = 90.0
"""The first start compiles."""
STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedBeamline:
    """Where a running simulation is.

    Attributes
    ----------
    ca_server_port, repeater_port
        Channel Access on loopback.
    stream
        Endpoint of the detector's stream, to connect a PULL socket to.
    prefix
        Start of the PV names, ``25A:``.
    detector, sample, speed, seed
        What is simulated.
    files, truth
        Folders of the detector's files and of what a perfect receiver must find.
    """

    ca_server_port: int
    repeater_port: int
    stream: str
    prefix: str
    detector: str
    sample: str
    speed: float
    seed: int
    files: Path
    truth: Path

    @property
    def environment(self) -> dict[str, str]:
        """EPICS settings with which a client finds this simulation and nothing else."""
        from sim.ports import client_environment

        return client_environment(self.ca_server_port, self.repeater_port)


@contextmanager
def running_beamline(
    folder: Path, options: Sequence[str] = (), *, timeout_s: float = START_TIMEOUT_S
) -> Iterator[SimulatedBeamline]:
    """Run a simulated beamline of your own for the length of a ``with`` block; the environment stays as it is.

    Parameters
    ----------
    folder
        Receives the detector's files, the truth and the log.
    options
        Of ``python -m sim``, for example ``["--speed", "50", "--seed", "3"]``.
    timeout_s
        For the start, s.

    Raises
    ------
    RuntimeError
        If the simulation does not say ready in time; the message holds the end of its log.
    """
    truth, log = folder / "truth", folder / "sim.log"
    # -P: a folder named sim beside the caller's tests must not be taken for the simulation.
    command = [sys.executable, "-P", "-m", "sim", "--with-parent", "--truth", str(truth)]
    command += ["--output", str(folder / "files"), *options]
    folder.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            ready = _ready(process, timeout_s, log)
            names = ("ca_server_port", "repeater_port", "prefix", "detector", "sample", "speed", "seed")
            yield SimulatedBeamline(
                **{name: ready[name] for name in names},  # type: ignore[arg-type]
                stream=str(ready["stream"]),
                files=Path(str(ready["files"])),
                truth=truth,
            )
        finally:
            _stop(process)


def _ready(process: subprocess.Popen[bytes], timeout_s: float, log: Path) -> dict[str, object]:
    """The ready line of `process`."""
    assert process.stdout is not None
    line = b""
    deadline = time.monotonic() + timeout_s
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(process.stdout.fileno(), 65536) if readable else b""
        if not piece:
            end = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(
                f"the simulated beamline must be ready within {timeout_s} s, got {line!r} and exit code "
                f"{process.poll()}; its log ends with:\n{end}"
            )
        line += piece
    answer: dict[str, object] = json.loads(line)
    return answer


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT_S)


@pytest.fixture(scope="session")
def xedm_beamline_options() -> list[str]:
    """Options of ``python -m sim`` for `xedm_beamline`; override it in your conftest.py."""
    return ["--speed", "100"]


@pytest.fixture(scope="session")
def xedm_beamline(
    tmp_path_factory: pytest.TempPathFactory, xedm_beamline_options: list[str]
) -> Iterator[SimulatedBeamline]:
    """One simulated beamline for the whole test session, on free loopback ports.

    Every ``EPICS_CA*`` setting of the test process is replaced, so that a test can never reach a real beamline.
    Importing ophyd or epics before is fine, talking to a PV is not: the client library reads its settings at its first.
    """
    _refuse_open_channels()
    from sim.ports import replace_epics_environment

    inherited = {name: value for name, value in os.environ.items() if name.startswith("EPICS_CA")}
    with running_beamline(tmp_path_factory.mktemp("beamline"), xedm_beamline_options) as beamline:
        replace_epics_environment(beamline.environment)
        try:
            yield beamline
        finally:
            _close_channels()
            replace_epics_environment(inherited)


def _refuse_open_channels() -> None:
    """Raise if this process has already talked to PVs: it would go on talking to those."""
    if "epics" not in sys.modules:
        return
    channels = [name for context in sys.modules["epics"].ca._cache.values() for name in context]  # noqa: SLF001
    if channels:
        raise RuntimeError(
            "the first PV of the test session must be one of the simulated beamline, got "
            f"{', '.join(sorted(channels)[:5])}; request the fixture xedm_beamline before any device is made"
        )


def _close_channels() -> None:
    """Disconnect this process' PVs, so that libca does not complain that the server went away."""
    if "epics" not in sys.modules:
        return
    for pv in list(sys.modules["epics"].pv._PVcache_.values()):
        with suppress(Exception):
            pv.disconnect()
