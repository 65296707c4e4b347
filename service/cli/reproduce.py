"""`xedm reproduce`: the digital twin of the paper's run, with figures and a table of ours beside the paper's."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.simulation import check_simulation
from service.errors import UsageError

if TYPE_CHECKING:
    from service.reproduce.run import Outcome

_PLAIN_EVERY = 0.1
"""Of the frames: how often progress is said where there is no terminal."""


def reproduce(
    sample: Annotated[str, typer.Argument(help="au-sio2 or nv-lp")],
    frames: Annotated[int | None, typer.Option(help="default: the paper's, 1676 or 85616", min=1)] = None,
    detector: Annotated[str, typer.Option(help="eig1m or eig16m")] = "eig1m",
    output: Annotated[Path, typer.Option(help="folder for results")] = Path("xedm-output"),
    seed: Annotated[int, typer.Option(help="repeats a run exactly", min=0)] = 0,
    data_sets: Annotated[int, typer.Option(help="so many, with seeds from --seed on", min=1, max=1000)] = 1,
    packing: Annotated[float, typer.Option(help="part of space the particles fill", min=0, max=0.6)] = 0.0,
    spread_nm: Annotated[float, typer.Option(help="standard deviation of the diameters", min=0, max=3)] = 0.0,
    scan: Annotated[bool, typer.Option("--scan", help="with motors and RunEngine, in simulated time")] = False,
    workers: Annotated[int | None, typer.Option(help="threads that draw frames; default: all cores", min=1)] = None,
    again: Annotated[Path | None, typer.Option(help="folder of such a run: measure and draw it anew")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value for service and image")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line instead of text")] = False,
) -> None:
    """Repeat the paper's run on simulated frames through the real service, and hold it against paper and model.

    Ends with 0 when every wanted value that applies was reached, else with 1.

    Example: xedm reproduce au-sio2
    """
    import os

    from service.config import Settings, parse_pairs
    from service.demo import fresh_folder
    from service.reproduce.acquire import Order
    from service.reproduce.paper import RUNS
    from service.reproduce.run import measure_again, reproduce_run

    check_simulation(detector, sample, None)
    if scan and data_sets > 1:
        raise UsageError(f"--scan makes one data set a command, got --data-sets {data_sets}; give each its --seed")
    Settings().changed(parse_pairs(set_ or []))
    tell = _Teller(as_json=as_json)
    try:
        if again is not None:
            outcome = measure_again(_before(again, sample), again, tell)
        else:
            run = RUNS[sample]
            orders = [
                Order(
                    run=run,
                    detector=detector,
                    frames=frames or run.default_frames,
                    seed=seed + number,
                    packing=packing,
                    spread_nm=spread_nm,
                    workers=workers or os.cpu_count() or 1,
                    scan=scan,
                    settings=tuple(set_ or []),
                )
                for number in range(data_sets)
            ]
            outcome = reproduce_run(orders, fresh_folder(output, f"reproduce_{sample}"), tell, tell.progress)
    except KeyboardInterrupt:
        tell.end()
        raise typer.Exit(0) from None
    tell.table(outcome)
    raise typer.Exit(0 if outcome.passed else 1)


def _before(folder: Path, sample: str) -> list[Any]:
    from service.reproduce.acquire import acquired_before

    places = sorted(folder.glob("data_set_*"), key=lambda place: (len(place.name), place.name))
    if not places:
        raise UsageError(
            f"--again must be the folder of a run of xedm reproduce, got none of its data sets in {folder}"
        )
    found = [acquired_before(place) for place in places]
    if any(one.order.run.sample != sample for one in found):
        raise UsageError(f"--again must be a run of {sample}, got one of {found[0].order.run.sample}")
    return found


class _Teller:
    """Says the same thing as text for a person or as JSON lines for a program."""

    def __init__(self, *, as_json: bool) -> None:
        from rich.console import Console

        self.console: Console = Console(quiet=as_json, highlight=False)
        self.as_json = as_json
        self._bar: Any = None
        self._task: Any = None
        self._said = -1.0
        self._begun = time.monotonic()

    def __call__(self, event: str, text: str, **facts: Any) -> None:
        """Say that something has begun or ended."""
        self.end()
        self._said = -1.0
        self.console.print(text, soft_wrap=True)
        if self.as_json:
            self._line(event=event, text=text, **facts)

    def progress(self, done: int, total: int) -> None:
        """Say how many frames came; a bar on a terminal, a line for every tenth elsewhere."""
        if self.console.is_terminal and not self.as_json:
            if self._bar is None:
                from rich.progress import Progress

                self._bar = Progress(console=self.console, transient=True)
                self._task = self._bar.add_task("frames", total=total)
                self._bar.start()
            self._bar.update(self._task, completed=done, total=total)
        elif done / total >= self._said + _PLAIN_EVERY:
            self._said = done / total
            self.console.print(f"  {done} of {total} frames")
            if self.as_json:
                self._line(event="progress", frames=done, of=total)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def table(self, outcome: "Outcome") -> None:
        """Print the table, or one JSON object with the same content."""
        seconds = time.monotonic() - self._begun
        if self.as_json:
            self._line(event="table", folder=str(outcome.folder), seconds_in_all=round(seconds, 1), **outcome.facts)
            return
        if self.console.is_terminal:
            self._rich(outcome)
        else:
            self.console.print(outcome.text, soft_wrap=True, markup=False)
        where = f"Table, figures and result files: {outcome.folder} ({seconds:.0f} s in all)"
        self.console.print(where, soft_wrap=True)

    def _rich(self, outcome: "Outcome") -> None:
        from rich.table import Table

        table = Table(title="Paper and ours", title_justify="left")
        for name, side in (
            ("", "left"),
            ("paper", "right"),
            ("ours", "right"),
            ("wanted", "left"),
            ("reached?", "left"),
            ("aim", "left"),
            ("reached? ", "left"),
        ):
            table.add_column(name, justify="right" if side == "right" else "left")
        said = {True: "yes", False: "NO", None: ""}
        for row in outcome.rows:
            table.add_row(row.what, row.paper, row.ours, row.wanted, said[row.reached], row.aim, said[row.aimed])
        self.console.print(table)
        for note in outcome.notes:
            self.console.print(f"- {note}", soft_wrap=True)

    def _line(self, **facts: Any) -> None:
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
