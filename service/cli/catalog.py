"""`xedm catalog`: the catalogue of an output folder, served and kept up to date."""

import json
import logging
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import end_with_input, set_up_logging
from service.errors import UserError

if TYPE_CHECKING:
    from service.catalog.follow import Follower
    from service.config import Settings

log = logging.getLogger("xedm.catalog")

LOOK_EVERY_S = 0.25
TAKE_OVER_EVERY_S = 1.0
DRAIN_S = 20.0
"""How long the end waits for result files that are not final yet; the next start takes them up."""


def catalog(
    output: Annotated[Path, typer.Option(help="folder with results and documents")] = Path("xedm-output"),
    config: Annotated[Path | None, typer.Option(help="TOML file with settings")] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="end when standard input closes")] = False,
) -> None:
    """Serve the catalogue of an output folder and put every run into it, new and old.

    A session does this by itself; here it is for looking at old runs without one. Prints one JSON line when it is
    ready: its server and the file with the key. Example: xedm catalog --output xedm-output
    """
    from service.config import load_settings

    settings = load_settings(config)
    set_up_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if with_parent:
        threading.Thread(target=end_with_input, args=(stop,), name="parent", daemon=True).start()
    keep(settings, output, stop)


def keep(settings: "Settings", output: Path, stop: threading.Event) -> None:
    """Keep the catalogue of a folder until told to stop; where another process does, stand by.

    Raises
    ------
    UserError
        When there is no such folder.
    """
    from service.catalog.client import FOLDER, wait_for_address
    from service.claim import Claim

    if not output.is_dir():
        raise UserError(f"folder {output} must be there, got none; give --output with the folder of a session")
    claim = Claim.take(output / FOLDER)
    if claim is None:
        if settings.catalog.server is None:
            _ready(wait_for_address(output, 60.0).url, output)
        else:
            _ready(settings.catalog.server, None)
        while claim is None and not stop.wait(TAKE_OVER_EVERY_S):
            claim = Claim.take(output / FOLDER)
        if claim is None:
            return
    try:
        _serve(settings, output, stop)
    finally:
        claim.give_back()


def _serve(settings: "Settings", output: Path, stop: threading.Event) -> None:
    from service.catalog.client import FOLDER, address_of, connect
    from service.catalog.follow import Follower
    from service.catalog.writer import TiledSink

    server: Any = None
    client: Any = None
    if settings.catalog.server is None:
        from service.catalog.server import CatalogServer

        server = CatalogServer(output / FOLDER, [output], settings.catalog.port)
    try:
        address = address_of(settings, output) if server is None else server.address
        client = connect(address)
        sink = TiledSink(client, allow=None if server is None else server.allow)
        follower = Follower(output, sink, settings.spool.detector_files)
        _ready(address.url, None if server is None else output)
        while not stop.wait(LOOK_EVERY_S):
            _step(follower)
        deadline = time.monotonic() + DRAIN_S
        while not _step(follower) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
    finally:
        if client is not None:
            client.context.http_client.close()
        if server is not None:
            server.close()


def _step(follower: "Follower") -> bool:
    """One look; a server that does not answer now may later, and the files stay."""
    try:
        return follower.step()
    except OSError as error:
        log.warning("the catalogue could not be written: %s", error)
        return False


def _ready(url: str, output: Path | None) -> None:
    from service.catalog.client import ADDRESS, FOLDER

    told: dict[str, Any] = {"ready": True, "http": url}
    if output is not None:
        told["key_file"] = str((output / FOLDER / ADDRESS).resolve())
    print(json.dumps(told), flush=True)
