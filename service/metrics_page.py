"""The status as Prometheus metrics, read at the moment of asking."""

from collections.abc import Callable, Iterable
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from service.source import LiveSource
from service.status import State, Status

CATEGORIES = (
    "accepted", "low_intensity", "streak", "background", "gated", "corrupt", "duplicate", "foreign", "missing",
)  # fmt: skip
STATES = get_args(State)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """A registry of its own with the service's numbers and the process's memory, CPU time and descriptors.

    Parameters
    ----------
    source : LiveSource
        The running service.
    viewers, renderings : callable
        How many pages are open; how many pictures were rendered.
    """

    def __init__(self, source: LiveSource, *, viewers: Callable[[], int], renderings: Callable[[], int]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_LiveCollector(source, viewers, renderings))
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """Return the text of `/metrics`."""
        return generate_latest(self._registry)


class _LiveCollector(Collector):
    """Numbers of one series start again with the next, so they are gauges."""

    def __init__(self, source: LiveSource, viewers: Callable[[], int], renderings: Callable[[], int]) -> None:
        self._source = source
        self._viewers = viewers
        self._renderings = renderings

    def collect(self) -> Iterable[Metric]:
        status = self._source.status()
        yield from _of_books(status)
        yield from _of_state(status)
        yield _gauge("xedm_viewers", "Open live pages", self._viewers())
        yield _gauge("xedm_pictures_rendered", "Pictures rendered for the page since the start", self._renderings())
        yield InfoMetricFamily("xedm_service", "Version of the service", value={"version": status.version})


def _of_books(status: Status) -> Iterable[Metric]:
    frames = GaugeMetricFamily("xedm_frames", "Frames of this series by category", labels=["category"])
    for name in CATEGORIES:
        frames.add_metric([name], getattr(status.counts, name))
    yield frames
    yield _gauge("xedm_frames_received", "Image messages received in this series", status.counts.received)
    yield _gauge("xedm_frames_pending", "Frames whose verdict is open", status.counts.pending)
    yield _gauge("xedm_frames_behind", "Frames waiting to be processed", status.behind)
    yield _gauge("xedm_frames_durable", "Frames safe on disk", status.durable_through)
    yield _gauge("xedm_frames_unresolved", "Frames whose verdict should flip but cannot", len(status.unresolved))
    if status.announced is not None:
        yield _gauge("xedm_frames_announced", "Frames announced for this series", status.announced)
    yield _gauge("xedm_balanced", "1 when the books balance", float(status.balanced))


def _of_state(status: Status) -> Iterable[Metric]:
    state = GaugeMetricFamily("xedm_state", "1 for the state the service is in", labels=["state"])
    for name in STATES:
        state.add_metric([name], float(name == status.state))
    yield state
    yield _gauge("xedm_rate_hertz", "Frames a second", status.rate_hz)
    yield _gauge("xedm_degraded_reasons", "Reasons why the service is not well", len(status.degraded))
    yield _gauge("xedm_errors", "Errors named on the status", len(status.errors))
    if status.series is not None:
        yield _gauge("xedm_series", "Series number", status.series)
    if status.reference_total is not None:
        yield _gauge("xedm_reference_photons", "Total of a good frame", status.reference_total)
    resolution_m = status.reconstruction.resolution_m
    if resolution_m is not None:
        yield _gauge("xedm_resolution_metres", "Half-period resolution of the image", resolution_m)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
