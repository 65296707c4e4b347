"""`xedm reconstruct`: phase retrieval on a result file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import say
from service.config import Settings
from service.errors import UserError


def reconstruct(
    result: Annotated[Path, typer.Argument(help="result file, series_<id>.nxs")],
    algorithm: Annotated[str | None, typer.Option(help="hio, ghio, raar, dm or er")] = None,
    seeds: Annotated[int | None, typer.Option(help="random starts")] = None,
    iterations: Annotated[int | None, typer.Option(help="of each start or generation")] = None,
    generations: Annotated[int | None, typer.Option(help="of guided HIO")] = None,
    seed: Annotated[int | None, typer.Option(help="repeats a reconstruction exactly")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="reconstruction.key=value, may be repeated")] = None,
    output: Annotated[Path | None, typer.Option(help="folder; default: that of the result")] = None,
    workers: Annotated[int, typer.Option(help="threads; the image is the same for any number", min=1, max=64)] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
) -> None:
    """Reconstruct the image from a summed pattern, with the settings of the run unless others are given.

    Example: xedm reconstruct xedm-output/series_1.nxs --algorithm ghio
    """
    from rich.console import Console

    from service.config import parse_pairs
    from service.reconstruct_file import configured, reconstruct_file

    given = {"algorithm": algorithm, "seeds": seeds, "iterations": iterations, "generations": generations, "seed": seed}
    changes: dict[str, object] = {f"reconstruction.{name}": value for name, value in configured(result).items()}
    changes |= {f"reconstruction.{name}": value for name, value in given.items() if value is not None}
    settings = Settings().changed(changes | parse_pairs(set_ or []))
    with Console(stderr=True).status("reconstructing ..."):
        path, image = reconstruct_file(
            result, output or result.parent, settings.reconstruction, workers=workers, give_up=lambda: False
        )
    if image.image is None:
        raise UserError(f"no image from {result}: {image.message}; the amplitudes are in {path}")
    if as_json:
        print(json.dumps({"file": str(path), "seconds": image.seconds, "warnings": image.warnings, **image.figures}))
        return
    resolution = float(image.figures["resolution_m"])
    say(
        f"{path}: resolution {resolution * 1e9:.2f} nm, R {float(image.figures['r_factor']):.4f}, {image.seconds:.1f} s"
    )
    for warning in image.warnings:
        say(f"  note: {warning}")
