"""What the detector tells the live service about its exposures; without a service nobody is told anything."""

from devices.exposure import Exposure
from devices.live_result import BOOKING_TIMEOUT_S, LiveResult
from devices.series import Series

PAUSE_TIMEOUT_S = 3.0
"""For what is told while a scan is being paused or ended, wall s."""


class ScanNotes:
    """The scan's side of the conversation with the service.

    Parameters
    ----------
    live : LiveResult
    told : bool
        False: there is no service.
    """

    def __init__(self, live: LiveResult, *, told: bool = True) -> None:
        self._live, self.told = live, told

    def book(
        self,
        series: Series,
        exposure: Exposure,
        frame: int,
        timeout_s: float = BOOKING_TIMEOUT_S,
        *,
        patient: bool = False,
    ) -> None:
        """Tell the point of a frame; one that nobody gave a point is only worth telling when it is void."""
        if not self.told or (exposure.point < 0 and not exposure.void):
            return
        self._live.book(
            series=series.number,
            frame=frame,
            point=exposure.point,
            x_um=exposure.x_um,
            y_um=exposure.y_um,
            void=bool(exposure.void),
            timeout_s=timeout_s,
            patient=patient,
        )

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
