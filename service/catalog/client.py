"""The catalogue as the name `cat` of a session: connected at its first use, so that a session starts without it."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.config import Settings
from service.errors import ConfigurationError, NotReachedError, UserError
from service.processes import Running, start

FOLDER = "catalog"
"""In the output folder."""
ADDRESS = "server.json"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 90.0
"""For what is still to be written."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Tiled server is.

    Attributes
    ----------
    url : str
    key : str
        Never shown, never in an address.
    """

    url: str
    key: str

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def address_of(settings: Settings, output: Path) -> Address:
    """Return the address of the configured server, or of the one that runs for an output folder.

    Raises
    ------
    ConfigurationError
        When a server is configured and its key is nowhere.
    NotReachedError
        When none runs.
    """
    catalog = settings.catalog
    if catalog.server is not None:
        key = os.environ.get(catalog.key_variable, "")
        if not key:
            raise ConfigurationError(
                f"the key of {catalog.server} must be in the environment variable {catalog.key_variable}, got none; "
                "set it, or set catalog.enabled to false"
            )
        return Address(catalog.server, key)
    path = output / FOLDER / ADDRESS
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Address(str(told["url"]), str(told["key"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise NotReachedError(
            f"a catalogue must run for {output}, got none ({path}); start one with: xedm catalog --output {output}"
        ) from None


def connect(address: Address) -> Any:
    """Return the client of a catalogue, its runs in the order in which they began.

    Raises
    ------
    NotReachedError
        When the server does not answer, or not to this key.
    """
    import httpx
    from tiled.client import from_uri

    try:
        client = from_uri(address.url, api_key=address.key)
        # A run that was written late, or anew, is none the newer for it.
        return client.sort(("start.time", 1))
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise NotReachedError(
            f"catalogue {address.url} must answer, got {type(error).__name__}: {str(error).splitlines()[0]}; see "
            "whether the server runs, and whether the key is right"
        ) from None


def open_catalog(output: Path | str = Path("xedm-output"), settings: Settings | None = None) -> Any:
    """Return the catalogue of an output folder, for scripts and notebooks; `xedm catalog` must run, or a session.

    Examples
    --------
    >>> run = open_catalog("xedm-output")[-1]  # doctest: +SKIP
    """
    return connect(address_of(settings or Settings(), Path(output)))


class CatalogProcess:
    """The process that keeps the catalogue of a folder, started beside a session without waiting for it.

    Parameters
    ----------
    output : Path
    config : Path, optional
        The session's TOML file.
    """

    def __init__(self, output: Path, config: Path | None = None) -> None:
        self._output, self._started = output, Future[Running]()
        words = ["-m", "service.cli", "catalog", "--output", str(output), "--with-parent"]
        words += [] if config is None else ["--config", str(config)]
        self._words = words
        self._thread = threading.Thread(target=self._start, daemon=True, name="catalogue")
        self._thread.start()

    def _start(self) -> None:
        try:
            self._started.set_result(
                start("catalogue", self._words, self._output / "catalog.log", START_TIMEOUT_S, nice=10)
            )
        except BaseException as error:  # noqa: BLE001 - whoever asks for it is told
            self._started.set_exception(error)

    def running(self) -> Running:
        """Wait until it is ready.

        Raises
        ------
        NotReachedError
            When it is not in time.
        """
        return self._started.result(START_TIMEOUT_S + 10.0)

    def stop(self) -> str:
        """Let it write what there is, and end it; returns what did not work."""
        try:
            running = self.running()
        except Exception as error:  # noqa: BLE001 - the session ends, with or without a catalogue
            return str(error)
        code = running.stop(STOP_TIMEOUT_S)
        return "" if code == 0 else f"the catalogue ended with code {code} (log: {running.log})"


class LazyCatalog:
    """`cat`: the catalogue of runs, the newest is ``cat[-1]``; also by scan number, unique id or its beginning.

    Everything that Tiled's client can, this can: it is asked at the first use.
    """

    def __init__(self, reach: Callable[[], Any]) -> None:
        self._reach = reach
        self._client: Any = None

    def connected(self) -> Any:
        """Return Tiled's own client.

        Raises
        ------
        NotReachedError
            When there is no server.
        """
        if self._client is None:
            self._client = self._reach()
        return self._client

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # IPython asks for many that are not there, before anyone uses the catalogue
            raise AttributeError(name)
        return getattr(self.connected(), name)

    def __getitem__(self, key: Any) -> Any:
        return self.connected()[key]

    def __len__(self) -> int:
        return len(self.connected())

    def __iter__(self) -> Iterator[str]:
        return iter(self.connected())

    def __contains__(self, key: object) -> bool:
        return key in self.connected()

    def __repr__(self) -> str:
        return repr(self.connected())


def catalog_of_session(process: CatalogProcess | None, settings: Settings, output: Path) -> LazyCatalog:
    """Return `cat` of a session."""

    def reach() -> Any:
        if process is not None:
            process.running()
        return connect(address_of(settings, output))

    return LazyCatalog(reach)


def wait_for_address(output: Path, timeout_s: float) -> Address:
    """Return the address of another process's server for this folder, once it has one.

    Raises
    ------
    NotReachedError
        When it has none in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return address_of(Settings(), output)
        except NotReachedError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


class NoCatalog:
    """What `cat` is in a session that has no catalogue: a sentence."""

    def __repr__(self) -> str:
        return (
            "this session has no catalogue of runs (--no-catalog, or catalog.enabled = false); start one that has, or "
            "fill one afterwards: xedm catalog"
        )

    def __getitem__(self, key: object) -> object:
        """Refuse.

        Raises
        ------
        UserError
            Always.
        """
        raise UserError(repr(self))
