"""Hold the result files of one series against what was sent."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from kills import is_exact

from processing.frame import Category

_USABLE = (Category.ACCEPTED, Category.LOW_INTENSITY, Category.STREAK, Category.BACKGROUND, Category.GATED)


def results_of(out: Path, number: int) -> list[Path]:
    """Return the result files of a series number, in the order in which they were opened."""
    found = [out / f"series_{number}.nxs", *sorted(out.glob(f"series_{number}_*.nxs"))]
    return [path for path in found if path.exists()]


def categories(result: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return frame numbers and verdicts of a result file."""
    with h5py.File(result) as file:
        return file["entry/frames/frame"][()], file["entry/frames/verdict"][()]


def usable_of(result: Path) -> set[int]:
    """Return the numbers that a result holds a readable frame of."""
    frames, verdicts = categories(result)
    return set(frames[np.isin(verdicts, _USABLE)].tolist())


def books_of(result: Path, announced: int) -> list[str]:
    """Say what is wrong with the places of the frame numbers of a result file."""
    frames, verdicts = categories(result)
    wrong = []
    for number in range(announced):
        seen = verdicts[frames == number]
        usable, missing = int(np.isin(seen, _USABLE).sum()), int((seen == Category.MISSING).sum())
        corrupt = int((seen == Category.CORRUPT).sum())
        if usable + missing > 1 or (usable + missing == 0 and not corrupt) or (missing and corrupt):
            wrong.append(f"frame {number} has categories {[Category(int(one)).name for one in seen]}")
    beyond = frames[(frames >= announced) & (verdicts != Category.CORRUPT)]
    if beyond.size:
        wrong.append(f"frames beyond the announced {announced}: {beyond[:10].tolist()}")
    return wrong[:5]


def judge(results: Iterable[Path], truth: Path, announced: int) -> list[str]:
    """Say what is wrong with the result files of a series."""
    wrong = []
    for result in results:
        if not is_exact(result, truth):
            wrong.append(f"{result.name}: sums are not those of its own list of frames")
        wrong += [f"{result.name}: {what}" for what in books_of(result, announced)]
    return wrong
