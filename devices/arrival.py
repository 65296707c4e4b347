"""How the client learns that a frame has come: from the live service, or, without one, from the detector's files."""

from typing import Any, Protocol

from devices.eiger_cam import EigerCam
from devices.live_result import LiveResult
from devices.waiting import Latest


class Arrivals(Protocol):
    """Where frames are seen.

    Attributes
    ----------
    name : str
        For messages.
    """

    name: str

    def signals(self) -> dict[str, Any]:
        """Return what to watch, by name."""

    def newest(self, now: Latest, series: int) -> int:
        """Return the highest frame number seen of a series, -1 when none."""

    def describe(self, now: Latest) -> str:
        """Say what is seen instead of the frame waited for."""


class AtService:
    """The live service has received, decoded and judged the frame: completion as it should be."""

    name = "live service"

    def __init__(self, live: LiveResult) -> None:
        self._live = live

    def signals(self) -> dict[str, Any]:
        """Return series and number of the newest frame."""
        return {"series": self._live.series, "frame": self._live.last.frame}

    def newest(self, now: Latest, series: int) -> int:
        """Return the newest frame of the series, -1 while the service is at another."""
        known = now["series"] == series and now["frame"] is not None
        return int(now["frame"]) if known else -1

    def describe(self, now: Latest) -> str:
        """Say what the service has."""
        return f"frame {now['frame']} of series {now['series']} as the newest; see the service's page and the network"


class InFiles:
    """The driver has counted the frame in a file of its own: the fallback when there is no live service.

    Needs the FileWriter with one image a file; nothing else moves ADEiger's counter while the series runs.
    """

    name = "files of the detector"

    def __init__(self, cam: EigerCam) -> None:
        self._cam = cam

    def signals(self) -> dict[str, Any]:
        """Return the driver's counter, which starts at 0 with every series."""
        return {"count": self._cam.num_images_counter}

    def newest(self, now: Latest, series: int) -> int:  # noqa: ARG002 - the counter knows one series only
        """Return the number of the last frame counted."""
        return -1 if now["count"] is None else int(now["count"]) - 1

    def describe(self, now: Latest) -> str:
        """Say what the counter shows."""
        return f"{now['count']} in {self._cam.num_images_counter.pvname}; see the detector's screen and its disk"
