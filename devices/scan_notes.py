"""What the detector tells the live service about its exposures; without a service nobody is told anything."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from devices.errors import NoteRefusedError
from devices.exposure import Exposure
from devices.live_result import BOOKING_TIMEOUT_S, LiveResult
from devices.series import Series

PAUSE_TIMEOUT_S = 3.0
"""For what is told while a scan is being paused or ended, wall s."""


Note = dict[str, Any]


class ScanNotes:
    """The scan's side of the conversation with the service.

    Parameters
    ----------
    live : LiveResult
    told : bool
        False: there is no service.
    owed : iterable of dict
        What the service could not be told of the series before.
    """

    def __init__(self, live: LiveResult, *, told: bool = True, owed: Iterable[Note] = ()) -> None:
        self._live, self.told = live, told
        self.owed: list[Note] = list(owed)

    def book(
        self,
        series: Series,
        exposure: Exposure,
        frame: int,
        timeout_s: float = BOOKING_TIMEOUT_S,
        *,
        void: bool = False,
        patient: bool = False,
    ) -> None:
        """Tell the point of a frame; one that nobody gave a point is only worth telling when it is void.

        That a frame is void is owed to the service until it has taken it: what fails now is told before the next point.
        """
        if not self.told or (exposure.point < 0 and not void):
            return
        note: Note = {
            "series": series.number,
            "frame": frame,
            "point": exposure.point,
            "x_um": exposure.x_um,
            "y_um": exposure.y_um,
            "void": void,
        }
        if void:
            self.owed.append(note)
        self.tell_owed(timeout_s, patient=patient)
        if not void:  # one that is given up meanwhile is told no more: its frame's number is the next one's
            self._live.book(**note, timeout_s=timeout_s, patient=patient, cancelled=exposure.cancelled.is_set)

    def tell_owed(self, timeout_s: float, *, patient: bool = False) -> None:
        """Tell which frames are void and that the service has not taken yet; twice does no harm.

        Raises
        ------
        NoteRefusedError
            When it refuses one; the others have been told then.
        """
        refused: NoteRefusedError | None = None
        for note in tuple(self.owed):
            try:
                self._live.book(**note, timeout_s=timeout_s, patient=patient)
            except NoteRefusedError as error:
                refused = error
            self._settle(note)
        if refused is not None:
            raise refused

    def _settle(self, note: Note) -> None:
        with suppress(ValueError):  # another thread has told it as well
            self.owed.remove(note)

    def void_orphans(self, series: Series) -> None:
        """Take frames out of the sum that somebody else's triggers made: nobody knows where the stage was."""
        for frame in series.orphans() if self.told else []:
            self._live.book(
                series=series.number, frame=frame, point=-1, x_um=0.0, y_um=0.0, void=True, timeout_s=PAUSE_TIMEOUT_S
            )

    def expect(self, frames: int | None, timeout_s: float = BOOKING_TIMEOUT_S, *, patient: bool = False) -> None:
        """Tell how many frames are meant to come, if that is known."""
        if self.told and frames is not None:
            self._live.expect(frames, timeout_s, patient=patient)

    def pausing(self, paused: bool) -> None:
        """Tell that the scan rests, or goes on."""
        if self.told:
            self._live.pausing(paused, PAUSE_TIMEOUT_S)
