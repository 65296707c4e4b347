"""Server-sent events: the status, new result files and the pictures' versions, made once a change however many look."""

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, get_args

from service.source import LiveSource, PreviewName

log = logging.getLogger("xedm.web")

PREVIEW_NAMES: tuple[PreviewName, ...] = get_args(PreviewName)
STATUS_INTERVAL_S = 0.2
PREVIEW_INTERVAL_S = 1.0
HEARTBEAT_S = 5.0
MAX_VIEWERS = 100


class Feed:
    """Watches the source in a thread of its own while anybody looks, and hands each viewer the newest event only.

    A viewer that stops reading keeps one event waiting, never a queue.

    Parameters
    ----------
    source : LiveSource
        The running service.
    """

    def __init__(self, source: LiveSource) -> None:
        self._source = source
        self._events: dict[str, tuple[int, str]] = {}
        self._versions: dict[str, int] = {}
        self._saved: dict[str, Any] | None = None
        self._serial = 0
        self._viewers = 0
        self._kinds: Counter[PreviewName] = Counter()
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Condition | None = None
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="xedm-events", daemon=True)

    @property
    def viewers(self) -> int:
        """How many are looking now."""
        return self._viewers

    def start(self) -> None:
        """Begin, inside the web server's event loop."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Condition()
        self._thread.start()

    async def close(self) -> None:
        """End every viewer's stream and the thread."""
        self._stop.set()
        self._wanted.set()
        await self._publish({})
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, 5.0)

    def end_streams(self) -> None:
        """Let every viewer's stream end soon; safe from any thread."""
        self._stop.set()
        self._wanted.set()
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._publish({}), self._loop)

    async def stream(self, kinds: Sequence[PreviewName] = PREVIEW_NAMES) -> AsyncIterator[str]:
        """Yield events for one viewer, beginning with what is known now; only of these pictures the versions are told.

        A picture nobody looks at is never made: pooling a big sum or decoding a frame for it costs the service time.
        """
        changed = self._changed
        if changed is None:
            raise RuntimeError("the feed must be started before it is streamed")
        self._viewers += 1
        self._kinds.update(kinds)
        self._wanted.set()
        seen = self._serial
        try:
            yield await asyncio.to_thread(self._first_event, kinds)
            while not self._stop.is_set():
                async with changed:
                    while self._serial == seen and not self._stop.is_set():
                        await changed.wait()
                    fresh = "".join(text for serial, text in self._events.values() if serial > seen)
                    seen = self._serial
                if fresh:
                    yield fresh
        finally:
            self._viewers -= 1
            self._kinds.subtract(kinds)
            if not self._viewers:
                self._wanted.clear()

    def _first_event(self, kinds: Sequence[PreviewName]) -> str:
        status = _event("status", self._source.status().model_dump_json())
        pictures = _event("preview", json.dumps(self._picture_versions(kinds))) if kinds else ""
        return "retry: 2000\n\n" + status + pictures

    def _picture_versions(self, kinds: Iterable[PreviewName]) -> dict[str, int]:
        previews = {name: self._source.preview(name) for name in kinds}
        return {name: preview.version for name, preview in previews.items() if preview is not None}

    async def _publish(self, events: Mapping[str, str]) -> None:
        if self._changed is None:
            return
        async with self._changed:
            self._serial += 1
            for name, data in events.items():
                self._events[name] = (self._serial, _event(name, data))
            self._changed.notify_all()

    def _watch(self) -> None:
        seen, told, looked = -1, 0.0, 0.0
        while not self._stop.is_set():
            looked_at = self._wanted.wait(1.0)
            self._source.views.forget()
            if not looked_at:
                continue
            try:
                count = self._source.wait_for_change(seen, STATUS_INTERVAL_S)
                now = time.monotonic()
                events = {}
                if count != seen or now - told >= HEARTBEAT_S:
                    events["status"] = self._source.status().model_dump_json()
                    seen, told = count, now
                if now - looked >= PREVIEW_INTERVAL_S:
                    looked = now
                    events.update(self._new_pictures())
                events.update(self._new_file())
                if events and self._loop is not None:
                    asyncio.run_coroutine_threadsafe(self._publish(events), self._loop)
            except RuntimeError:  # the loop has closed: nobody is left to tell
                return
            except Exception:
                log.exception("telling viewers of a change failed; trying again")
            self._stop.wait(STATUS_INTERVAL_S)

    def _new_file(self) -> dict[str, str]:
        saved = self._source.views.saved()
        if saved == self._saved:
            return {}
        self._saved = saved
        return {} if saved is None else {"snapshot": json.dumps(saved)}

    def _new_pictures(self) -> dict[str, str]:
        versions = self._picture_versions(name for name in PREVIEW_NAMES if self._kinds[name] > 0)
        if versions == self._versions:
            return {}
        self._versions = versions
        return {"preview": json.dumps(versions)}


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
