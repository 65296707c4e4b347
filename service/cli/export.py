"""`xedm export`: a map of a result file for another program."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import say


def export(
    result: Annotated[Path, typer.Argument(help="result file, series_<id>.nxs")],
    to: Annotated[str, typer.Option(help="png, tiff, edf or cxi")] = "png",
    what: Annotated[
        str | None,
        typer.Option(help="sum, background, amplitude or reconstruction; default: sum, and for cxi the amplitude"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="folder; default: that of the result")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
) -> None:
    """Write a map of a result file for another program: a picture, exact numbers, or what phasing programs read.

    Example: xedm export xedm-output/series_1.nxs --to tiff --what sum
    """
    import json

    from service.export import export as write

    path = write(result, to, what, output)
    say(json.dumps({"file": str(path)}) if as_json else str(path))
