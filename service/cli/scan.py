"""`xedm scan`: the ensemble scan from the command line."""

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from service.cli.simulation import check_simulation
from service.errors import NotReachedError, UsageError
from service.status import ENDED

if TYPE_CHECKING:
    from service.catalog.client import CatalogProcess
    from service.config import Settings

SIM_SPEED = 100.0
FINAL_STATES = (*ENDED, "idle")
"""Idle: the series ended before its first frame, and nothing is left of it."""
WRITING_TIMEOUT_S = 60.0
"""For the final file, beyond the time in which the service ends a series without an end and makes its last image."""


def scan(
    x: Annotated[tuple[float, float, float], typer.Option(help="START STOP STEP in um, STOP included")],
    y: Annotated[tuple[float, float, float], typer.Option(help="START STOP STEP in um, STOP included")],
    exposure: Annotated[float, typer.Option(help="exposure of a point, s")],
    config: Annotated[Path | None, typer.Option(help="TOML file with the beamline's PV names")] = None,
    sim: Annotated[
        bool, typer.Option("--sim", help="start a simulated beamline and a live service of its own")
    ] = False,
    output: Annotated[Path, typer.Option(help="folder for the result and the documents")] = Path("xedm-output"),
    detector: Annotated[str, typer.Option(help="with --sim: eig1m or eig16m")] = "eig1m",
    sample: Annotated[str, typer.Option(help="with --sim: au-sio2 or nv-lp")] = "au-sio2",
    speed: Annotated[float, typer.Option(help="with --sim: simulated seconds a second")] = SIM_SPEED,
    seed: Annotated[int, typer.Option(help="with --sim: repeats a run exactly")] = 0,
    http: Annotated[int, typer.Option(help="with --sim: port of the live page, 0: a free one")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line instead of text")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="with --sim: section.key=value for the service, may be repeated")
    ] = None,
    no_catalog: Annotated[bool, typer.Option("--no-catalog", help="leave the catalogue of runs alone")] = False,
) -> None:
    """Scan a membrane, one exposure a point, and say what came of it.

    Example: xedm scan --sim --x 0 90 10 --y 0 90 10 --exposure 10
    """
    if sim == (config is not None):
        raise UsageError("give either --sim, or --config FILE with the beamline's PV names")
    rectangle = (x, y, exposure)
    check_rectangle(*rectangle)
    if sim:
        check_simulation(detector, sample, speed)
        simulation = {"detector": detector, "sample": sample, "speed": speed, "seed": seed}
        code = _simulated(output, rectangle, as_json, http, set_ or [], catalog=not no_catalog, **simulation)
    else:
        code = _real(config, output, rectangle, as_json, catalog=not no_catalog)
    raise typer.Exit(code)


def check_rectangle(x: tuple[float, float, float], y: tuple[float, float, float], exposure: float) -> None:
    """Refuse what no scan can be, before anything is started.

    Raises
    ------
    UsageError
        With the sentence for the person.
    """
    from plans.trajectory import snake_raster

    try:
        snake_raster(x, y)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not exposure > 0.0:
        raise UsageError(f"--exposure must be above 0 s, got {exposure:g} s")


Rectangle = tuple[tuple[float, float, float], tuple[float, float, float], float]


def _simulated(
    output: Path, rectangle: Rectangle, as_json: bool, http: int, pairs: list[str], *, catalog: bool, **simulation: Any
) -> int:
    from service.config import load_settings
    from service.processes import start_live, start_sim, watching_ring_of
    from service.session import beamline_names, close_channels, point_at

    beamline = start_sim(output, **simulation)
    try:
        live_settings = [watching_ring_of(beamline.ready["ca_server_port"]), *pairs]
        live = start_live(output, stream=beamline.ready["stream"], http=http, settings=live_settings)
        try:
            point_at(beamline, live)
            settings = load_settings(None, pairs)
            settings = settings.changed({"catalog.enabled": settings.catalog.enabled and catalog})
            names = beamline_names(settings, detector=simulation["detector"], live_prefix=live.ready["prefix"])
            if not as_json:
                sys.stderr.write(f"live page: {live.ready.get('http', 'off')}\n")
            page = live.ready.get("http")
            known = {"sample": simulation["sample"], "page": page, "tell": _hear}
            return run_scan(names, output, rectangle, settings, as_json=as_json, **known)
        finally:
            close_channels()
            live.stop()
    finally:
        beamline.stop()


def _hear(_: str) -> None:
    """Hear how long the scan would take at the beamline, and say nothing: simulated time is quicker."""


def _real(config: Path | None, output: Path, rectangle: Rectangle, as_json: bool, *, catalog: bool) -> int:
    from service.config import load_settings
    from service.session import beamline_names, provide_repeater

    provide_repeater()
    settings = load_settings(config)
    settings = settings.changed({"catalog.enabled": settings.catalog.enabled and catalog})
    return run_scan(beamline_names(settings), output, rectangle, settings, as_json=as_json, config=config)


def run_scan(
    names: dict[str, Any],
    output: Path,
    rectangle: Rectangle,
    settings: "Settings",
    *,
    as_json: bool,
    sample: str | None = None,
    page: str | None = None,
    config: Path | None = None,
    tell: Callable[[str], object] = print,
) -> int:
    """Run the scan in this process and say how it ended; returns the exit code.

    Raises
    ------
    NotReachedError
        When PVs do not answer, or something was not reached in time.
    UserError
        When the scan failed otherwise, with what the device or plan said.
    """
    from bluesky.utils import RequestAbort, RunEngineInterrupted

    from service.catalog.client import CatalogProcess
    from service.documents import DocumentWriter, ScanProgress
    from service.export import CsvExport
    from service.kept_metadata import KeptMetadata
    from service.live_news import LiveNews
    from service.scan_failure import told_in_a_sentence
    from service.session import build_session, end_suspenders

    stopper, log = StopOnSignal(), output / "session.log"
    metadata = KeptMetadata(output / "metadata.json")
    session = build_session(names, metadata=metadata, context_managers=[stopper.watch], log=log, suspend=True)
    engine, detector, live = session["RE"], session["beamline"].detector, session["live"]
    writer, table = DocumentWriter(output), CsvExport(output, settings.spool.detector_files)
    for callback in (writer, LiveNews(live)):
        engine.subscribe(callback)
    if settings.catalog.csv:
        engine.subscribe(table)
    engine.subscribe(ScanProgress(as_json=as_json))
    x, y, exposure = rectangle
    plan = session["ensemble_scan"](
        [detector, live], session["stage"], x[0], x[1], y[0], y[1], (x[2], y[2]), exposure, sample=sample, tell=tell
    )
    uid, series, stopped = "", -1, False
    process = CatalogProcess(output, config) if settings.catalog.enabled else None
    with told_in_a_sentence(log):
        try:
            with contextlib.redirect_stdout(sys.stderr):  # bluesky prints; standard output is for results
                (uid,) = engine(plan)
        except (RunEngineInterrupted, RequestAbort):
            stopped = True
        finally:
            series = int(detector.series.get())
            session["beamline"].make_safe()
            end_suspenders(engine)
        if not as_json:
            sys.stderr.write("scan ended; the service makes the last image and the final file ...\n")
        outcome = (
            _outcome(live, series) | _from_page(page) | {"uid": uid, "stopped": stopped, "documents": str(writer.path)}
        )
    writer.close()
    if process is not None:
        outcome["catalog"] = _catalogued(process)
    if table.path is not None:
        outcome["table"] = str(table.path)
    _say(outcome, as_json)
    return 0 if stopped else _code(outcome)


def _catalogued(process: "CatalogProcess") -> bool:
    """Let the catalogue take the run; one that did not can be filled later from the file of documents."""
    problem = process.stop()
    if problem:
        sys.stderr.write(f"the run is not in the catalogue yet: {problem}\n")
    return not problem


def _outcome(live: Any, series: int) -> dict[str, Any]:
    """Books of the series once the service has closed them."""
    if series < 0:
        return {"series": None, "state": "idle", "counts": {}}
    timeout_s = float(live.ends_within.get(use_monitor=False)) + WRITING_TIMEOUT_S
    deadline = time.monotonic() + timeout_s
    while (state := str(live.state.get(use_monitor=False))) not in FINAL_STATES:
        if time.monotonic() > deadline:
            raise NotReachedError(
                f"live service must close series {series} within {timeout_s:g} s, got state {state}; see its page"
            )
        time.sleep(0.1)
    if state == "idle":
        return {"series": series, "state": state, "counts": {}}
    counts = {name: int(getattr(live.frames, name).get(use_monitor=False)) for name in live.frames.component_names}
    return {"series": series, "state": state, "counts": counts}


def _from_page(page: str | None) -> dict[str, Any]:
    """What only the service's page knows: where the result is, and frames without a final verdict."""
    if page is None:
        return {}
    from service.http_client import ask

    status = ask(page, "/status", timeout_s=10.0)
    return {"result": status["result"], "unresolved": status["unresolved"]}


def _code(outcome: dict[str, Any]) -> int:
    counts = outcome["counts"]
    if outcome["state"] == "failed":
        return 1
    return 5 if counts.get("missing") or counts.get("corrupt") or outcome.get("unresolved") else 0


def _say(outcome: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome), flush=True)
        return
    counts = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in outcome["counts"].items() if number)
    end = outcome["state"]
    if outcome["stopped"]:
        end = "stopped before its last point (done=done_points(RESULT) in xedm shell goes on)"
    result = f"\nresult: {outcome['result']}" if outcome.get("result") else ""
    table = f"\ntable: {outcome['table']}" if outcome.get("table") else ""
    print(
        f"series {outcome['series']} {end}: {counts or 'no frame'}{result}\ndocuments: {outcome['documents']}{table}",
        flush=True,
    )


class StopOnSignal:
    """Ends the run at the first Ctrl-C or SIGTERM: there is no prompt at which a pause could be ended."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._before: dict[int, Any] = {}

    def watch(self, engine: Any) -> Self:
        """Take the RunEngine (bluesky makes its context managers so)."""
        self._engine = engine
        return self

    def __enter__(self) -> Self:
        """Take over the signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        del frame
        reason = f"stopped by {signal.Signals(number).name}"
        # Not from the handler itself: it must not wait for the engine that it interrupts.
        threading.Thread(target=self._end, args=(reason,), daemon=True).start()

    def _end(self, reason: str) -> None:
        if not self._engine.state.is_idle:
            self._engine.abort(reason)
