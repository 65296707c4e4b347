"""What a perfect receiver must find: the label of every frame and exact sums; any other sum on demand.

``series_<id>.json`` holds the geometry, the sample and, for every frame, its label and all that is needed to draw it
again. ``series_<id>_sums.npz`` holds for each label ``sum_<label>`` (uint64) and ``excluded_<label>`` (uint32), both of
shape (rows, columns), and ``valid`` (uint8): counts over the pixels outside the detector's mask, where a pixel at the
type's maximum or maximum - 1 adds nothing but one to `excluded`. A frame counts once, sent or not, however often.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim import poisson
from sim.beamline import Conditions
from sim.detector import PIXEL_M
from sim.frames import Exposure, FrameSource
from sim.sample import WAVELENGTH_M
from sim.settings import SimSettings

FORMAT = 1


@dataclass(slots=True, kw_only=True)
class ExactSum:
    """Sum of frames, added to and subtracted from exactly.

    Attributes
    ----------
    total : ndarray of uint64, shape (rows, columns)
    excluded : ndarray of uint32, shape (rows, columns)
        In how many frames a pixel stood at the maximum or maximum - 1.
    """

    total: NDArray[np.uint64]
    excluded: NDArray[np.uint32]

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> "ExactSum":
        """Sum of no frames."""
        return cls(total=np.zeros(shape, np.uint64), excluded=np.zeros(shape, np.uint32))

    def add(self, frame: NDArray[np.unsignedinteger], codes: NDArray[np.uint8], times: int = 1) -> None:
        """Add `frame` (`times` = 1) or take it out again (-1)."""
        limit = int(np.iinfo(frame.dtype).max) - 1
        poisson.add_to_sum(self.total, self.excluded, frame, codes, limit, times)

    def merge(self, other: "ExactSum") -> None:
        """Add another sum."""
        self.total += other.total
        self.excluded += other.excluded


class TruthRecorder:
    """Keeps the books of one series and writes them at its end.

    Parameters
    ----------
    source
        Draws the frames and knows their labels.
    settings
        Of the run; ``settings.truth`` is the folder, made when missing.
    series
        The detector's series id.
    header
        Facts for the reader: what the header said.
    """

    def __init__(self, source: FrameSource, settings: SimSettings, series: int, header: dict[str, Any]) -> None:
        if settings.truth is None:
            raise ValueError("truth folder must be given, got None; start the simulation with --truth DIR")
        self._source, self._settings, self._series = source, settings, series
        self._header = header
        self._folder = settings.truth
        self._frames: list[dict[str, Any]] = []
        self._starts: list[float] = []
        self._sums: dict[str, ExactSum] = {}

    def add(self, exposure: Exposure, frame: NDArray[np.unsignedinteger], sent: int, start_s: float = 0.0) -> None:
        """Book one frame that began at `start_s` of the simulated clock; `sent` messages of it went to the sender."""
        label = self._source.label(exposure)
        if label not in self._sums:
            self._sums[label] = ExactSum.empty(self._source.geometry.shape)
        self._sums[label].add(frame, self._source.codes)
        place = self._source.place(exposure)
        self._starts.append(round(start_s, 6))
        self._frames.append(
            {
                "frame": exposure.frame,
                "label": label,
                "graded": place.graded or exposure.conditions.moving,
                "clip": place.clip,
                "streak": max((streak.strength for streak in place.streaks), default=0.0),
                "concentration": place.concentration,
                "sent": sent,
                "count_time_s": exposure.count_time_s,
                "conditions": asdict(exposure.conditions),
            }
        )

    def not_sent(self, frames: Iterable[int]) -> None:
        """Book that frames already handed over were thrown away by an abort."""
        lost = set(frames)
        for entry in self._frames:
            if entry["frame"] in lost:
                entry["sent"] = 0

    def write(self) -> None:
        """Write both files aside and rename them: the sums first, so that a json file always has its sums."""
        self._folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {"valid": self._source.valid.astype(np.uint8)}
        for label, one in self._sums.items():
            arrays |= {f"sum_{label}": one.total, f"excluded_{label}": one.excluded}
        sums = self._folder / f"series_{self._series}_sums.npz"
        aside = sums.with_suffix(".npz.part")
        with aside.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(aside, sums)
        books = self._folder / f"series_{self._series}.json"
        aside = books.with_suffix(".json.part")
        aside.write_text(json.dumps(self._books(), indent=1) + "\n")
        os.replace(aside, books)

    def _books(self) -> dict[str, Any]:
        geometry, experiment = self._source.geometry, self._source.experiment
        return {
            "format": FORMAT,
            "series": self._series,
            "detector": self._settings.detector,
            "sample": self._settings.sample,
            "seed": self._settings.seed,
            "packing": self._settings.packing,
            "spread_nm": self._settings.spread_nm,
            "shape": list(geometry.shape),
            "beam_center": {
                "true_row": geometry.true_row,
                "true_col": geometry.true_col,
                "header_row": geometry.header_row,
                "header_col": geometry.header_col,
            },
            "distance_m": experiment.distance_m[geometry.name],
            "pixel_m": PIXEL_M,
            "wavelength_m": WAVELENGTH_M,
            "particles": experiment.particles,
            "outer_diameter_m": experiment.model.outer_diameter_m,
            "header": self._header,
            "labels": {label: sum(f["label"] == label for f in self._frames) for label in sorted(self._sums)},
            "frames": self._frames,
            "start_s": self._starts,
        }


def read_books(folder: Path, series: int) -> dict[str, Any]:
    """Content of ``series_<id>.json``.

    Raises
    ------
    ValueError
        If there is none, or it is of another format.
    """
    path = folder / f"series_{series}.json"
    try:
        books: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(
            f"truth folder must hold series {series}, got no file {path}; it is written when the series ends"
        ) from error
    if books.get("format") != FORMAT:
        raise ValueError(f"format of {path} must be {FORMAT}, got {books.get('format')}; repeat the run")
    return books


def sum_of(folder: Path, series: int, frames: Iterable[int]) -> ExactSum:
    """The simulation's own exact sum over any set of frames of a series.

    Starts from the sums by label and draws again, bit for bit, only the frames in which the set differs from them.

    Parameters
    ----------
    folder
        What ``--truth`` was given.
    series
        Series id.
    frames
        Frame numbers; a number given twice counts once.

    Raises
    ------
    ValueError
        If the series is unknown, or one of the frames was never exposed.
    """
    return sums_of(folder, series, [frames])[0]


def sums_of(folder: Path, series: int, sets: Iterable[Iterable[int]]) -> list[ExactSum]:
    """The same for several sets, each as `sum_of` has it."""
    books = read_books(folder, series)
    entries = {entry["frame"]: entry for entry in books["frames"]}
    redraw = _Redraw(books)
    found = []
    with np.load(folder / f"series_{series}_sums.npz", allow_pickle=False) as stored:
        for wanted in map(set, sets):
            if unknown := sorted(wanted - entries.keys()):
                raise ValueError(
                    f"frames of series {series} must be among the {len(entries)} exposed ones, got {unknown[:10]}"
                )
            found.append(_sum_of(books, entries, stored, wanted, redraw))
    return found


def _sum_of(
    books: dict[str, Any], entries: dict[int, dict[str, Any]], stored: Any, wanted: set[int], redraw: "_Redraw"
) -> ExactSum:
    result = ExactSum.empty((books["shape"][0], books["shape"][1]))
    for label in books["labels"]:
        of_label = {number for number, entry in entries.items() if entry["label"] == label}
        chosen = wanted & of_label
        if 2 * len(chosen) <= len(of_label):
            redraw.add(result, (entries[number] for number in sorted(chosen)), 1)
        else:
            result.merge(ExactSum(total=stored[f"sum_{label}"], excluded=stored[f"excluded_{label}"]))
            redraw.add(result, (entries[number] for number in sorted(of_label - chosen)), -1)
    return result


class _Redraw:
    """Draws frames again from their entries in the books; builds what it needs only when asked to."""

    def __init__(self, books: dict[str, Any]) -> None:
        self._books = books
        self._source: FrameSource | None = None

    def add(self, result: ExactSum, entries: Iterable[dict[str, Any]], times: int) -> None:
        for entry in entries:
            if self._source is None:
                books = self._books
                settings = SimSettings(
                    detector=books["detector"],
                    sample=books["sample"],
                    seed=books["seed"],
                    packing=books.get("packing", 0.0),
                    spread_nm=books.get("spread_nm", 0.0),
                )
                self._source = FrameSource(settings)
            exposure = Exposure(
                series=self._books["series"],
                frame=entry["frame"],
                count_time_s=entry["count_time_s"],
                conditions=Conditions(**entry["conditions"]),
            )
            result.add(self._source.draw(exposure), self._source.codes, times)


def parse_frames(text: str) -> list[int]:
    """Frame numbers from ``0-5,9,12``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    numbers: list[int] = []
    try:
        for piece in filter(None, (piece.strip() for piece in text.split(","))):
            first, dash, last = piece.partition("-")
            numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError as error:
        raise ValueError(f"frames must look like 0-5,9,12, got {text!r}") from error
    return numbers


def main(arguments: list[str] | None = None) -> int:
    """Command line: write the exact sum over a set of frames."""
    parser = argparse.ArgumentParser(
        prog="python -m sim.truth",
        description="The simulation's own exact sum over any set of frames.",
        epilog="example: python -m sim.truth truth --series 1 --frames 0-5,9,12 --output sum.npz",
    )
    parser.add_argument("folder", type=Path, help="what --truth was given")
    parser.add_argument("--series", type=int, required=True)
    parser.add_argument(
        "--frames",
        required=True,
        action="append",
        help="0-5,9,12; @FILE reads them from a file, @- from standard input; repeated: further sums",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="npz file: sum, excluded, frames; sum_1, ... of further sets"
    )
    given = parser.parse_args(arguments)
    try:
        sets = [sorted(set(parse_frames(_text(words)))) for words in given.frames]
        sums = sums_of(given.folder, given.series, sets)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"sim.truth: {error}\n")
        return 1
    arrays: dict[str, Any] = {}
    for index, (numbers, exact) in enumerate(zip(sets, sums, strict=True)):
        end = f"_{index}" if index else ""
        arrays |= {f"sum{end}": exact.total, f"excluded{end}": exact.excluded}
        arrays[f"frames{end}"] = np.array(numbers, np.uint32)
    with given.output.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return 0


def _text(argument: str) -> str:
    if argument == "@-":
        return sys.stdin.read()
    return Path(argument[1:]).read_text() if argument.startswith("@") else argument


if __name__ == "__main__":
    sys.exit(main())
