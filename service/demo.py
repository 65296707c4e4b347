"""The whole way in one go: simulation, service, Bluesky scan; and its live sum held against the truth."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.config import Settings
from service.documents import DocumentWriter
from service.errors import NotReachedError, UserError
from service.http_client import status_of
from service.listen import listen_tcp, port_of
from service.own_sum import own_sum
from service.processes import Running, start_live, start_sim, watching_ring_of
from service.scan_failure import told_in_a_sentence
from service.session import beamline_names, build_session, close_channels, leave_safely, point_at
from service.status import ENDED

STEP_UM = 10.0
EXPOSURE_S = {"au-sio2": 10.0, "nv-lp": 1.0}
"""The paper exposed au-sio2 for 60 s; a sixth of it is enough here and keeps the demonstration short."""
DIAMETER_M = {"au-sio2": 55e-9, "nv-lp": 19e-9}
SPEED = {("eig1m", "au-sio2"): 200.0, ("eig16m", "au-sio2"): 30.0, ("eig1m", "nv-lp"): 20.0, ("eig16m", "nv-lp"): 5.0}
GATE_LATENCY_S = 0.1
"""What the session needs at most between looking at the countdown and the trigger, real seconds; the gate keeps so much
more free before an injection, since simulated seconds pass faster."""
_STATUS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What a user may choose.

    Attributes
    ----------
    points : tuple of int
        Points along x and y, 10 um apart.
    speed : float or None
        Simulated seconds a second; None: one that fits detector and sample.
    exposure_s : float or None
        Of a point; None: one that keeps the demonstration short.
    packing, spread_nm : float
        Of the particles, as `xedm sim` takes them.
    """

    detector: str = "eig1m"
    sample: str = "au-sio2"
    points: tuple[int, int] = (20, 20)
    seed: int = 0
    speed: float | None = None
    http: int = 0
    exposure_s: float | None = None
    packing: float = 0.0
    spread_nm: float = 0.0


@dataclass(slots=True, kw_only=True)
class Demo:
    """A running demonstration: two processes and a folder."""

    options: DemoOptions
    folder: Path
    sim: Running
    live: Running

    @property
    def truth(self) -> Path:
        """Folder of what a perfect receiver must find."""
        return self.folder / "truth"

    @property
    def log(self) -> Path:
        """Log of the session that scans; those of the two processes lie beside it."""
        return self.folder / "session.log"

    @property
    def url(self) -> str:
        """Address of the live page."""
        return str(self.live.ready["http"])

    def status(self) -> dict[str, Any]:
        """Ask the service for its status.

        Raises
        ------
        NotReachedError
            When it does not answer.
        """
        return status_of(self.live, _STATUS_TIMEOUT_S)

    def wait_until_ended(self, say: Callable[[dict[str, Any]], None], writing_s: float = 60.0) -> dict[str, Any]:
        """Wait until the series has left `receiving` and its file is final.

        Raises
        ------
        NotReachedError
            When that takes longer than the service has for a series without an end, and `writing_s` for the file.
        """
        begun, status = time.monotonic(), self.status()
        timeout_s = status["ends_within_s"] + writing_s
        while status["state"] not in ENDED:
            if time.monotonic() - begun > timeout_s:
                raise NotReachedError(
                    f"series must end within {timeout_s:g} s after its last frame, it is still {status['state']} "
                    f"(log: {self.live.log})"
                )
            say(status)
            time.sleep(0.2)
            status = self.status()
        return status

    def stop(self) -> None:
        """End both processes."""
        self.live.stop()
        self.sim.stop()


def fresh_folder(output: Path, name: str = "demo") -> Path:
    """Make a folder of its own for this run: `demo`, or `demo_2`, ... where there is one."""
    count, folder = 1, output / name
    while folder.exists():
        count += 1
        folder = output / f"{name}_{count}"
    folder.mkdir(parents=True)
    return folder.resolve()


def start_demo(options: DemoOptions, folder: Path, pairs: Sequence[str] = ()) -> Demo:
    """Start the simulated beamline and the live service, and point this process at them.

    Parameters
    ----------
    options : DemoOptions
    folder : Path
        For everything that comes of it; must be there.
    pairs : sequence of str
        `section.key=value` for the service.

    Raises
    ------
    UserError
        When one of them does not come up.
    """
    speed = options.speed or SPEED[options.detector, options.sample]
    with (
        listen_tcp(0, what="the stream", option="--stream-port") as held,
        listen_tcp(0, what="the simulated PVs", option="--ca-port") as also_held,
    ):
        port, ca_port = port_of(held), port_of(also_held)
    diameter = f"reconstruction.object_diameter_m={DIAMETER_M[options.sample]}"
    settings = [diameter, watching_ring_of(ca_port), *pairs]
    with ThreadPoolExecutor(2) as pool:  # side by side, for each compiles at its first start
        starting = pool.submit(
            start_sim,
            folder,
            detector=options.detector,
            sample=options.sample,
            speed=speed,
            seed=options.seed,
            truth=folder / "truth",
            options=[
                *("--stream-port", str(port), "--ca-port", str(ca_port)),
                *("--packing", f"{options.packing:g}", "--spread-nm", f"{options.spread_nm:g}"),
            ],
        )
        stream = f"tcp://127.0.0.1:{port}"
        receiving = pool.submit(start_live, folder, stream=stream, http=options.http, settings=settings)
    for one, other in ((starting, receiving), (receiving, starting)):
        if one.exception() is not None and other.exception() is None:
            other.result().stop()
    sim, live = starting.result(), receiving.result()
    demo = Demo(options=options, folder=folder, sim=sim, live=live)
    point_at(sim, live)
    return demo


def _hear(_: str) -> None:
    """Hear and say nothing."""


def scan(demo: Demo, progress: Callable[[str, dict[str, Any]], None]) -> Path:
    """Run the Bluesky scan; return the file of its documents.

    Parameters
    ----------
    demo : Demo
    progress : callable
        Gets every document's name and content.

    Raises
    ------
    UserError
        When the scan failed, with what the device or plan said.
    KeyboardInterrupt
        When the person stopped it.
    """
    from bluesky.utils import RunEngineInterrupted

    from devices.storage_ring import MARGIN_S

    options = demo.options
    names = beamline_names(Settings(), detector=options.detector, live_prefix=demo.live.ready["prefix"])
    session = build_session(names, log=demo.log)
    documents = DocumentWriter(demo.folder)
    session["RE"].subscribe(documents)
    session["RE"].subscribe(progress)
    x, y = ((count - 1) * STEP_UM / 2 for count in options.points)
    detectors = [session[options.detector], session["live"]]
    exposure = options.exposure_s or EXPOSURE_S[options.sample]
    plan = session["ensemble_scan"](
        detectors,
        session["stage"],
        -x,
        x,
        -y,
        y,
        STEP_UM,
        exposure,
        sample=options.sample,
        margin=MARGIN_S + GATE_LATENCY_S * float(demo.sim.ready["speed"]),
        tell=_hear,  # how long it would take at the beamline
    )
    try:
        with told_in_a_sentence(demo.log):
            session["RE"](plan)
    except RunEngineInterrupted:
        raise KeyboardInterrupt from None
    finally:
        leave_safely(session["beamline"], session["RE"])
        close_channels()
    if documents.path is None:
        raise UserError("the scan gave no documents; see the log of the simulated beamline")
    return documents.path


def truth_sum(demo: Demo, series: int, frames: Sequence[int]) -> Path:
    """Have the simulation write its own exact sum over some frames; return the file.

    Raises
    ------
    UserError
        When it cannot.
    """
    return own_sum(demo.truth, series, frames, demo.folder / "truth_sum.npz")
