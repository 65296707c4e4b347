"""The running sums, pooled for a screen: read out of their bit planes at most once a second, however many look."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.pipeline import Pipeline
from service.preview import step_of
from service.series import Series

READ_EVERY_S = 0.9
FORGET_AFTER_S = 10.0
SumName = Literal["sum", "background"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledSum:
    """A sum of one moment.

    Attributes
    ----------
    pixels : ndarray of float32
        Brightest valid pixel of every `step` x `step` block, NaN for a block without one.
    step : int
    shape : tuple of int
        Of the sum itself.
    frames : int
        How many are in it.
    version : int
        What `changes` said just before it was read.
    """

    pixels: NDArray[np.float32]
    step: int
    shape: tuple[int, int]
    frames: int
    version: int


class PooledSums:
    """Sums of the series that runs, as small as somebody wants them.

    Parameters
    ----------
    pipeline : Pipeline
    changes : callable
        Counts whatever has changed.
    """

    def __init__(self, pipeline: Pipeline, changes: Callable[[], int]) -> None:
        self._pipeline, self._changes = pipeline, changes
        self._kept: dict[tuple[SumName, int], tuple[float, Series, PooledSum]] = {}
        self._one_reads = threading.Lock()

    def get(self, what: SumName, step: int | None = None) -> PooledSum | None:
        """Return a sum that is not older than `READ_EVERY_S`, None before it has a frame.

        Parameters
        ----------
        what : {"sum", "background"}
        step : int, optional
            Side of a block; that of a preview by default.
        """
        with self._one_reads:
            series = self._pipeline.series
            if series is None or series.shape is None:
                return None
            step = step_of(series.shape) if step is None else step
            now = time.monotonic()
            self._kept = {key: one for key, one in self._kept.items() if now - one[0] < FORGET_AFTER_S}
            kept = self._kept.get((what, step))
            if kept is not None and kept[1] is series and now - kept[0] < READ_EVERY_S:
                return kept[2]
            fresh = self._read(what, series, step)
            if fresh is not None:
                self._kept[what, step] = time.monotonic(), series, fresh
            return fresh

    def _read(self, what: SumName, series: Series, step: int) -> PooledSum | None:
        version = self._changes()
        with self._pipeline.lock:
            running = series.accepted if what == "sum" else series.background
            if running is None or not running.frames or series.shape is None:
                return None
            pixels, frames = running.brightest(step), running.frames
        return PooledSum(pixels=pixels, step=step, shape=series.shape, frames=frames, version=version)
