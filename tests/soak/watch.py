"""Looks at a running service as a page and a control system do, all the while, and says what is wrong."""

import contextlib
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from caproto.sync import client
from kills import status_of

from service.processes import Running

_EVERY_S = 0.25


class Watch:
    """A thread that asks for /status, the preview and PVs.

    Attributes
    ----------
    wrong : list of str
        Books that did not balance, and silence that nothing explains.
    looks : int
    slowest_s : float
        The longest answer.
    """

    def __init__(self, ca_port: int, repeater_port: int) -> None:
        os.environ |= {
            "EPICS_CA_ADDR_LIST": "127.0.0.1",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_SERVER_PORT": str(ca_port),
            "EPICS_CA_REPEATER_PORT": str(repeater_port),
        }
        self.live: Running | None = None
        self.wrong: list[str] = []
        self.looks, self.slowest_s = 0, 0.0
        self._excused = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def excused(self) -> Iterator[None]:
        """The service cannot answer: it is stopped, or starts again."""
        self._excused.set()
        try:
            yield
        finally:
            self._excused.clear()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        turn = 0
        while not self._stop.wait(_EVERY_S):
            live, turn = self.live, turn + 1
            if live is None or self._excused.is_set():
                continue
            begun = time.monotonic()
            try:
                self._look(live, turn)
            except Exception as error:  # noqa: BLE001 - any is a finding
                time.sleep(0.5)  # who is killing it may be about to say so
                if not self._excused.is_set() and live is self.live:
                    self.wrong.append(f"no answer: {type(error).__name__}: {error}")
            else:
                if not self._excused.is_set():
                    self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
                self.looks += 1

    def _look(self, live: Running, turn: int) -> None:
        status = status_of(live)
        if not status["balanced"]:
            self.wrong.append(f"books not balanced: {status['counts']}")
        if turn % 4 == 1:
            self._preview(live)
        if turn % 8 == 1:
            balanced = client.read("XEDM:Balanced", repeater=False, timeout=10).data[0]
            if balanced != b"Yes":
                self.wrong.append(f"PV Balanced is {balanced!r}")

    def _preview(self, live: Running) -> None:
        try:
            with urllib.request.urlopen(f"{live.ready['http']}/preview.jpg", timeout=30) as answer:
                if answer.read(2) != b"\xff\xd8":
                    self.wrong.append("preview is no JPEG")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
