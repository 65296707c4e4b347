"""`xedm demo`: the whole beamline, simulated, in one go, with a table of what was reached."""

import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.simulation import check_simulation
from service.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from service.demo import Demo, DemoOptions
    from service.proof import Proof

_LABELS = ("accepted", "low_intensity", "streak", "background", "gated")


def demo(
    detector: Annotated[str, typer.Option(help="eig1m or eig16m")] = "eig1m",
    sample: Annotated[str, typer.Option(help="au-sio2 or nv-lp")] = "au-sio2",
    points: Annotated[str, typer.Option(help="NXxNY points, 10 um apart")] = "20x20",
    output: Annotated[Path, typer.Option(help="folder for results")] = Path("xedm-output"),
    keep: Annotated[bool, typer.Option("--keep", help="leave everything running until Ctrl-C")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="do not open the live page")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line instead of text")] = False,
    seed: Annotated[int, typer.Option(help="repeats a run exactly", min=0)] = 0,
    speed: Annotated[float | None, typer.Option(help="simulated seconds a second; default: fits the detector")] = None,
    http: Annotated[int, typer.Option(help="port of the live page, 0: a free one")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value for the service")] = None,
) -> None:
    """Run the simulated beamline, a Bluesky scan and the live service, and hold the sum against the truth.

    Example: xedm demo --points 10x10
    """
    options = _options(detector, sample, points, seed, speed, http)
    from rich.console import Console

    from service.demo import fresh_folder, start_demo

    console = Console(quiet=as_json)
    tell = _Teller(console, as_json=as_json)
    console.print(f"Starting the simulated beamline ({detector}, {sample}) and the live service ...")
    begun = time.monotonic()
    running = start_demo(options, fresh_folder(output), set_ or [])
    try:
        tell.event("ready", f"Live page: {running.url}", http=running.url, folder=str(running.folder))
        if not no_browser and not as_json:
            import webbrowser

            webbrowser.open(running.url)
        proof, status, files = _run(running, tell)
        tell.proof(proof, status, files, time.monotonic() - begun)
        if keep:
            console.print("Everything keeps running; Ctrl-C ends it.")
            while running.live.alive:
                time.sleep(0.2)
    except KeyboardInterrupt:
        console.print("Stopping ...")
        raise typer.Exit(0) from None
    finally:
        running.stop()
    raise typer.Exit(0 if proof.passed else 1)


def _options(detector: str, sample: str, points: str, seed: int, speed: float | None, http: int) -> "DemoOptions":
    from service.demo import DemoOptions

    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", points)
    if match is None or not int(match[1]) or not int(match[2]):
        raise UsageError(f"--points must look like 20x20, got {points!r}")
    check_simulation(detector, sample, speed)
    return DemoOptions(
        detector=detector,
        sample=sample,
        points=(int(match[1]), int(match[2])),
        seed=seed,
        speed=speed,
        http=http,
    )


def _run(running: "Demo", tell: "_Teller") -> tuple["Proof", dict[str, Any], dict[str, Path]]:
    from service.demo import scan, truth_sum
    from service.documents import ScanProgress
    from service.proof import accepted_frames, prove

    documents = scan(running, ScanProgress(as_json=tell.as_json))
    tell.event("scanned", "Scan done; making the last image and the final file ...")
    status = running.wait_until_ended(lambda _: None)
    result = Path(status["result"])
    own = truth_sum(running, status["series"], accepted_frames(result))
    files = {"result": result, "truth": running.truth, "documents": documents}
    return prove(result, running.truth / f"series_{status['series']}.json", own), status, files


class _Teller:
    """Says the same thing as text for a person or as JSON lines for a program."""

    def __init__(self, console: "Console", *, as_json: bool) -> None:
        self.console, self.as_json = console, as_json

    def line(self, **facts: Any) -> None:
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()

    def event(self, name: str, text: str, **facts: Any) -> None:
        self.console.print(text)
        if self.as_json:
            self.line(event=name, **facts)

    def proof(self, proof: "Proof", status: dict[str, Any], files: dict[str, Path], seconds: float) -> None:
        """Print the table, or one JSON object with the same content."""
        if self.as_json:
            self.line(
                event="result",
                passed=proof.passed,
                state=status["state"],
                counts=status["counts"],
                balanced=status["balanced"],
                confusion=[[*pair, count] for pair, count in sorted(proof.confusion.items())],
                rows=[{"what": r.what, "ours": r.ours, "wanted": r.wanted, "reached": r.reached} for r in proof.rows],
                files={name: str(path) for name, path in files.items()},
                seconds=round(seconds, 1),
            )
            return
        from rich.table import Table

        frames = Table(title="Frames: what they truly were (rows) and the verdict (columns)", title_justify="left")
        frames.add_column("label")
        columns = [name for name in (*_LABELS, "missing") if any(found == name for _, found in proof.confusion)]
        for name in columns:
            frames.add_column(name, justify="right")
        for label in sorted({label for label, _ in proof.confusion}, key=_order):
            frames.add_row(label, *(str(proof.confusion.get((label, found), "")) for found in columns))
        self.console.print(frames)
        table = Table(title="What was reached", title_justify="left")
        for name in ("", "ours", "wanted", "reached"):
            table.add_column(name)
        for row in proof.rows:
            table.add_row(row.what, row.ours, row.wanted, {True: "yes", False: "NO", None: ""}[row.reached])
        self.console.print(table)
        for name, place in files.items():
            self.console.print(f"{name:>10}: {place}", soft_wrap=True)
        self.console.print(f"Series {status['series']} {status['state']}, {seconds:.0f} s in all.")


def _order(label: str) -> int:
    return _LABELS.index(label) if label in _LABELS else len(_LABELS)
