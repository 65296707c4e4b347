"""New thresholds on a finished result: verdicts from stored scores, and only frames that flip are read again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from processing.frame import CATEGORY_NAMES
from service.ranges import ranges_of
from service.result_series import open_shelf, take_up, write_back
from service.status import WhatIf
from service.what_if import check_changeable, what_if


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescreened:
    """What came of it.

    Attributes
    ----------
    version : int
        Of the settings in force now.
    counts : dict
        Frames by category.
    flipped : list of (int, int)
        Ranges of frame numbers whose verdict changed.
    flips, reads : int
        How many those are, and how many frames were read for it.
    unresolved : list of int
        Frames whose verdict should change but whose bytes are nowhere any more.
    """

    result: Path
    version: int
    counts: dict[str, int]
    flips: int
    flipped: list[tuple[int, int]]
    reads: int
    unresolved: list[int]
    image: str


def rescreen_file(
    result: Path, changes: Mapping[str, object], *, files: Sequence[Path] = (), image: bool = True
) -> Rescreened:
    """Put other thresholds in force on a finished result file and write it anew.

    Parameters
    ----------
    result : Path
    changes : dict
        Settings of the sections screening and reconstruction by their dotted names.
    files : sequence of Path
        Eiger master files with the frames, besides the spool.
    image : bool
        Whether the image is made again, too, if the settings want one.

    Raises
    ------
    UserError
        When the file, a setting or the disk cannot be used; the result file is as it was then.
    """
    check_changeable(changes)
    shelf = open_shelf(result, files)
    try:
        series, state = take_up(result, shelf)
        before = state.columns["verdict"]
        series.apply_settings(series.settings.changed(changes))
        series.finish()
        after = series.ledger.column("verdict")
        flipped = series.ledger.column("frame")[after != before]
        what = ("rescreened", json.dumps({"version": series.version, **changes}, default=str))
        said = write_back(series, state, result, what, image=image)
        return Rescreened(
            result=result,
            version=series.version,
            counts={name: int((after == number).sum()) for number, name in enumerate(CATEGORY_NAMES)},
            flips=int(flipped.size),
            flipped=ranges_of(np.asarray(flipped)),
            reads=shelf.reads,
            unresolved=series.unresolved_frames(),
            image=said,
        )
    finally:
        shelf.close()


def try_out(result: Path, cases: Sequence[Mapping[str, object]], files: Sequence[Path] = ()) -> list[WhatIf]:
    """Say what several sets of settings would change; nothing is read or written but the result file.

    `files` are Eiger master files with the frames, besides the spool: whether those that would flip can be read again.

    Raises
    ------
    UserError
    """
    shelf = open_shelf(result, files)
    try:
        series, _ = take_up(result, shelf)
        found = what_if(series.scored(), series.settings, cases)
        for one in found:
            numbers = [number for first, last in one.frames for number in range(first, last + 1)]
            one.not_at_hand = sum(not shelf.has(number) for number in numbers)
    finally:
        shelf.close()
    return found
