"""The simulation's own exact sums over any frames of a series, made by a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import UserError

_TIMEOUT_S = 3600.0


def own_sum(truth: Path, series: int, frames: Sequence[int], output: Path) -> Path:
    """Have the simulation write its sum over some frames; return the file (`sum`, `excluded`, `frames`).

    Parameters
    ----------
    truth : Path
        Folder of the simulation's truth.
    series : int
    frames : sequence of int
    output : Path
        Where to; `.npz`.

    Raises
    ------
    UserError
        When it cannot.
    """
    _run(truth, series, [frames], output)
    return output


def own_sums(
    truth: Path, series: int, sets: Sequence[Sequence[int]], folder: Path
) -> list[tuple[NDArray[np.uint64], NDArray[np.uint32]]]:
    """Have the simulation make its sums over several sets of frames; return (sum, excluded) of each.

    Parameters
    ----------
    truth, series
        As for `own_sum`.
    sets : sequence of sequence of int
    folder : Path
        Where a private working folder is made.

    Raises
    ------
    UserError
        When it cannot.
    """
    with tempfile.TemporaryDirectory(prefix=".sums-", dir=folder) as desk:
        output = Path(desk) / "sums.npz"
        _run(truth, series, sets, output)
        with np.load(output, allow_pickle=False) as own:
            ends = [f"_{index}" if index else "" for index in range(len(sets))]
            return [(own[f"sum{end}"], own[f"excluded{end}"]) for end in ends]


def _run(truth: Path, series: int, sets: Sequence[Sequence[int]], output: Path) -> None:
    words: list[Any] = []
    files = [output.with_suffix(f".{index}.txt") for index in range(len(sets))]
    for file, frames in zip(files, sets, strict=True):
        file.write_text(",".join(map(str, frames)), encoding="utf-8")
        words += ["--frames", f"@{file}"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sim.truth", str(truth), "--series", str(series), *words, "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    for file in files:
        file.unlink()
    if done.returncode:
        raise UserError(f"the simulation's own sum cannot be had: {done.stderr.strip()[-400:]}")
