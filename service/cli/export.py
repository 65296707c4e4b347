"""`xedm export`: runs as tables, maps of results for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import say
from service.errors import UsageError


def export(
    files: Annotated[
        list[Path], typer.Argument(help="result files, series_<id>.nxs, or files of documents, *.documents.jsonl")
    ],
    to: Annotated[
        str | None,
        typer.Option(help="png, tiff, edf or cxi for results, csv for documents; default: png and csv"),
    ] = None,
    what: Annotated[
        str | None,
        typer.Option(help="sum, background, amplitude or reconstruction; default: sum, and for cxi the amplitude"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="folder; default: beside each file")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings, for tables")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a file instead of text")] = False,
) -> None:
    """Write a result's map for another program, or a run's points as a table.

    From a result: a picture, exact numbers (TIFF, EDF), or what phasing programs read (CXI). From documents: a CSV
    file, SAMPLE-scan_id-N-primary.csv, for the readers in use at TPS 25A.

    Example: xedm export xedm-output/series_1.nxs --to tiff --what sum
    """
    import json

    for file in files:
        documents = file.suffix == ".jsonl"
        if documents and to not in (None, "csv"):
            raise UsageError(f"--to must be csv for a file of documents, got {to!r} for {file}; give a result file")
        if not documents and to == "csv":
            raise UsageError(f"--to csv needs a file of documents, got {file}; give the *.documents.jsonl beside it")
        path = _table(file, output, config) if documents else _map(file, to or "png", what, output)
        if as_json:
            say(json.dumps({"file": None if path is None else str(path)}))
        else:
            say(f"{file}: no point, no table" if path is None else str(path))


def _table(file: Path, output: Path | None, config: Path | None) -> Path | None:
    from service.config import load_settings
    from service.documents import read_documents
    from service.export import export_csv

    pattern = load_settings(config).spool.detector_files
    return export_csv(read_documents(file), output or file.parent, detector_files=pattern)


def _map(file: Path, to: str, what: str | None, output: Path | None) -> Path:
    from service.export_maps import export_map

    return export_map(file, to, what, output)
