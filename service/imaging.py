"""Prepare and reconstruct in a child process, so that it can neither delay the sums nor take them with it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processing.snapshot import SumSnapshot

_NICENESS = 10
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagingJob:
    """A window of the sums about the beam centre, and what is known of the experiment.

    Attributes
    ----------
    accepted, background : SumSnapshot
        Windows, shape (rows, cols).
    valid : ndarray of uint8, shape (rows, cols)
    center : tuple of float
        Expected beam centre (row, col) in the window, px.
    origin : tuple of int
        (row, col) of the window's first pixel on the detector.
    wavelength_m, distance_m, pixel_size_m : float
    settings : dict
        The section `reconstruction` of the configuration.
    """

    accepted: SumSnapshot
    background: SumSnapshot
    valid: NDArray[np.uint8]
    center: tuple[float, float]
    origin: tuple[int, int]
    wavelength_m: float
    distance_m: float
    pixel_size_m: float
    settings: Mapping[str, Any]
    final: bool = False
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagingResult:
    """What the child made.

    Attributes
    ----------
    frames : int
        Accepted frames in the sum it was made from.
    amplitude : ndarray of float32, shape (n, n)
    amplitude_valid : ndarray of uint8, shape (n, n)
    prepared : dict
        Centre found and the like, for attributes of a file.
    image : ndarray of float32, shape (n, n), or None
        None when the phasing was refused or failed; `message` says why.
    prtf, q_per_m : ndarray, shape (m,)
    figures : dict
        Resolution, R factor and the like.
    """

    frames: int
    amplitude: NDArray[np.float32]
    amplitude_valid: NDArray[np.uint8]
    prepared: dict[str, float | int | str] = field(default_factory=dict)
    image: NDArray[np.float32] | None = None
    pixel_size_m: float = float("nan")
    prtf: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    q_per_m: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    figures: dict[str, float | int | str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    message: str = ""
    seconds: float = 0.0


class ImagingError(Exception):
    """The child refused, crashed or took too long; the text says which."""


def run_imaging(job: ImagingJob, folder: Path, timeout_s: float, give_up: Callable[[], bool]) -> ImagingResult:
    """Run one job in a child of its own and return what it made.

    Parameters
    ----------
    job : ImagingJob
    folder : Path
        Where the private working folder is made.
    timeout_s : float
        The child is killed after that.
    give_up : callable
        Asked while waiting; True kills the child.

    Raises
    ------
    ImagingError
        With a sentence for a person.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".imaging-", dir=folder) as name:
        desk = Path(name)
        write_job(desk, job)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with (desk / "log.txt").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "service.imaging_child", name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_behave,  # noqa: PLW1509 - only nice and a signal disposition, both safe after fork
            )
            try:
                _wait(child, started, timeout_s, give_up)
            finally:
                if child.poll() is None:
                    child.kill()
                child.wait()
        return _read_result(desk, child.returncode, job.accepted.frames, time.monotonic() - started)


def _behave() -> None:
    os.nice(_NICENESS)


def _wait(child: "subprocess.Popen[bytes]", started: float, timeout_s: float, give_up: Callable[[], bool]) -> None:
    while child.poll() is None:
        if time.monotonic() - started > timeout_s:
            raise ImagingError(
                f"reconstruction must end within {timeout_s:g} s and was stopped; lower reconstruction.seeds or "
                "iterations, or raise reconstruction.timeout_s"
            )
        if give_up():
            raise ImagingError("reconstruction was stopped, because the service ends or a newer one is wanted")
        time.sleep(_POLL_S)


def write_job(desk: Path, job: ImagingJob) -> None:
    """Write a job where the child looks for it."""
    np.savez(
        desk / "input.npz",
        accepted=job.accepted.data,
        accepted_excluded=job.accepted.excluded,
        background=job.background.data,
        background_excluded=job.background.excluded,
        valid=job.valid,
    )
    facts = {
        "frames": job.accepted.frames,
        "background_frames": job.background.frames,
        "center": job.center,
        "origin": job.origin,
        "wavelength_m": job.wavelength_m,
        "distance_m": job.distance_m,
        "pixel_size_m": job.pixel_size_m,
        "settings": dict(job.settings),
        "workers": job.workers,
    }
    (desk / "job.json").write_text(json.dumps(facts), encoding="utf-8")


def _read_result(desk: Path, code: int, frames: int, seconds: float) -> ImagingResult:
    facts_path = desk / "result.json"
    if code != 0 or not facts_path.exists():
        last = (desk / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
        raise ImagingError(f"reconstruction process ended with code {code}: {' '.join(last) or 'no message'}")
    facts = json.loads(facts_path.read_text(encoding="utf-8"))
    if "refused" in facts:
        raise ImagingError(facts["refused"])
    with np.load(desk / "result.npz", allow_pickle=False) as arrays:
        return ImagingResult(
            frames=frames,
            amplitude=arrays["amplitude"],
            amplitude_valid=arrays["amplitude_valid"],
            prepared=facts["prepared"],
            image=arrays.get("image", None),
            pixel_size_m=facts.get("pixel_size_m", float("nan")),
            prtf=arrays["prtf"],
            q_per_m=arrays["q"],
            figures=facts.get("figures", {}),
            settings=facts.get("settings", {}),
            warnings=tuple(facts.get("warnings", ())),
            message=facts.get("message", ""),
            seconds=seconds,
        )
