"""`xedm export`: runs as tables."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import say


def export(
    files: Annotated[list[Path], typer.Argument(help="files of documents, *.documents.jsonl")],
    output: Annotated[Path | None, typer.Option(help="folder for the tables; default: beside each file")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings")] = None,
) -> None:
    """Write each run's points as a CSV file, SAMPLE-scan_id-N-primary.csv, for the readers in use at TPS 25A.

    Example: xedm export xedm-output/0a1b2c3d.documents.jsonl
    """
    from service.config import load_settings
    from service.documents import read_documents
    from service.export import export_csv

    pattern = load_settings(config).spool.detector_files
    for file in files:
        table = export_csv(read_documents(file), output or file.parent, detector_files=pattern)
        say(f"{file}: no point, no table" if table is None else str(table))
