"""`xedm report`: the page about a run that a group takes home."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import say


def report(
    result: Annotated[Path, typer.Argument(help="result file, series_<id>.nxs")],
    documents: Annotated[
        Path | None, typer.Option(help="the run's documents (JSON lines); default: those beside the result")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="folder; default: that of the result")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
) -> None:
    """Write one page about a run: sum, image, metrics, every frame's total and chi^2, settings, sample and times.

    Example: xedm report xedm-output/series_1.nxs
    """
    import json

    from service.report import write_report

    path = write_report(result, output, documents)
    say(json.dumps({"file": str(path)}) if as_json else str(path))
