"""Hold a result file against what a perfect receiver must find, and say what was reached."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from processing.frame import CATEGORY_NAMES, Category

_CONTAMINANTS = ("low_intensity", "streak", "background", "gated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    reached : bool or None
        None where the number of frames does not allow the wanted value, or nothing is wanted.
    """

    what: str
    ours: str
    wanted: str = ""
    reached: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The table of a demonstration.

    Attributes
    ----------
    confusion : dict
        (label, verdict) to number of frames.
    rows : tuple of Row
    """

    confusion: dict[tuple[str, str], int]
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing that was wanted was missed."""
        return all(row.reached is not False for row in self.rows)


def accepted_frames(result: Path) -> list[int]:
    """Return the numbers of the frames that a result file has accepted."""
    with h5py.File(result) as file:
        rows = file["entry/frames"]
        return sorted(rows["frame"][()][rows["verdict"][()] == Category.ACCEPTED].tolist())


def prove(result: Path, truth: Path, truth_sum: Path) -> Proof:
    """Compare a result file with the simulation's truth.

    Parameters
    ----------
    result : Path
        NeXus file of the live service.
    truth : Path
        `series_<id>.json` of the simulation.
    truth_sum : Path
        `.npz` with the simulation's own sum over the accepted frames.
    """
    books = json.loads(truth.read_text(encoding="utf-8"))
    with h5py.File(result) as file:
        entry = file["entry"]
        confusion, clear = confusion_of(entry, books)
        rows = [
            _sum_row(entry, truth_sum),
            _books_row(entry, books),
            *_label_rows(confusion, clear),
            *_imaging_rows(entry, books),
        ]
    return Proof(confusion=confusion, rows=tuple(rows))


def _sum_row(entry: h5py.Group, truth_sum: Path) -> Row:
    with np.load(truth_sum, allow_pickle=False) as own:
        same = np.array_equal(entry["sum/data"][()], own["sum"])
        same = same and np.array_equal(entry["sum/excluded"][()], own["excluded"])
    frames = int(entry["sum/frames"][()])
    said = f"yes, bit for bit ({frames} frames)" if same else f"NO ({frames} frames)"
    return Row(what="sum equals truth", ours=said, wanted="yes", reached=same)


def _books_row(entry: h5py.Group, books: dict[str, Any]) -> Row:
    verdict = entry["frames/verdict"][()]
    received = int((verdict != Category.MISSING).sum())
    sent = sum(frame["sent"] for frame in books["frames"])
    return Row(what="frames received / sent", ours=f"{received} / {sent}", wanted="equal", reached=received == sent)


def confusion_of(
    entry: h5py.Group, books: dict[str, Any]
) -> tuple[dict[tuple[str, str], int], Counter[tuple[str, str]]]:
    """Count (label, verdict) of all frames, and of those whose label is clear (no graded edge).

    Parameters
    ----------
    entry : h5py.Group
        Of a result file.
    books : dict
        The simulation's `series_<id>.json`.
    """
    verdict = {
        int(number): CATEGORY_NAMES[code]
        for number, code in zip(entry["frames/frame"][()], entry["frames/verdict"][()], strict=True)
        if CATEGORY_NAMES[code] != "duplicate"
    }
    every: Counter[tuple[str, str]] = Counter()
    clear: Counter[tuple[str, str]] = Counter()
    for frame in books["frames"]:
        pair = (str(frame["label"]), verdict.get(frame["frame"], "missing"))
        every[pair] += 1
        if not frame["graded"]:
            clear[pair] += 1
    return dict(every), clear


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """What the screening made of good frames and of clear contaminants.

    Attributes
    ----------
    good, lost : int
        Good frames, and those of them that are not in the sum; what the scan itself declared void is repeated, not
        lost.
    clear_good, clear_lost : int
        The same without the places that are only partly good: the outermost light of an edge, the rim of a grain.
    dirty, kept : int
        Frames that are clearly silicon, streak, background or gated, and those of them in the sum.
    """

    good: int
    lost: int
    clear_good: int
    clear_lost: int
    dirty: int
    kept: int


def screened(confusion: dict[tuple[str, str], int], clear: Counter[tuple[str, str]]) -> Screened:
    """Count what `confusion_of` returned."""
    (good, lost), (clear_good, clear_lost) = (_good_and_lost(counts) for counts in (confusion, clear))
    return Screened(
        good=good,
        lost=lost,
        clear_good=clear_good,
        clear_lost=clear_lost,
        dirty=sum(count for (label, _), count in clear.items() if label in _CONTAMINANTS),
        kept=sum(count for (label, found), count in clear.items() if label in _CONTAMINANTS and found == "accepted"),
    )


def _good_and_lost(counts: Mapping[tuple[str, str], int]) -> tuple[int, int]:
    good = sum(count for (label, _), count in counts.items() if label == "accepted")
    return good, good - sum(counts.get(("accepted", found), 0) for found in ("accepted", "gated"))


def _label_rows(confusion: dict[tuple[str, str], int], clear: Counter[tuple[str, str]]) -> list[Row]:
    found = screened(confusion, clear)
    good, lost, dirty, kept = found.good, found.lost, found.dirty, found.kept
    return [
        Row(what="good frames lost", ours=f"{lost} of {good}", wanted="at most 1e-3", reached=lost <= 1e-3 * good),
        Row(
            what="clear contaminants kept",
            ours=f"{kept} of {dirty}",
            wanted="at most 1 %",
            reached=kept <= 0.01 * dirty,
        ),
    ]


def _imaging_rows(entry: h5py.Group, books: dict[str, Any]) -> list[Row]:
    if "prepared" not in entry:
        return [Row(what="image", ours="none", wanted="one", reached=False)]
    facts, true = entry["prepared"].attrs, books["beam_center"]
    off = math.hypot(facts["center_row"] - true["true_row"], facts["center_col"] - true["true_col"])
    rows = [Row(what="centre error", ours=f"{off:.3f} px", wanted="at most 0.25 px", reached=off <= 0.25)]
    if "reconstruction" not in entry:
        return [*rows, Row(what="image", ours="none", wanted="one", reached=False)]
    from processing.metrics import compare_to_model
    from processing.models import sample

    group = entry["reconstruction"]
    scores = compare_to_model(group["image"][()], float(group["image"].attrs["pixel_size_m"]), sample(books["sample"]))
    frames = int(entry["sum/frames"][()])
    for name, value, limit, smaller in _wanted(books["sample"], frames, scores, float(group.attrs["resolution_m"])):
        reached = None if limit is None else (value <= limit if smaller else value >= limit)
        bound = "" if limit is None else f"{'at most' if smaller else 'at least'} {limit:.3g}"
        rows.append(Row(what=name, ours=f"{value:.3g}", wanted=bound, reached=reached))
    return rows


def _wanted(
    name: str, frames: int, scores: Any, resolution_m: float
) -> Sequence[tuple[str, float, float | None, bool]]:
    """Return (what, value, limit, smaller is better); no limit where so few frames cannot reach it."""
    enough = frames >= _FRAMES_ALLOW[name]
    limits = {"au-sio2": (0.98, 0.09, 4.0), "nv-lp": (0.97, 0.10, None)}[name]
    ssim, error, resolution = limits if enough else (None, None, None)
    return [
        ("SSIM against the model", scores.ssim, ssim, False),
        ("model error", scores.error, error, True),
        ("PRTF at 1/e (nm)", resolution_m * 1e9, resolution, True),
    ]


_FRAMES_ALLOW = {"au-sio2": 50, "nv-lp": 300}
"""From so many accepted frames on photon noise lets the wanted scores be reached."""
