"""Write runs into Tiled."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from bluesky_tiled_plugins.writing.tiled_writer import BATCH_SIZE, RunNormalizer, TiledWriter, _RunWriter

from service.documents import Document


class TiledSink:
    """Bluesky's TiledWriter, one writer a run, with tables that can be read while a run goes on.

    Parameters
    ----------
    client : tiled.client.container.Container
        Root of the catalogue.
    allow : callable, optional
        Told the folder of each file that is referred to.
    """

    def __init__(self, client: Any, allow: Callable[[Path], None] | None = None) -> None:
        self._client, self._allow = client, allow
        self._writer = _FlushingWriter(client, batch_size=BATCH_SIZE)

    def has(self, uid: str) -> bool:
        """Whether a run is there with its stop document."""
        with _as_os_error():
            return uid in self._client and "stop" in self._client[uid].metadata

    def remove(self, uid: str) -> None:
        """Remove what is there of a run: it is written anew, whole. The files it refers to stay."""
        with _as_os_error():
            if uid in self._client:
                self._client.delete_contents(uid, recursive=True, external_only=False)

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document."""
        if name == "stream_resource" and self._allow is not None:
            self._allow(Path(unquote(urlsplit(doc["uri"]).path)).parent)
        with _as_os_error():
            self._writer(name, doc)

    def flush(self) -> None:
        """Make the events taken so far readable."""
        with _as_os_error():
            self._writer.flush()

    def forget(self, uid: str) -> None:
        """Hold nothing of a run any more."""
        self._writer.runs.pop(uid, None)


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise OSError(f"the catalogue did not take it: {str(error).splitlines()[0]}") from error


class _FlushingWriter(TiledWriter):
    """Batches by time instead of by number: 500 events of a run without a stop would not be readable at all."""

    runs: dict[str, Any]

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.runs = {}

    def _factory(self, name: str, doc: Document) -> tuple[list[Any], list[Any]]:
        del name
        run = self.runs[doc["uid"]] = _RunWriter(self.client, batch_size=self._batch_size)
        normalizer = RunNormalizer()
        normalizer.subscribe(run)
        return [normalizer], []

    def flush(self) -> None:
        for run in self.runs.values():
            for stream, rows in run._internal_data_cache.items():  # noqa: SLF001 - it flushes at its end only
                if rows:
                    run._write_internal_data(rows, run._desc_nodes[stream])  # noqa: SLF001
                    rows.clear()
