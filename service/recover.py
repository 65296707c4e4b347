"""Complete a finished result with frames that the wire lost but a file has."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from processing.frame import Refusal
from service.pipeline import examine
from service.ranges import ranges_of
from service.result_series import open_shelf, take_up, write_back


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What came of it.

    Attributes
    ----------
    recovered : list of (int, int)
        Ranges of frame numbers that were found and booked.
    missing : list of (int, int)
        Those that are still missing.
    damaged : dict of int to str
        Those whose bytes were found but cannot be read, and why.
    """

    result: Path
    counts: dict[str, int]
    recovered: list[tuple[int, int]]
    missing: list[tuple[int, int]]
    damaged: dict[int, str]
    unresolved: list[int]
    image: str


def recover_file(
    result: Path,
    files: Sequence[Path],
    *,
    image: bool = True,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Recovered:
    """Fetch the missing and the corrupt frames of a finished result from files, and write it anew.

    Parameters
    ----------
    result : Path
    files : sequence of Path
        Eiger master files; the spool beside the result is looked into first.
    image : bool
        Whether the image is made again.
    progress : callable
        Called with frames done and frames in all.

    Raises
    ------
    UserError
        When a file or the disk cannot be used; the result file is as it was then.
    """
    shelf = open_shelf(result, files)
    try:
        series, state = take_up(result, shelf)
        number = state.header.series
        wanted = series.lacking_frames()
        found: list[int] = []
        damaged: dict[int, str] = {}
        for done, frame_number in enumerate(wanted, start=1):
            frame = shelf.frame(number, frame_number)
            if frame is not None:
                outcome = examine(frame, series)
                if isinstance(outcome, Refusal):
                    damaged[frame_number] = outcome.reason
                else:
                    series.book_recovered(frame, *outcome)
                    found.append(frame_number)
            progress(done, len(wanted))
        series.finish()
        said = "nothing was found, the file is as it was"
        if found:
            what = ("recovered", json.dumps({"frames": ranges_of(found), "from": [path.name for path in files]}))
            said = write_back(series, state, result, what, image=image)
        return Recovered(
            result=result,
            counts={name: count for name, count in series.ledger.counts.items() if count},
            recovered=ranges_of(found),
            missing=series.ledger.missing_frames(series.announced),
            damaged=damaged,
            unresolved=series.unresolved_frames(),
            image=said,
        )
    finally:
        shelf.close()
