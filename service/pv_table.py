"""The PVs of the live service: one line each, with type, unit, limits, alarm and where the value comes from."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from service.status import PURPOSES, DirectBeam, LastFrame, Status

Kind = Literal["integer", "number", "string", "text", "choice", "picture"]
Severity = Literal[0, 1, 2]
Value = int | float | str

NO_ALARM: Severity = 0
MINOR: Severity = 1
MAJOR: Severity = 2
RECORDS: Mapping[Kind, str] = {
    "integer": "longin", "number": "ai", "string": "stringin", "text": "waveform", "choice": "bi",
    "picture": "waveform",
}  # fmt: skip
WRITABLE_RECORDS: Mapping[Kind, str] = {
    "integer": "longout", "number": "ao", "string": "stringout", "text": "waveform", "choice": "bo",
    "picture": "waveform",
}  # fmt: skip
TEXT_LENGTH = 1024
PICTURE_SIDE = 256
INT_MAX = 2**31 - 1
NO_YES = ("No", "Yes")


def _no_alarm(_: Status) -> Severity:
    return NO_ALARM


@dataclass(frozen=True, slots=True, kw_only=True)
class PV:
    """One PV.

    Attributes
    ----------
    name : str
        Name without the prefix.
    kind : str
        integer (LONG), number (DOUBLE), string (STRING, under 40 characters), text (CHAR waveform of 1024), choice
        (ENUM), picture (CHAR waveform of 65536 bytes).
    doc : str
        What it says.
    value : callable
        Its value in a status.
    units : str
        Engineering unit.
    precision : int
        Digits after the point on a screen.
    limits : (float, float) or None
        Display limits, and for a writable PV the limits outside of which a write is refused.
    choices : tuple of str
        Names of a choice's states.
    alarm : callable
        Alarm severity in a status.
    written_by : str
        "" (read-only), "scan" or "steering".
    """

    name: str
    kind: Kind
    doc: str
    value: Callable[[Status], Value] | None = None
    units: str = ""
    precision: int = 0
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    alarm: Callable[[Status], Severity] = _no_alarm
    written_by: Literal["", "scan", "steering"] = ""


def _state_alarm(status: Status) -> Severity:
    return {"failed": MAJOR, "incomplete": MINOR}.get(status.state, NO_ALARM)


def _count(name: str, category: str, doc: str, *, loss: bool = False) -> PV:
    def value(status: Status) -> int:
        return int(getattr(status.counts, category))

    def alarm(status: Status) -> Severity:
        return MINOR if loss and value(status) else NO_ALARM

    return PV(name=f"Frames:{name}", kind="integer", doc=doc, value=value, units="frames", alarm=alarm)


def _of_last(read: Callable[[LastFrame], Value], none: Value) -> Callable[[Status], Value]:
    return lambda status: none if status.last is None else read(status.last)


def _of_beam(read: Callable[[DirectBeam], float], none: float) -> Callable[[Status], Value]:
    return lambda status: none if status.direct_beam is None else read(status.direct_beam)


def _chi2(last: LastFrame) -> float:
    return math.nan if last.chi2 is None else last.chi2


def setting(status: Status, name: str) -> float:
    """Read a number from the status's settings by its dotted name, NaN where it is not told."""
    found: object = status.parameters.get(name)
    if found is None:
        found = status.parameters
        for step in name.split("."):
            found = cast("Mapping[str, object]", found).get(step) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else math.nan


# `Last:Frame` is the last of the table: whoever waits for it finds everything else already up to date.
TABLE: tuple[PV, ...] = (
    PV(name="State", kind="string", doc="idle, armed, receiving, complete, incomplete or failed",
       value=lambda s: s.state, alarm=_state_alarm),
    PV(name="Degraded", kind="text", doc="reasons why the service is not well, empty when well",
       value=lambda s: "; ".join(s.degraded), alarm=lambda s: MINOR if s.degraded else NO_ALARM),
    PV(name="Series", kind="integer", doc="series number of the detector, -1 when none",
       value=lambda s: -1 if s.series is None else s.series),
    PV(name="Announced", kind="integer", doc="frames announced for the series, -1 when not known",
       value=lambda s: -1 if s.announced is None else s.announced, units="frames"),
    PV(name="Balanced", kind="choice", doc="do the books balance", value=lambda s: NO_YES[s.balanced], choices=NO_YES,
       alarm=lambda s: NO_ALARM if s.balanced else MAJOR),
    PV(name="Rate", kind="number", doc="frames a second", value=lambda s: s.rate_hz, units="Hz", precision=2,
       limits=(0, 150)),
    PV(name="Behind", kind="integer", doc="frames waiting to be processed", value=lambda s: s.behind, units="frames"),
    PV(name="Pending", kind="integer", doc="frames whose verdict is open", value=lambda s: s.counts.pending,
       units="frames"),
    _count("Received", "received", "image messages received"),
    _count("Accepted", "accepted", "frames in the sum"),
    _count("LowIntensity", "low_intensity", "frames too weak (silicon frame, edge of the membrane)"),
    _count("Streak", "streak", "frames with a streak in the ring"),
    _count("Background", "background", "frames beside the particles, in the background sum"),
    _count("Gated", "gated", "frames that overlap a veto: injection, beam loss, closed shutter, void point"),
    _count("Corrupt", "corrupt", "frames that could not be read", loss=True),
    _count("Duplicate", "duplicate", "frame numbers that came again"),
    _count("Foreign", "foreign", "frames of another series or without a header"),
    _count("Missing", "missing", "announced frames that have not come"),
    PV(name="Resolution", kind="number", doc="resolution of the newest image, NaN before there is one",
       value=lambda s: math.nan if s.reconstruction.resolution_m is None else s.reconstruction.resolution_m,
       units="m", precision=10),
    PV(name="Result", kind="text", value=lambda s: os.path.abspath(s.result) if s.result else "",
       doc="whole path of the series' result file, empty when there is none"),
    PV(name="EndsWithin", kind="number", value=lambda s: s.ends_within_s, units="s",
       doc="how long after its last message a series without an end may take to its final state"),
    PV(name="Preview:Width", kind="integer", doc="columns of the preview, 0 before there is one", units="px"),
    PV(name="Preview:Height", kind="integer", doc="rows of the preview, 0 before there is one", units="px"),
    PV(name="Preview", kind="picture", doc="the sum, log scale, row by row: 0 not measured, 1 to 255"),
    PV(name="Point", kind="text", written_by="scan",
       doc="JSON text: series, frame, point, x_um, y_um, void; the put completes when it is booked"),
    PV(name="Point:Error", kind="text", doc="why the last Point was refused, empty when it was booked"),
    PV(name="Expected", kind="integer", doc="frames the client intends to take in this series, -1 when not said",
       value=lambda s: -1 if s.expected is None else s.expected, units="frames", limits=(0, INT_MAX),
       written_by="scan"),
    PV(name="Paused", kind="choice", doc="is the plan paused: suspends the idle timeout",
       value=lambda s: NO_YES[s.paused], choices=NO_YES, written_by="scan"),
    PV(name="Purpose", kind="choice", value=lambda s: s.purpose, choices=PURPOSES, written_by="scan",
       doc="what the open series is for: sample is screened, background is summed as background but for silicon and "
       "edges, alignment is not summed; each series begins as sample"),
    PV(name="DirectBeam:Row", kind="number", value=_of_beam(lambda b: b.row, math.nan), units="px", precision=3,
       doc="row of the brightest spot of the last frame of an alignment, NaN where there is none"),
    PV(name="DirectBeam:Column", kind="number", value=_of_beam(lambda b: b.col, math.nan), units="px", precision=3,
       doc="its column"),
    PV(name="DirectBeam:Peak", kind="number", value=_of_beam(lambda b: b.peak, -1), units="photons",
       doc="counts of its brightest pixel, -1 where there is none"),
    PV(name="DirectBeam:Photons", kind="number", value=_of_beam(lambda b: b.photons, -1), units="photons",
       doc="counts in it, what lies around it subtracted, -1 where there is none"),
    PV(name="Chi2RatioMax", kind="number", doc="screening.chi2_ratio_max, chi^2 over dof",
       value=lambda s: setting(s, "screening.chi2_ratio_max"), precision=3, limits=(0.01, 1e6), written_by="steering"),
    PV(name="IntensityRatioMin", kind="number", doc="screening.intensity_ratio_min, of the reference total",
       value=lambda s: setting(s, "screening.intensity_ratio_min"), precision=3, limits=(0, 1), written_by="steering"),
    PV(name="Reconstruct", kind="choice", doc="write 1 to reconstruct from what is there now",
       value=lambda _: NO_YES[0], choices=NO_YES, written_by="steering"),
    PV(name="Last:Total", kind="number", doc="photons on the last frame, -1 before the first",
       value=_of_last(lambda last: last.total, -1), units="photons"),
    PV(name="Last:Chi2", kind="number", doc="chi^2 of the last frame's ring, NaN without valid ring pixels",
       value=_of_last(_chi2, math.nan), precision=3),
    PV(name="Last:Verdict", kind="string", doc="category of the last frame",
       value=_of_last(lambda last: last.verdict, "")),
    PV(name="Last:Frame", kind="integer", doc="number of the last frame, -1 before the first",
       value=_of_last(lambda last: last.frame, -1)),
)  # fmt: skip


def as_markdown() -> str:
    """Return the reference table of docs/reference/pvs.md."""
    lines = ["| PV | type | unit | limits | written by | says |", "|---|---|---|---|---|---|"]
    for pv in TABLE:
        limits = f"{pv.limits[0]:g} to {pv.limits[1]:g}" if pv.limits else ""
        kind = f"{pv.kind} ({', '.join(pv.choices)})" if pv.choices else pv.kind
        lines.append(f"| `{pv.name}` | {kind} | {pv.units} | {limits} | {pv.written_by} | {pv.doc} |")
    return "\n".join(lines) + "\n"
