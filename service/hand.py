"""What a person says about a running series: frames marked by hand, and notes for the record."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from processing.frame import MAX_FRAMES
from service.pipeline import Pipeline
from service.series import Remark
from service.source import PointNote

MOST_FRAMES = 1000
MOST_CHARACTERS = 2000
MOST_NOTES = 1000


class Hand:
    """Marks frames of the open or last series and writes notes about it.

    Parameters
    ----------
    pipeline : Pipeline
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def mark(self, frames: Sequence[int], *, out: bool) -> None:
        """Leave frames out of the sum, as a void point is, or judge them by their pixels again.

        Raises
        ------
        ValueError
            When there is no series, or a number cannot be one of its frames.
        """
        if not frames or len(frames) > MOST_FRAMES:
            raise ValueError(f"frames must be 1 to {MOST_FRAMES} numbers at a time, got {len(frames)}")
        with self._pipeline.lock:
            series = self._pipeline.series
            if series is None:
                raise ValueError("there is no series whose frames could be marked yet")
            for frame in frames:
                if not 0 <= frame < MAX_FRAMES or series.ledger.row_of(frame) is None:
                    raise ValueError(f"frames must be numbers of frames that have come, got {frame}")
            for frame in frames:
                known = series.ledger.notes.get(frame)
                note = known or PointNote(
                    series=series.header.series, frame=frame, point=-1, x_um=math.nan, y_um=math.nan
                )
                self._pipeline.note_point(note.model_copy(update={"void": out}))

    def write(self, text: str) -> None:
        """Write a note into the record of the run: ledger and result file.

        Raises
        ------
        ValueError
            When there is no series, or the text is empty or too long.
        """
        text = text.strip()
        if not text or len(text) > MOST_CHARACTERS:
            raise ValueError(f"a note must have 1 to {MOST_CHARACTERS} characters, got {len(text)}")
        with self._pipeline.lock:
            series = self._pipeline.series
            if series is None:
                raise ValueError("there is no series to write about yet")
            if len(series.remarks) >= MOST_NOTES:
                raise ValueError(f"notes must be at most {MOST_NOTES} a series, got one more")
            self._pipeline.remark(Remark(when=datetime.now(UTC).isoformat(timespec="seconds"), text=text))
