"""`xedm shell`: IPython with the RunEngine, the devices, the plans and the live result at hand."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.errors import UsageError

if TYPE_CHECKING:
    from service.catalog.client import CatalogProcess
    from service.config import Settings
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
    no_catalog: Annotated[bool, typer.Option("--no-catalog", help="start no catalogue of runs")] = False,
) -> None:
    """Open a Bluesky session.

    Example: xedm shell --sim
    """
    if sim == (config is not None):
        raise UsageError("give either --sim, or --config FILE with the beamline's PV names")
    if sim:
        _simulated(output, detector=detector, sample=sample, speed=speed, seed=seed, catalog=not no_catalog)
    else:
        _real(config, output, catalog=not no_catalog)


def _simulated(output: Path, *, detector: str, sample: str, speed: float, seed: int, catalog: bool) -> None:
    from service.catalog.client import CatalogProcess
    from service.config import Settings
    from service.kept_metadata import KeptMetadata
    from service.processes import start_live, start_sim, watching_ring_of
    from service.session import beamline_names, build_session, close_channels, point_at

    settings = Settings().changed({"catalog.enabled": catalog})
    beamline = start_sim(output, detector=detector, sample=sample, speed=speed, seed=seed)
    try:
        # With the spool the frames of each run can be read back from the catalogue.
        live_settings = ["spool.enabled=true", watching_ring_of(beamline.ready["ca_server_port"])]
        live = start_live(output, stream=beamline.ready["stream"], settings=live_settings)
        try:
            point_at(beamline, live)
            names = beamline_names(settings, detector=detector, live_prefix=live.ready["prefix"])
            metadata = KeptMetadata(output / "metadata.json")
            session = build_session(names, metadata=metadata, log=output / "session.log", suspend=True)
            process = CatalogProcess(output) if catalog else None
            try:
                _talk(session, output, settings, process, _welcome(detector, live))
            finally:
                close_channels()
                live.stop()  # first: the catalogue waits for its last result file
                _close(process)
        finally:
            live.stop()
    finally:
        beamline.stop()


def _real(config: Path | None, output: Path, *, catalog: bool) -> None:
    from service.catalog.client import CatalogProcess
    from service.config import load_settings
    from service.kept_metadata import KeptMetadata
    from service.session import beamline_names, build_session, provide_repeater

    provide_repeater()
    settings = load_settings(config)
    settings = settings.changed({"catalog.enabled": settings.catalog.enabled and catalog})
    metadata = KeptMetadata(output / "metadata.json")
    session = build_session(beamline_names(settings), metadata=metadata, log=output / "session.log", suspend=True)
    process = CatalogProcess(output, config) if settings.catalog.enabled else None
    try:
        _talk(session, output, settings, process, _welcome(session["beamline"].detector.name, None))
    finally:
        _close(process)


def _welcome(detector: str, live: "Running | None") -> str:
    page = f"Live page: {live.ready['http']}\n" if live is not None and "http" in live.ready else ""
    return (
        "XEDM session. Positions in um, exposures in s.\n"
        f"{page}"
        f"Try:  RE(ensemble_scan([{detector}, live], stage, 0, 40, 0, 40, 10, 10))\n"
        "Ctrl-C twice pauses (shutter closed, exposure void); then RE.resume() or RE.abort().\n"
        "help shows what else there is; leaving the session disarms the detector.\n"
    )


def _talk(
    session: dict[str, Any], output: Path, settings: "Settings", process: "CatalogProcess | None", banner: str
) -> None:
    """Give the session its prompt until the person leaves."""
    from service.catalog.client import NoCatalog, catalog_of_session
    from service.live_plot import LivePlotter
    from service.prompt import Prompt

    session["live"].plotter = LivePlotter(output)
    # Without a name of its own, `cat` would be the shell's, which waits for what is typed next.
    session["cat"] = catalog_of_session(process, settings, output) if settings.catalog.enabled else NoCatalog()
    Prompt(session, output, settings).talk(banner)


def _close(process: "CatalogProcess | None") -> None:
    problem = "" if process is None else process.stop()
    if problem:
        sys.stderr.write(f"xedm: {problem}\n")
