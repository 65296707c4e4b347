"""The driver as a receiver of its own detector's stream, when DataSource is Stream.

PUSH deals messages out in turn: while this one listens, any other receiver gets only every other frame.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable

import zmq
import zmq.asyncio


class DriverStream:
    """Counts the images that reach the driver.

    Parameters
    ----------
    endpoint
        Of the detector's stream.
    on_images
        Called with 1 for every image.
    """

    def __init__(self, endpoint: str, on_images: Callable[[int], None]) -> None:
        self._on_images = on_images
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.connect(endpoint)
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._receive())

    async def wait_end(self, timeout_s: float) -> None:
        """Wait for the end of a series, `timeout_s` of wall time at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout_s)

    async def close(self) -> None:
        """Leave the stream to others."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._context.destroy(linger=0)

    async def _receive(self) -> None:
        while True:
            parts = await self._socket.recv_multipart()
            kind = json.loads(parts[0]).get("htype", "")
            if kind.startswith("dimage-"):
                self._on_images(1)
            elif kind.startswith("dseries_end-"):
                self._ended.set()
