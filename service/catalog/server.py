"""A Tiled server of our own in a thread: SQLite beside the results, 127.0.0.1 only, a random key."""

import contextlib
import io
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import uvicorn
from bluesky_tiled_plugins.exporters import json_seq_exporter
from tiled.catalog import from_uri
from tiled.commandline._catalog import init as make_tables
from tiled.config import Authentication
from tiled.media_type_registration import default_serialization_registry
from tiled.server.app import build_app
from tiled.storage import parse_storage, register_storage
from tiled.utils import ensure_uri

from service.catalog.client import ADDRESS, Address
from service.errors import NotReachedError
from service.listen import LOOPBACK, listen_tcp, port_of
from service.whole_file import aside_of

log = logging.getLogger("xedm.catalog")

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
_RUNS = [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}]
"""Gives the client what bluesky's people expect: the newest run is [-1], and a scan number finds its run."""


class CatalogServer:
    """Serves the catalogue in a folder until it is closed.

    Parameters
    ----------
    folder : Path
        Of the catalogue's own files: `catalog.db` (runs), `storage.duckdb` (tables) and `data`.
    readable : iterable of Path
        Folders from which frames may be read; nothing outside of them is.
    port : int
        0 for a free one.

    Raises
    ------
    NotReachedError
        When it does not come up.
    """

    def __init__(self, folder: Path, readable: Iterable[Path] = (), port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / ADDRESS
        self._file.unlink(missing_ok=True)  # of one that was killed
        (folder / "data").mkdir(exist_ok=True)
        tables = ensure_uri(f"duckdb:///{(folder / 'storage.duckdb').resolve()}")
        database = (folder / "catalog.db").resolve()
        if not database.exists():
            # What `from_uri` would start a process for, which takes three seconds longer. Aside: a half-made one stays.
            aside = aside_of(database)
            aside.unlink(missing_ok=True)
            with contextlib.redirect_stderr(io.StringIO()):  # it tells the person that it does
                make_tables(str(aside), if_not_exists=True)
            os.replace(aside, database)
        self._catalog = from_uri(
            database,
            specs=_RUNS,
            writable_storage=[(folder / "data").resolve(), tables],
            readable_storage=[path.resolve() for path in readable],
        )
        logging.getLogger("tiled.server.app").setLevel(logging.WARNING)  # it tells its version
        key = secrets.token_hex(32)
        # With it a client can ask for a run as documents: `run.documents()`.
        default_serialization_registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)
        app = build_app(self._catalog, authentication=Authentication(single_user_api_key=key))
        self._socket = listen_tcp(port, what="the catalogue", option="catalog.port")
        self.address = Address(f"http://{LOOPBACK}:{port_of(self._socket)}", key)
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, log_level="warning", access_log=False, lifespan="on", loop="asyncio")
        )
        self._thread = threading.Thread(target=self._run, daemon=True, name="catalogue server")
        self._thread.start()
        self._wait_until_up()
        self._tell()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise NotReachedError(
                    f"the catalogue's server must be up within {START_TIMEOUT_S:g} s, got none; see the log"
                )
            time.sleep(0.02)

    def allow(self, folder: Path) -> None:
        """Let frames be read from a folder: Tiled takes references to any file, and refuses to read outside."""
        storage = parse_storage(folder.resolve())
        register_storage(storage)
        self._catalog.context.readable_storage.setdefault(storage.uri, storage)

    def _tell(self) -> None:
        """Write address and key where only this user can read them."""
        aside = self._file.with_name(f".{ADDRESS}.{secrets.token_hex(4)}")
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump({"url": self.address.url, "key": self.address.key}, file)
        os.replace(aside, self._file)

    def close(self) -> None:
        """End the server."""
        self._file.unlink(missing_ok=True)
        self._server.should_exit = True
        self._thread.join(STOP_TIMEOUT_S)
        self._socket.close()
