"""HTTP connections that cannot be hoarded: bounded in number, and in the time they may take to say what they want."""

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger("xedm.web")

MAX_CONNECTIONS = 256
"""Beyond that a new one is closed at once: descriptors are needed for result files too."""
REQUEST_WITHIN_S = 10.0


class PromptProtocol(H11Protocol):
    """Closes a connection whose request line and headers do not come in time, however slowly they trickle."""

    _late: asyncio.TimerHandle | None = None
    _told = False

    def connection_made(self, transport: Any) -> None:
        """Take a new connection, if there is room."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            if not PromptProtocol._told:
                PromptProtocol._told = True
                log.warning("more than %d connections at a time; further ones are closed", MAX_CONNECTIONS)
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Read what came; a whole request ends the waiting."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._late is None and not self.transport.is_closing():
            self._wait()  # for the rest of the next request on this connection

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._stop_waiting()
        super().on_response_complete()

    def _wait(self) -> None:
        self._late = self.loop.call_later(REQUEST_WITHIN_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
