"""A run in memory behind the publishers: real sums of real draws, no sockets of its own."""

import errno
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import h5py
import numpy as np
import pytest
import zmq

from processing.frame import CATEGORY_NAMES, Category, SeriesHeader
from processing.snapshot import SumSnapshot
from service.config import Settings
from service.imaging import ImagingResult
from service.ledger import LedgerRows
from service.live import LiveService
from service.preview import make_image_preview, make_preview
from service.source import PointNote, Preview, PreviewName
from service.status import Counts, LastFrame, NamedError, Purpose, ReconstructionStatus, Status, WhatIf
from service.store import SeriesFile, write_series_file

RATIO_LIMITS = {"screening.chi2_ratio_max": (0.1, 1000.0), "screening.intensity_ratio_min": (0.0, 1.0)}
CATEGORIES = ("accepted", "low_intensity", "streak", "background")


@pytest.fixture
def no_space():
    """Give what a full disk does, whatever it is asked."""

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    return refuse


class NothingToSee:
    """A `PageSource` before a series; the real one is tested in test_views.py."""

    def look(self, *_):
        return None

    def rows(self, *_):
        return None

    def curves(self):
        return {}

    def saved(self):
        return None

    def forget(self):
        pass

    def facts(self):
        return {"disk": None}


class RunInMemory:
    """A `LiveSource` whose frames are drawn by the test, one `take` at a time; every number follows from them."""

    views = NothingToSee()

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

    def declare(self, purpose: Purpose) -> None:
        if self.now.state not in ("armed", "receiving"):
            raise ValueError(f"a series must be open to be for {purpose}, got none; arm the detector first")
        self.update(purpose=purpose)

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

    def what_if(self, cases: Sequence[Mapping[str, object]]) -> list[WhatIf]:
        for changes in cases:
            for name in changes:
                if name not in RATIO_LIMITS:
                    raise ValueError(f"{name} must be a known setting, got an unknown name; see docs/reference")
        flips = self.now.counts.streak
        return [
            WhatIf(changes=dict(changes), counts={"accepted": 1}, flips=flips, frames=[(0, 1)]) for changes in cases
        ]

    def mark(self, frames: Sequence[int], who: str, *, out: bool) -> None:
        self.calls.append(("mark", list(frames), out, who))

    def write_note(self, text: str, who: str) -> None:
        self.calls.append(("note", text, who))

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


class Scan:
    """Frames of a scan, drawn with a seed: mostly sample, streaks of growing strength, silicon and empty membrane.

    Attributes
    ----------
    pixels : list of ndarray
    """

    SHAPE = (64, 64)
    SETTINGS: ClassVar = {
        "screening.ring_inner_px": 8,
        "screening.ring_outer_px": 14,
        "reconstruction.enabled": False,
        "stream.bind": "tcp://127.0.0.1:*",
        "stream.drain_s": 0.2,
        "output.snapshot_every_s": 0.5,
        "recovery.checkpoint_every_s": 0.3,
        "spool.frames_per_file": 20,
    }
    LEVELS: ClassVar = {"accepted": 20.0, "low_intensity": 2.0, "background": 10.0, "streak": 20.0}

    def __init__(self, count, seed=0):
        rng = np.random.default_rng(seed)
        kinds = rng.choice(list(self.LEVELS), count, p=[0.6, 0.1, 0.1, 0.2])
        self.pixels = [
            self._draw(str(kind), rng, strength)
            for kind, strength in zip(kinds, rng.uniform(0.2, 3, count), strict=True)
        ]

    def _draw(self, kind, rng, strength):
        mean = np.full(self.SHAPE, self.LEVELS[kind])
        if kind == "streak":
            mean[31:33] *= 1 + strength
        pixels = rng.poisson(mean).astype(np.uint32)
        pixels[5, 5] = 2**32 - 1
        pixels[6, 6] = 2**32 - 2 if rng.random() < 0.5 else 3
        return pixels

    def sum_of(self, chosen):
        """Sum and exclusions over chosen frames, in plain NumPy."""
        total, excluded = np.zeros(self.SHAPE, np.uint64), np.zeros(self.SHAPE, np.uint32)
        for index in chosen:
            hot = self.pixels[index] >= 2**32 - 2
            total += np.where(hot, 0, self.pixels[index]).astype(np.uint64)
            excluded += hot
        return total, excluded

    def assert_exact(self, result):
        """Hold both sums of a result file against its own list of frames."""
        with h5py.File(result) as file:
            frames, verdicts = file["entry/frames/frame"][()], file["entry/frames/verdict"][()]
            for verdict, group in ((0, "sum"), (3, "background")):
                total, excluded = self.sum_of(frames[verdicts == verdict].tolist())
                np.testing.assert_array_equal(file[f"entry/{group}/data"][()], total)
                np.testing.assert_array_equal(file[f"entry/{group}/excluded"][()], excluded)
                assert file[f"entry/{group}/frames"][()] == (verdicts == verdict).sum()

    def assert_even_exact(self, series):
        """Hold the sum of even frames against the ledger of its series."""
        frames, verdicts = series.ledger.column("frame"), series.ledger.column("verdict")
        chosen = frames[(verdicts == 0) & (frames % 2 == 0)].tolist()
        total, excluded = self.sum_of(chosen)
        np.testing.assert_array_equal(series.even.data, total[slice(*series.even_rows)])
        np.testing.assert_array_equal(series.even.excluded, excluded[slice(*series.even_rows)])
        assert series.even.frames == len(chosen) > 0


@pytest.fixture
def scan():
    """Frames of a scan: `scan(count, seed)`."""
    return Scan


class Bench:
    """Live services in this process, one after the other over the same folder, and a detector for them."""

    def __init__(self, folder, wire, changes):
        self.folder, self.wire, self.changes = folder, wire, changes
        self.context = zmq.Context()
        self.socket = None
        self.service = None

    def start(self, **changes):
        settings = Settings().changed(Scan.SETTINGS | {"output.directory": self.folder} | self.changes | changes)
        self.service = LiveService(settings)
        self.service.start()
        self._connect()
        return self.service

    def _connect(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = self.context.socket(zmq.PUSH)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(self.service.receiver.endpoint)

    def open(self, scan, series=3, **config):
        self.socket.send_multipart(self.wire.header(series, scan.SHAPE, ntrigger=len(scan.pixels), **config))

    def send(self, scan, numbers, series=3):
        for number in numbers:
            self.socket.send_multipart(self.wire.image(scan.pixels[number], series, number))

    def end(self, series=3):
        self.socket.send_multipart(self.wire.end(series))

    def wait(self, what, timeout=20.0):
        """Wait until `what(status)` holds; the books must balance all the while."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            status = self.service.status()
            assert status.balanced, status.counts
            if what(status):
                return status
            time.sleep(0.02)
        pytest.fail(f"not within {timeout} s: {self.service.status()}")

    def wait_received(self, count):
        return self.wait(lambda status: status.counts.received - status.behind >= count and not status.behind)

    def wait_ended(self):
        return self.wait(lambda status: status.state in ("complete", "incomplete", "failed"))

    def photograph(self, place):
        """Copy the folder as a kill at this moment would leave it, and go on there."""
        shutil.copytree(self.folder, place)
        for name in place.glob("*-shm"):
            name.unlink()
        self.stop()
        self.folder = place

    def stop_checkpoints(self):
        """From here on the disk gets rows of the ledger only."""
        for safety in self.service._safeties:
            safety.keeper._checkpoint_at = float("inf")
        self.service.office._pause_s = lambda: 3600.0
        time.sleep(0.6)  # what was under way

    def stop(self):
        if self.service is not None:
            self.service.stop()
            self.service = None

    def close(self):
        self.stop()
        if self.socket is not None:
            self.socket.close()
        self.context.term()


@pytest.fixture
def bench_of(tmp_path, wire):
    """Make a bench with settings."""
    made = []

    def make(**changes):
        made.append(Bench(tmp_path / "out", wire, {name.replace("__", "."): value for name, value in changes.items()}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def content_of_a_series():
    """What a small finished series of a disc leaves behind, image included: `SeriesFile`."""
    rng = np.random.default_rng(11)
    shape, bins, frames = (130, 120), 41, 40
    row, col = np.indices(shape)
    center = (66.25, 58.5)
    mean = 900.0 * np.exp(-np.hypot(row - center[0], col - center[1]) / 14.0) + 2.0
    valid = np.ones(shape, np.uint8)
    valid[60:64] = 0
    counts = rng.poisson(mean).astype(np.uint64) * valid
    dark = rng.poisson(0.1 * mean).astype(np.uint64) * valid
    verdict = np.full(frames, Category.ACCEPTED, np.uint8)
    verdict[::7], verdict[3::9], verdict[5::11] = Category.STREAK, Category.LOW_INTENSITY, Category.BACKGROUND
    known = {name: int((verdict == code).sum()) for code, name in enumerate(CATEGORY_NAMES)}
    ledger = {
        "frame": np.arange(frames, dtype=np.uint32), "verdict": verdict,
        "total": np.where(verdict == Category.LOW_INTENSITY, 10_000, 90_000).astype(np.uint64),
        "chi2": np.where(verdict == Category.STREAK, 5000.0, 300.0), "dof": np.full(frames, 299, np.int64),
        "point": np.arange(frames, dtype=np.int64), "x": 10.0 * (np.arange(frames) % 8),
        "y": 10.0 * (np.arange(frames) // 8), "parameters": np.ones(frames, np.uint16),
    }  # fmt: skip
    place = np.arange(bins) - bins // 2
    image = (np.hypot(place[:, None], place[None, :]) < 9).astype(np.float32)
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))).astype(np.float32)
    seen = np.ones((bins, bins), np.uint8)
    seen[19:22, 19:22] = 0
    q = np.linspace(1e8, 1e9, 20)
    imaging = ImagingResult(
        frames=known["accepted"], amplitude=np.where(seen, amplitude, np.float32(0)), amplitude_valid=seen, image=image,
        prepared={"bin_px": 3, "center_row": 66.2, "center_col": 58.4, "central_px": 9.0, "background_frames": 4,
                  "frames": known["accepted"], "pixel_size_m": 4e-9},
        pixel_size_m=4e-9, q_per_m=q, prtf=np.exp(-q / 1e9),
        figures={"resolution_m": 6.3e-9, "r_factor": 0.021, "confidence": "high", "object_diameter_m": 7.2e-8},
        snr={"snr": 1e10 / q, "correlation": np.ones(20), "q": q}, forecast={"frames": 30, "resolution_m": 5e-9},
        warnings=("object must be as wide as its pattern says <really>",),
    )  # fmt: skip
    return SeriesFile(
        header=SeriesHeader(
            series=9, shape=shape, beam_center_x=center[1], beam_center_y=center[0], wavelength_m=1.4e-10,
            photon_energy_ev=8856.0, distance_m=2.0, pixel_size_m=75e-6, count_time_s=10.0, frame_time_s=10.0,
            config={"description": "Dectris Eiger <1M>"},
        ),
        valid=valid,
        accepted=SumSnapshot(data=counts, excluded=np.zeros(shape, np.uint32), frames=known["accepted"]),
        background=SumSnapshot(data=dark, excluded=np.zeros(shape, np.uint32), frames=known["background"]),
        ledger=LedgerRows(columns=ledger),
        beam_center=center,
        imaging=imaging,
        configuration=Settings().model_dump(mode="json"),
        settings_versions=[{"version": 1, "from_frame": 0, "settings": {}}],
        summary={"counts": {**known, "pending": 0}, "announced": 40, "reference_total": 90_000.0,
                 "unresolved_frames": [], "complete": True},
        timings={"started": "2026-11-22T03:00:00.5+00:00", "written": "2026-11-22T03:10:00+00:00"},
    )  # fmt: skip


@pytest.fixture(scope="session")
def finished():
    """Content of a small finished series, to be compared with."""
    return content_of_a_series()


@pytest.fixture(scope="session")
def finished_result(finished, tmp_path_factory):
    """Its result file; read it only."""
    path = tmp_path_factory.mktemp("finished") / "series_9.nxs"
    write_series_file(path, finished)
    return path
