"""Put the status together: every counter is read under one lock, so that the books can be compared."""

import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from processing.frame import CATEGORY_NAMES
from service.ledger import PENDING
from service.mailbox import Mailbox
from service.office import Office
from service.pipeline import Pipeline
from service.ranges import count_of
from service.receive import RECEIVE_BUFFER_BYTES
from service.safety import Safety
from service.status import AtRisk, Counts, Forecast, LastFrame, Ring, State, Status

_VERSION = version("xedm")


class StatusBoard:
    """Reads pipeline, office and mailbox and says how things stand.

    Parameters
    ----------
    pipeline : Pipeline
    office : Office
    mailbox : Mailbox
    endpoint : str
        Where the stream comes from, for the sentences.
    safety : callable
        Returns who keeps the open series safe.

    Attributes
    ----------
    ring : callable
        Returns what the storage ring shows; nothing until somebody watches it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        office: Office,
        mailbox: Mailbox,
        endpoint: str,
        safety: Callable[[], Safety | None] = lambda: None,
    ) -> None:
        self._safety = safety
        self.ring: Callable[[], Ring | None] = lambda: None
        self._pipeline, self._office, self._mailbox, self._endpoint = pipeline, office, mailbox, endpoint
        self._begun = time.monotonic()

    def status(self) -> Status:
        """Return the books and the state at this moment."""
        pipeline, office = self._pipeline, self._office
        with pipeline.lock:
            series = pipeline.series
            images, in_mailbox = self._mailbox.count()
            missing = self._missing()
            counts = self._counts(images, in_mailbox, missing)
            booked = sum(getattr(counts, name) for name in CATEGORY_NAMES if name != "missing")
            folder = office.current if series is not None else None
            safety = self._safety()
            durable = safety.durable_through() if safety else 0
            if series is not None and series.concluded:
                durable = len(series.ledger)
            return Status(
                state=pipeline.state,
                degraded=list(office.degraded.values()),
                series=series.header.series if series else None,
                announced=series.announced if series else None,
                expected=series.expected if series else None,
                counts=counts,
                balanced=counts.received == booked + counts.pending,
                behind=in_mailbox,
                rate_hz=round(pipeline.rate.hz(time.monotonic()), 2),
                missing_frames=missing,
                unresolved=series.unresolved_frames() if series else [],
                durable_through=durable,
                ledger_through=safety.keeper.ledger_through if safety else 0,
                not_spooled=safety.not_spooled if safety else 0,
                fetching=len(series.to_fetch) if series else 0,
                recovered=safety.refetcher.recovered if safety else 0,
                read_again=safety.refetcher.read if safety else 0,
                at_risk=AtRisk(
                    since_checkpoint=max(0, len(series.ledger) - durable) if series else 0,
                    receive_queue=self._queue_bound(),
                ),
                parameters=self._parameters(),
                reference_total=series.reference if series else None,
                result=str(folder.path) if folder else None,
                errors=pipeline.errors.all(),
                last=self._last(),
                purpose=series.purpose if series else "sample",
                direct_beam=pipeline.direct_beam if series else None,
                reconstruction=office.reconstruction,
                forecast=_with_missing(office.forecast, counts.accepted),
                paused=pipeline.paused,
                ring=self.ring(),
                ends_within_s=pipeline.ends_within_s(),
                shape=series.shape if series else None,
                pixel_size_m=series.header.pixel_size_m if series else None,
                started=folder.started if folder else None,
                message=self._message(pipeline.state, counts),
                version=_VERSION,
            )

    def _counts(self, images: int, in_mailbox: int, missing: list[tuple[int, int]]) -> Counts:
        pipeline = self._pipeline
        ledger = pipeline.series.ledger if pipeline.series else None
        booked = dict(ledger.counts) if ledger else {}
        booked["foreign"] = pipeline.foreign
        booked["missing"] = count_of(missing)
        # What waits for a header when a series has ended is foreign to it; the next series may still claim it.
        waiting = len(pipeline.waiting)
        if pipeline.series is not None and pipeline.series.ended:
            booked["foreign"] += waiting
            waiting = 0
        pending = in_mailbox + waiting + (ledger.pending if ledger else 0)
        received = images - pipeline.images_before
        elsewhere = pipeline.series.not_from_socket if pipeline.series else 0
        return Counts(received=received + elsewhere, pending=pending, **booked)

    def _queue_bound(self) -> int:
        """Return how many frames may be between the socket and the sums: they go with a killed service."""
        stream = self._pipeline.settings.stream
        last = self._pipeline.last_frame
        in_socket = 0 if last is None else -(-RECEIVE_BUFFER_BYTES // max(1, len(last.blob)))
        return stream.receive_high_water + stream.queue_frames + 2 * stream.workers + 2 + in_socket

    def _missing(self) -> list[tuple[int, int]]:
        """While frames may still come only holes count; once the series has ended, the tail counts too."""
        series = self._pipeline.series
        return [] if series is None else series.ledger.missing_frames(series.announced if series.ended else None)

    def _parameters(self) -> dict[str, object]:
        tree = self._pipeline.settings.model_dump(mode="json", exclude={"beamline"})
        flat = {f"{section}.{key}": value for section, part in tree.items() for key, value in part.items()}
        series = self._pipeline.series
        return {"version": series.version if series else 1, **flat}

    def _last(self) -> LastFrame | None:
        pipeline = self._pipeline
        if pipeline.series is None or pipeline.last_row < 0:
            return None
        row = pipeline.series.row(pipeline.last_row)
        verdict = int(row["verdict"])
        return LastFrame(
            frame=int(row["frame"]),
            total=int(row["total"]),
            chi2=None if np.isnan(row["chi2"]) else row["chi2"],
            dof=int(row["dof"]),
            verdict="pending" if verdict == PENDING else CATEGORY_NAMES[verdict],
        )

    def _message(self, state: State, counts: Counts) -> str:
        waited = time.monotonic() - self._begun
        if state == "idle" and not counts.received and waited > self._pipeline.settings.stream.connect_timeout_s:
            return (
                f"no series from {self._endpoint} for {waited:.0f} s; is the detector on, its stream enabled, "
                "the port right?"
            )
        return {
            "idle": f"waiting for the detector at {self._endpoint}",
            "armed": "the detector is armed, no frame yet",
            "receiving": "frames are coming in",
            "complete": "series complete: every announced frame is in the books",
            "incomplete": f"series ended with {counts.missing} missing and {counts.corrupt} corrupt frames",
            "failed": "series failed: see the errors",
        }[state]


def _with_missing(forecast: Forecast, accepted: int) -> Forecast:
    """Return a forecast with the frames still to come."""
    if forecast.frames_needed is None:
        return forecast
    return forecast.model_copy(update={"frames_missing": max(0, forecast.frames_needed - accepted)})
