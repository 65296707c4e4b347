"""A run in memory behind the publishers: real sums of real draws, no sockets of its own."""

import threading
import time
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from service.preview import make_image_preview, make_preview
from service.source import PointNote, Preview, PreviewName
from service.status import Counts, LastFrame, NamedError, ReconstructionStatus, Status

RATIO_LIMITS = {"screening.chi2_ratio_max": (0.1, 1000.0), "screening.intensity_ratio_min": (0.0, 1.0)}
CATEGORIES = ("accepted", "low_intensity", "streak", "background")


class RunInMemory:
    """A `LiveSource` whose frames are drawn by the test, one `take` at a time; every number follows from them."""

    def __init__(self, shape=(96, 128), seed=3):
        self.rng = np.random.default_rng(seed)
        row, col = np.indices(shape)
        radius = np.hypot(row - shape[0] / 2, col - shape[1] / 2)
        self.mean = 40.0 * np.exp(-radius / 9.0) * (1.2 + np.cos(radius / 2.5))
        self.valid = np.ones(shape, np.uint8)
        self.valid[shape[0] // 3 : shape[0] // 3 + 4] = 0
        self.sum = np.zeros(shape, np.uint64)
        self.dark = np.zeros(shape, np.uint64)
        self.image = None
        self.newest = None
        self.now = Status(
            parameters={"version": 1, "screening.chi2_ratio_max": 1.6, "screening.intensity_ratio_min": 0.3}
        )
        self.max_side = 64
        self.points = []
        self.calls = []
        self.previews_made = 0
        self._count = 0
        self._changed = threading.Condition()

    # what the test does to it
    def update(self, **changes):
        with self._changed:
            self.now = self.now.model_copy(update=changes)
            self._count += 1
            self._changed.notify_all()

    def start(self, series=7, announced=400):
        self.sum[:] = 0
        self.dark[:] = 0
        self.update(
            state="armed", series=series, announced=announced, counts=Counts(), last=None, shape=self.sum.shape,
            pixel_size_m=75e-6, reference_total=float(self.mean[self.valid == 1].sum()), message="header seen",
            result=f"/data/series_{series}.nxs", missing_frames=[], started="2026-11-22T03:00:00Z",
        )  # fmt: skip

    def take(self, verdict="accepted", frame=None):
        strength = {"accepted": 1.0, "low_intensity": 0.1, "streak": 1.3, "background": 0.02}[verdict]
        pixels = self.rng.poisson(self.mean * strength).astype(np.uint64) * self.valid
        if verdict == "streak":
            pixels[:, self.sum.shape[1] // 2] += 30
        if verdict == "accepted":
            self.sum += pixels
        if verdict == "background":
            self.dark += pixels
        self.newest = pixels
        counts = self.now.counts.model_copy(
            update={"received": self.now.counts.received + 1, verdict: getattr(self.now.counts, verdict) + 1}
        )
        number = self.now.counts.received if frame is None else frame
        chi2 = None if verdict == "low_intensity" else float(self.rng.chisquare(500))
        last = LastFrame(frame=number, total=int(pixels.sum()), chi2=chi2, dof=500, verdict=verdict)
        self.update(
            state="receiving", counts=counts, last=last, rate_hz=9.7, durable_through=number, message="receiving"
        )

    def reconstruct(self, resolution_m=9.8e-9):
        row, col = np.indices((60, 60))
        self.image = (np.hypot(row - 30, col - 30) < 14).astype(np.float32) + self.rng.normal(0, 0.05, (60, 60))
        self.image = self.image.astype(np.float32)
        done = ReconstructionStatus(
            state="done", frames=self.now.counts.accepted, resolution_m=resolution_m, seconds=4.2, message=""
        )
        self.update(reconstruction=done)

    def fail(self, name, message):
        error = NamedError(name=name, message=message, when="2026-11-22T03:12:00Z", series=self.now.series)
        self.update(errors=[*self.now.errors, error])

    # what the publishers ask of it
    def status(self) -> Status:
        return self.now

    def change_count(self) -> int:
        return self._count

    def wait_for_change(self, seen: int, timeout_s: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._count > seen, timeout_s)
            return self._count

    def preview(self, what: PreviewName) -> Preview | None:
        self.previews_made += 1
        counts = self.now.counts
        if what == "sum" and counts.accepted:
            return make_preview(
                self.sum, self.valid, version=counts.accepted, frames=counts.accepted, max_side=self.max_side
            )
        if what == "last" and self.newest is not None:
            return make_preview(self.newest, self.valid, version=counts.received, frames=1, max_side=self.max_side)
        if what == "background" and counts.background:
            return make_preview(
                self.dark, self.valid, version=counts.background, frames=counts.background, max_side=self.max_side
            )
        if what == "reconstruction" and self.image is not None:
            return make_image_preview(self.image, version=self.now.reconstruction.frames or 0)
        return None

    def book_point(self, note: PointNote) -> None:
        self.points.append(note)

    def expect(self, frames: int) -> None:
        self.update(expected=frames, announced=frames)

    def pause(self, paused: bool) -> None:
        self.update(paused=paused)

    def change_settings(self, changes: Mapping[str, object], who: str) -> int:
        for name, value in changes.items():
            if name not in RATIO_LIMITS:
                raise ValueError(f"{name} must be a known setting, got an unknown name; see docs/reference")
            low, high = RATIO_LIMITS[name]
            if not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"{name} must be {low} to {high}, got {value!r}; choose a value between")
        version = int(self.now.parameters["version"]) + 1
        self.calls.append(("settings", dict(changes), who))
        self.update(parameters={**self.now.parameters, **changes, "version": version})
        return version

    def request_reconstruction(self, who: str) -> None:
        self.calls.append(("reconstruct", who))
        self.reconstruct()

    def request_snapshot(self, who: str) -> str:
        if self.now.result is None:
            raise ValueError("a snapshot needs a series, got none yet; wait for the first header")
        self.calls.append(("snapshot", who))
        return self.now.result


@pytest.fixture
def run() -> RunInMemory:
    return RunInMemory()


@pytest.fixture
def wait_until():
    """Wait for a condition, at most 5 s, then fail."""

    def wait(condition, timeout_s=5.0):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if condition():
                return
            time.sleep(0.005)
        raise AssertionError("not reached in time")

    return wait


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left
