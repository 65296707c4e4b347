"""`xedm sim`: hand over to the simulated beamline, a program of its own."""

import os
import sys
from typing import Annotated

import typer

from service.cli.simulation import check_simulation


def sim(
    context: typer.Context,
    detector: Annotated[str, typer.Option(help="eig1m or eig16m")] = "eig1m",
    sample: Annotated[str, typer.Option(help="au-sio2 or nv-lp")] = "au-sio2",
    speed: Annotated[float, typer.Option(help="simulated seconds a second")] = 1.0,
    seed: Annotated[int, typer.Option(help="repeats a run exactly")] = 0,
    truth: Annotated[str | None, typer.Option(help="folder for what a perfect receiver must find")] = None,
    fault: Annotated[list[str] | None, typer.Option(help="NAME[:ARG], may be repeated; 'help' lists them")] = None,
) -> None:
    """Start the simulated beamline and wait; prints one JSON line when it is ready.

    Example: xedm sim --detector eig1m --speed 100
    """
    check_simulation(detector, sample, speed)
    words = ["--detector", detector, "--sample", sample, "--speed", str(speed), "--seed", str(seed)]
    if truth is not None:
        words += ["--truth", truth]
    for name in fault or []:
        words += ["--fault", name]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "sim", *words, *context.args])  # noqa: S606 - our own interpreter, no shell
