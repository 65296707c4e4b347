"""An event loop that is on time: what the beamline does shall not end up to a millisecond late."""

import asyncio
import select
import selectors
from typing import Any


class PromptSelector(selectors.DefaultSelector):
    """The system's selector with timeouts of a microsecond: those of epoll are rounded up to the next millisecond."""

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait for events, at most `timeout` s."""
        if timeout is not None and timeout > 0.0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0.0
        return super().select(timeout)


def prompt_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop, for `asyncio.Runner`."""
    return asyncio.SelectorEventLoop(PromptSelector())
