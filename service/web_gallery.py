"""Pictures for the page: each rendered at most once a change and at most a few times a second."""

import asyncio
import time
from dataclasses import dataclass

from service.preview import Picture, render
from service.source import LiveSource, Preview, PreviewName

MIN_INTERVAL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Hung:
    """A picture and the numbers it was made from."""

    preview: Preview
    picture: Picture


class Gallery:
    """Holds the newest picture of each kind."""

    def __init__(self, source: LiveSource) -> None:
        self._source = source
        self._hung: dict[PreviewName, Hung] = {}
        self._rendered_at: dict[PreviewName, float] = {}
        self._locks: dict[PreviewName, asyncio.Lock] = {}
        self.renderings = 0

    async def get(self, what: PreviewName) -> Hung | None:
        """Return the newest picture, None before there is one.

        Viewers who ask while it is being rendered wait for that one rendering. Faster than `MIN_INTERVAL_S` a change
        waits its turn instead of being answered with an old picture, so the last change is never missed.
        """
        async with self._locks.setdefault(what, asyncio.Lock()):
            preview = await asyncio.to_thread(self._source.preview, what)
            if preview is None:
                self._hung.pop(what, None)
                return None
            hung = self._hung.get(what)
            if hung is not None and hung.preview.version == preview.version:
                return hung
            early = self._rendered_at.get(what, 0.0) + MIN_INTERVAL_S - time.monotonic()
            if early > 0:
                await asyncio.sleep(early)
                preview = await asyncio.to_thread(self._source.preview, what) or preview
            picture = await asyncio.to_thread(render, preview)
            self.renderings += 1
            self._rendered_at[what] = time.monotonic()
            self._hung[what] = hung = Hung(preview=preview, picture=picture)
            return hung
