"""`xedm recover`: complete a result with frames from files."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import advance, say, set_up_logging


def recover(
    result: Annotated[Path, typer.Argument(help="result file, series_<id>.nxs")],
    from_: Annotated[
        list[Path] | None, typer.Option("--from", help="Eiger master file of the same series, may be repeated")
    ] = None,
    no_image: Annotated[bool, typer.Option("--no-image", help="leave the image out")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
) -> None:
    """Fetch missing frames from the detector's files or the spool and complete the sum.

    Example: xedm recover xedm-output/series_5.nxs --from /data/series_5_master.h5
    """
    set_up_logging()
    from rich.console import Console
    from rich.progress import Progress

    from service.ranges import in_words
    from service.recover import recover_file

    with Progress(console=Console(stderr=True), disable=as_json or not sys.stderr.isatty()) as bar:
        show = partial(advance, bar, bar.add_task(result.name, total=None))
        found = recover_file(result, from_ or [], image=not no_image, progress=show)
    if as_json:
        print(json.dumps({**dataclasses.asdict(found), "result": str(found.result)}))
    else:
        say(f"{result}: recovered {in_words(found.recovered) or 'no frame'}; image: {found.image}")
        if found.missing:
            say(f"  still missing: {in_words(found.missing)}; give the file that has them with --from")
        for frame, reason in list(found.damaged.items())[:20]:
            say(f"  frame {frame} is damaged there: {reason}")
    raise typer.Exit(5 if found.missing or found.damaged or found.unresolved else 0)
