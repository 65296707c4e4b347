"""`xedm reprocess`: the same screening and sum on Eiger files."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import advance, say, set_up_logging
from service.config import load_settings


def reprocess(
    files: Annotated[list[Path], typer.Argument(help="Eiger master files")],
    output: Annotated[Path | None, typer.Option(help="folder for results; default ./xedm-output")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, may be repeated")] = None,
    workers: Annotated[int, typer.Option(help="threads", min=1, max=64)] = 2,
    points: Annotated[Path | None, typer.Option(help="live result of the scan: its points, vetoes, frames")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line instead of text")] = False,
) -> None:
    """Screen and sum the frames of Eiger master files as the live service does.

    Example: xedm reprocess series_5_master.h5 --set screening.chi2_ratio_max=1.8
    """
    settings = load_settings(config, set_ or [])
    if output is not None:
        settings = settings.changed({"output.directory": output})
    set_up_logging()
    from rich.console import Console
    from rich.progress import Progress

    from service.reprocess import reprocess_file

    code = 0
    for path in files:
        with Progress(console=Console(stderr=True), disable=as_json or not sys.stderr.isatty()) as bar:
            task = bar.add_task(path.name, total=None)
            show = partial(advance, bar, task)
            result = reprocess_file(path, settings, show, workers=workers, points=points)
        if result.counts["corrupt"] or result.counts["missing"] or result.unresolved:
            code = 5
        if as_json:
            print(json.dumps({**dataclasses.asdict(result), "result": str(result.result)}), flush=True)
        else:
            counts = ", ".join(f"{name} {count}" for name, count in result.counts.items() if count)
            say(f"{path.name}: {counts}\n  image: {result.image}\n  file: {result.result}")
    raise typer.Exit(code)
