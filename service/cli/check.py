"""`xedm check`: is everything reachable, and does it make sense; changes nothing."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.check import Finding, exit_code, spoken
from service.errors import UsageError

if TYPE_CHECKING:
    from service.config import Settings

TIMEOUT_S = 5.0
MARKS = {"ok": "ok", "note": "note", "wrong": "WRONG", "invalid": "INVALID", "unreached": "NO ANSWER"}
COLORS = {"ok": "green", "note": "yellow", "wrong": "red", "invalid": "red", "unreached": "red"}


def check(
    config: Annotated[Path | None, typer.Option(help="TOML file with settings and the beamline's PV names")] = None,
    stream: Annotated[str | None, typer.Option(help="tcp://HOST:PORT of the detector")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, may be repeated")] = None,
    timeout: Annotated[float, typer.Option(help="for every answer, s")] = TIMEOUT_S,
    all_: Annotated[
        bool, typer.Option("--all", help="every PV in a line of its own, also those that are well")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line instead of text")] = False,
) -> None:
    """See whether everything a scan needs can be reached, how quickly, and what to do where it cannot.

    Looks at every PV, the stream, the detector's API, the output folder, clocks and ports.
    It only reads: nothing on the beamline is moved or written, and no frame is taken.

    Example: xedm check --config beamline.toml
    """
    from service.config import check_endpoint, load_settings

    if not 0.1 <= timeout <= 300.0:
        raise UsageError(f"--timeout must be from 0.1 to 300 s, got {timeout:g}")
    settings = load_settings(config, set_ or ())
    if stream is not None:
        settings = settings.changed({"stream.connect": stream})
    for address in (settings.stream.connect, settings.stream.bind):
        if address:
            check_endpoint(address)
    begun = time.monotonic()
    findings = []
    with _busy(quiet=as_json):
        for finding in look(settings, timeout):
            findings.append(finding)
            if as_json:
                print(json.dumps(_as_json(finding)), flush=True)
    code = exit_code(findings)
    if as_json:
        print(json.dumps(_summary(findings, code, time.monotonic() - begun)), flush=True)
    else:
        show(findings if all_ else list(gathered(findings)))
        _say_in_all(findings, code, time.monotonic() - begun)
    raise typer.Exit(code)


def look(settings: "Settings", timeout_s: float) -> Iterator[Finding]:
    """Look at everything, one thing after the other.

    Parameters
    ----------
    settings : service.config.Settings
    timeout_s : float
        For every answer.

    Yields
    ------
    Finding
    """
    from service.check_ca import check_environment, check_repeater
    from service.check_disk import check_output
    from service.check_network import check_catalog, check_detector_api, check_page, check_pv_port, check_stream
    from service.session import close_channels, provide_repeater

    yield from check_environment(os.environ)
    yield from check_repeater(os.environ)
    provide_repeater()
    try:
        answers = yield from look_at_pvs(settings, timeout_s)
    finally:
        close_channels()
    yield from check_stream(settings, timeout_s)
    yield from check_detector_api(settings.beamline.detector_api, timeout_s)
    yield from check_page(settings, timeout_s)
    yield from check_catalog(settings, os.environ, timeout_s)
    yield from check_pv_port(settings, answers=answers)
    yield from check_output(settings)


def look_at_pvs(settings: "Settings", timeout_s: float) -> Any:
    """Look at the PVs, what they say, and the clocks of those who serve them; returns whether the service answers."""
    from devices.beamline import build_beamline
    from service.check_beamline import check_beamline, stream_version
    from service.check_doubles import check_doubles, search_addresses
    from service.check_pvs import check_answers, check_clocks, connect
    from service.session import beamline_names, send_logs_to

    send_logs_to(None)
    begun = time.monotonic()
    beamline = build_beamline(beamline_names(settings))
    signals = beamline.signals()
    took = connect(signals, begun, timeout_s)
    yield from check_answers(signals, took, beamline.written(), timeout_s)
    yield from check_doubles({name: several[0].pvname for name, several in signals.items()}, search_addresses())
    yield from check_beamline(beamline, settings.beamline, lambda signal: signal in took)
    if beamline.detector.cam.armed in took:
        yield from stream_version(beamline.detector, settings.stream.connect)
    yield from check_clocks(signals, took, beamline.ring.countdown)
    return beamline.live.state in took


def gathered(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Put PVs of a device that are all well, or all silent, into one line; everything else stays as it is."""
    findings = list(findings)
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault(_key(finding), []).append(finding)
    for finding in findings:
        several = alike.pop(_key(finding), [])
        if len(several) == 1:
            yield finding
        elif several:
            yield _in_one(several)


def _key(finding: Finding) -> tuple[str, str, str]:
    """What findings have in common that go into one line; a finding that is no answer of a PV goes alone."""
    for words in ("answers in", "no answer within"):
        if finding.said.startswith(words):
            return finding.area, finding.state, words
    return finding.area, finding.state, f"{finding.what} {finding.said}"


def _in_one(several: list[Finding]) -> Finding:
    first = several[0]
    if first.state == "unreached":
        return replace(first, what=f"{first.what} and {len(several) - 1} more")
    slowest = max(one.took_s or 0.0 for one in several)
    return replace(first, what=f"{first.what} ...", said=f"{len(several)} PVs answer, the last in {spoken(slowest)}")


def show(findings: Iterable[Finding]) -> None:
    """Print a table on a terminal, and plain lines where there is none."""
    if not sys.stdout.isatty():
        for finding in findings:
            do = f"; {finding.do}" if finding.do else ""
            print(f"{MARKS[finding.state]:<9} {finding.area}: {finding.what}: {finding.said}{do}")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_lines=False, pad_edge=False)
    for title in ("", "", "what", "found", "what to do"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        mark = f"[{COLORS[finding.state]}]{MARKS[finding.state]}[/]"
        table.add_row(mark, *map(escape, (finding.area, finding.what, finding.said, finding.do)))
    Console().print(table)


def _busy(*, quiet: bool) -> Any:
    """A sign of life on a terminal while answers are waited for."""
    from contextlib import nullcontext

    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("Looking at everything a scan needs ...")


def _say_in_all(findings: list[Finding], code: int, took_s: float) -> None:
    counts = _counts(findings)
    bad = counts["wrong"] + counts["invalid"] + counts["unreached"]
    verdict = "Everything is well." if not code else f"{bad} of {len(findings)} must be mended before a scan."
    notes = f" {counts['note']} worth knowing." if counts["note"] else ""
    print(f"{len(findings)} looked at in {took_s:.1f} s. {verdict}{notes}")


def _counts(findings: list[Finding]) -> dict[str, int]:
    return {state: sum(finding.state == state for finding in findings) for state in MARKS}


def _summary(findings: list[Finding], code: int, took_s: float) -> dict[str, Any]:
    return {"checked": len(findings), **_counts(findings), "exit_code": code, "took_s": round(took_s, 3)}


def _as_json(finding: Finding) -> dict[str, Any]:
    took = None if finding.took_s is None else round(finding.took_s, 4)
    return {
        "area": finding.area,
        "what": finding.what,
        "state": finding.state,
        "said": finding.said,
        "do": finding.do,
        "took_s": took,
    }
