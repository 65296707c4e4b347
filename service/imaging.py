"""Prepare and reconstruct in a child process, so that it can neither delay the sums nor take them with it."""

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processing.snapshot import SumSnapshot
from service.contained import Contained, how_it_ended
from service.contained_child import OUT_OF_MEMORY

_CHILD = "service.imaging_child"
_NICENESS = 10
_POLL_S = 0.05
_TIMEOUTS_RETRIED = 1  # a machine that was busy for once; what is too slow stays too slow


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
    even : SumSnapshot or None
        Sum of the accepted frames with an even number, of rows of the window from `even_row` on.
    even_row : int
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
    even: SumSnapshot | None = None
    even_row: int = 0


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
    guided_prtf : ndarray, shape (m,), or None
        The optimistic curve of guided replicas, with "ghio".
    figures : dict
        Resolution, R factor and the like.
    snr : dict of str to ndarray, shape (m,)
        Signal to noise of the sum ("snr"), the "correlation" of its halves and "q" in 1/m; empty when the halves are
        not known.
    forecast : dict
        Resolution that the signal to noise allows, and frames needed for the wanted one.
    """

    frames: int
    amplitude: NDArray[np.float32]
    amplitude_valid: NDArray[np.uint8]
    prepared: dict[str, float | int | str] = field(default_factory=dict)
    image: NDArray[np.float32] | None = None
    pixel_size_m: float = float("nan")
    prtf: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    q_per_m: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    guided_prtf: NDArray[np.float64] | None = None
    figures: dict[str, float | int | str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    snr: dict[str, NDArray[Any]] = field(default_factory=dict)
    forecast: dict[str, float | int | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    message: str = ""
    seconds: float = 0.0


class ImagingError(Exception):
    """The child refused, crashed or took too long; the text says which."""


class _CrashError(ImagingError):
    """The child ended without an answer."""


class _TimeoutError(ImagingError):
    """The child had to be stopped."""


def run_imaging(
    job: ImagingJob,
    folder: Path,
    timeout_s: float,
    give_up: Callable[[], bool],
    tell: Callable[[str], None] = lambda _: None,
) -> ImagingResult:
    """Run one job in a child of its own and return what it made.

    A child that crashes or runs out of memory is followed by another one, `reconstruction.retries` times; one that took
    too long once at the most. A refusal is an answer.

    Parameters
    ----------
    job : ImagingJob
    folder : Path
        Where the private working folder is made.
    timeout_s : float
        The child is killed after that.
    give_up : callable
        Asked while waiting; True kills the child.
    tell : callable
        Given a sentence for each child that failed and is followed by another.

    Raises
    ------
    ImagingError
        With a sentence for a person.
    """
    retries, timeouts, tries = int(job.settings["retries"]), 0, 0
    while True:
        tries += 1
        try:
            return _try_once(job, folder, timeout_s, give_up)
        except (_CrashError, _TimeoutError) as error:
            timeouts += isinstance(error, _TimeoutError)
            if tries > retries or timeouts > _TIMEOUTS_RETRIED:
                after = f"given up after {tries} tries; " if tries > 1 else ""
                raise ImagingError(f"{error}; {after}{_advice(error, job)}") from None
            tell(f"{error}; this was try {tries}, trying again")


def _advice(error: ImagingError, job: ImagingJob) -> str:
    if isinstance(error, _TimeoutError):
        return "lower reconstruction.seeds or iterations, or raise reconstruction.timeout_s"
    return (
        "the sums are not touched and the next image is tried; if it stays so, raise reconstruction.memory_mib "
        f"(now {job.settings['memory_mib']}) or report it with the service's log"
    )


def _try_once(job: ImagingJob, folder: Path, timeout_s: float, give_up: Callable[[], bool]) -> ImagingResult:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".imaging-", dir=folder) as name:
        desk = Path(name)
        write_job(desk, job)
        with (desk / "log.txt").open("wb") as log:
            child = Contained(
                _CHILD,
                [name],
                memory_mib=int(job.settings["memory_mib"]),
                niceness=_NICENESS,
                environment={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait(child, started, timeout_s, give_up)
        finally:
            code = child.end()
        return _read_result(desk, code, job.accepted.frames, time.monotonic() - started)


def _wait(child: Contained, started: float, timeout_s: float, give_up: Callable[[], bool]) -> None:
    while not child.ended:
        if time.monotonic() - started > timeout_s:
            raise _TimeoutError(f"reconstruction must end within {timeout_s:g} s and was stopped")
        if give_up():
            raise ImagingError("reconstruction was stopped, because the service ends or a newer one is wanted")
        time.sleep(_POLL_S)


def write_job(desk: Path, job: ImagingJob) -> None:
    """Write a job where the child looks for it."""
    arrays: dict[str, NDArray[Any]] = {
        "accepted": job.accepted.data,
        "accepted_excluded": job.accepted.excluded,
        "background": job.background.data,
        "background_excluded": job.background.excluded,
        "valid": job.valid,
    }
    if job.even is not None:
        arrays["even"] = job.even.data
    np.savez(desk / "input.npz", allow_pickle=False, **arrays)
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
        "even_frames": 0 if job.even is None else job.even.frames,
        "even_row": job.even_row,
    }
    (desk / "job.json").write_text(json.dumps(facts), encoding="utf-8")


def _read_result(desk: Path, code: int, frames: int, seconds: float) -> ImagingResult:
    facts_path = desk / "result.json"
    if code != 0 or not facts_path.exists():
        last = _last_line(desk / "log.txt")
        # An allocation that failed inside compiled code ends as an error of its own; its words tell.
        what = how_it_ended(OUT_OF_MEMORY if code > 0 and "MemoryError" in last else code)
        raise _CrashError(f"reconstruction process {what}: {last or 'no message'}")
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
            guided_prtf=arrays.get("guided_prtf", None),
            figures=facts.get("figures", {}),
            settings=facts.get("settings", {}),
            snr={name: arrays[f"snr_{name}"] for name in ("q", "correlation", "snr") if f"snr_{name}" in arrays},
            forecast=facts.get("forecast", {}),
            warnings=tuple(facts.get("warnings", ())),
            message=facts.get("message", ""),
            seconds=seconds,
        )


def _last_line(log: Path) -> str:
    """Return the end of what the child said, however much that was."""
    with log.open("rb") as file, contextlib.suppress(OSError):
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 2000))
        return " ".join(file.read().decode(errors="replace").strip().splitlines()[-1:])[:300]
    return ""
