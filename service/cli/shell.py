"""`xedm shell`: IPython with the RunEngine, the devices, the plans and the live result at hand."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.errors import UsageError

if TYPE_CHECKING:
    from service.processes import Running

SIM_SPEED = 10.0


def shell(
    config: Annotated[Path | None, typer.Option(help="TOML file with the beamline's PV names")] = None,
    sim: Annotated[
        bool, typer.Option("--sim", help="start a simulated beamline and a live service of its own")
    ] = False,
    detector: Annotated[str, typer.Option(help="with --sim: eig1m or eig16m")] = "eig1m",
    sample: Annotated[str, typer.Option(help="with --sim: au-sio2 or nv-lp")] = "au-sio2",
    speed: Annotated[float, typer.Option(help="with --sim: simulated seconds a second")] = SIM_SPEED,
    seed: Annotated[int, typer.Option(help="with --sim: repeats a run exactly")] = 0,
    output: Annotated[Path, typer.Option(help="folder for results and documents")] = Path("xedm-output"),
) -> None:
    """Open a Bluesky session.

    Example: xedm shell --sim
    """
    if sim == (config is not None):
        raise UsageError("give either --sim, or --config FILE with the beamline's PV names")
    if sim:
        _simulated(output, detector=detector, sample=sample, speed=speed, seed=seed)
    else:
        _real(config, output)


def _simulated(output: Path, *, detector: str, sample: str, speed: float, seed: int) -> None:
    from service.config import Settings
    from service.processes import start_live, start_sim
    from service.session import beamline_names, build_session, close_channels, point_at

    beamline = start_sim(output, detector=detector, sample=sample, speed=speed, seed=seed)
    try:
        live = start_live(output, stream=beamline.ready["stream"])
        try:
            point_at(beamline, live)
            names = beamline_names(Settings(), detector=detector, live_prefix=live.ready["prefix"])
            _talk(build_session(names, log=output / "session.log"), output, _welcome(detector, live))
        finally:
            close_channels()
            live.stop()
    finally:
        beamline.stop()


def _real(config: Path | None, output: Path) -> None:
    from service.config import load_settings
    from service.session import beamline_names, build_session, keep_metadata, provide_repeater

    provide_repeater()
    settings = load_settings(config)
    session = build_session(beamline_names(settings), metadata=keep_metadata(output), log=output / "session.log")
    _talk(session, output, _welcome(session["beamline"].detector.name, None))


def _welcome(detector: str, live: "Running | None") -> str:
    page = f"Live page: {live.ready['http']}\n" if live is not None and "http" in live.ready else ""
    return (
        "XEDM session. Positions in um, exposures in s.\n"
        f"{page}"
        f"Try:  RE(ensemble_scan([{detector}, live], stage, 0, 40, 0, 40, 10, 10))\n"
        "Ctrl-C twice pauses (shutter closed, exposure void); then RE.resume() or RE.abort().\n"
        "live.read() is the result so far; leaving the session disarms the detector.\n"
    )


def _talk(session: dict[str, Any], output: Path, banner: str) -> None:
    """Run IPython on the session until the person leaves, then leave the beamline safe."""
    import IPython
    from traitlets.config import Config

    from service.documents import DocumentWriter
    from service.session import leave_safely, quiet_table

    # IPython empties the namespace when it ends.
    engine, beamline = session["RE"], session["beamline"]
    for callback in (quiet_table(), DocumentWriter(output)):
        engine.subscribe(callback)
    options = Config()
    options.TerminalIPythonApp.display_banner = False
    options.TerminalInteractiveShell.confirm_exit = False
    options.HistoryManager.enabled = sys.stdin.isatty()
    sys.stdout.write(banner)
    sys.stdout.flush()
    try:
        IPython.start_ipython(argv=["--no-banner"], user_ns=session, config=options)
    finally:
        leave_safely(beamline, engine)
