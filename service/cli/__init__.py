"""The command `xedm`: one file a subcommand, each light to import so that help is quick."""

import os
import sys

import typer

from service.cli import (
    catalog,
    check,
    demo,
    export,
    live,
    queue,
    reconstruct,
    recover,
    reprocess,
    reproduce,
    rescreen,
    scan,
    shell,
    sim,
)
from service.errors import UserError

app = typer.Typer(
    name="xedm",
    help="Live processing for X-ray ensemble diffraction microscopy. Start with: xedm demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(demo.demo)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(sim.sim)
app.command()(live.live)
app.command()(scan.scan)
app.command()(shell.shell)
app.command()(check.check)
app.command()(catalog.catalog)
app.command()(export.export)
app.command()(queue.queue)
app.command()(reprocess.reprocess)
app.command()(rescreen.rescreen)
app.command()(recover.recover)
app.command()(reconstruct.reconstruct)
app.command()(reproduce.reproduce)


def main() -> None:
    """Run the command line; a user's mistake is a sentence and an exit code, never a traceback."""
    # Before bitshuffle is imported: our own threads work side by side, each on one core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"xedm: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("xedm: stopped\n")
        sys.exit(0)
