"""Where the direct beam hits the detector: attenuator in, beam stop out, one frame, beam stop in, attenuator out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from ophyd import Component, Device, Signal

from devices.attenuator import Attenuator
from devices.beam_stop import BeamStop
from devices.eiger import Eiger
from devices.errors import AttenuatorError, DetectorError, InterlockError
from devices.exposure import SeriesPlan
from devices.storage_ring import MARGIN_S, StorageRing
from plans.plan_type import Plan
from plans.series_run import declare_purpose, event, named_failures, the_eiger
from plans.tell import Tell, say
from plans.top_up import check_fits, gate

FLUX_PER_S = 1e9
"""Photons a second in the beam without attenuation (the paper's section 2.2)."""
MAX_RATE_PER_S = 1e5
"""Counts a second that the brightest pixel may see: a twentieth of what an Eiger still counts."""
TRIES = 5
FAR_PX = 20.0
"""A beam further from the header's beam centre than this is worth a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectBeam:
    """What was found; `str()` says it in words.

    Attributes
    ----------
    row, column : float
        Centre of the direct beam, px; pixel centres lie at integers.
    header_row, header_column : float
        What the detector's settings say (`beam_center_y`, `beam_center_x`).
    peak_rate_per_s : float
        Counts a second of the brightest pixel.
    transmission : float
        That the attenuator had reached.
    """

    row: float
    column: float
    header_row: float
    header_column: float
    peak_rate_per_s: float
    transmission: float

    @property
    def off_px(self) -> float:
        """Distance of the beam from where the header says it is, px."""
        return float(((self.row - self.header_row) ** 2 + (self.column - self.header_column) ** 2) ** 0.5)

    def __str__(self) -> str:
        """Give the centre beside the header's."""
        far = "; see whether this is the direct beam, before you use it" if self.off_px > FAR_PX else ""
        return (
            f"direct beam at row {self.row:.2f}, column {self.column:.2f}; the detector's settings say "
            f"{self.header_row:.2f}, {self.header_column:.2f}: {self.off_px:.2f} px off. Brightest pixel "
            f"{self.peak_rate_per_s:.3g} /s at a transmission of {self.transmission:.2g}{far}"
        )


class Finding(Device):
    """The result as the documents have it."""

    row = Component(Signal, value=0.0, kind="hinted")
    column = Component(Signal, value=0.0, kind="hinted")
    header_row = Component(Signal, value=0.0)
    header_column = Component(Signal, value=0.0)
    peak_rate_per_s = Component(Signal, value=0.0)
    transmission = Component(Signal, value=1.0)

    def show(self, found: DirectBeam) -> None:
        """Take the values of what was found."""
        for name in self.component_names:
            getattr(self, name).put(getattr(found, name))


def find_direct_beam(
    detectors: Sequence[Any],
    attenuator: Attenuator,
    beam_stop: BeamStop,
    exposure: float = 1.0,
    *,
    flux: float = FLUX_PER_S,
    max_rate: float = MAX_RATE_PER_S,
    confirm: Callable[[str], bool] | None = None,
    ring: StorageRing | None = None,
    margin: float = MARGIN_S,
    tell: Tell = None,
    md: Mapping[str, Any] | None = None,
) -> Plan:
    """Find where the direct beam hits the detector.

    With the shutter closed the attenuator goes in. The beam stop leaves only when the transmission that the attenuator
    has *reached* keeps the brightest pixel under `max_rate`, even if the whole beam falls on one pixel, and when a
    person has said yes. Then one frame is exposed; the live service finds the spot on it and sums nothing. Whatever
    happens, the shutter closes, then the beam stop goes in, and only when it is in the attenuator goes back to what it
    was. A pause is an abort here: nobody shall wait with the stop out.

    Parameters
    ----------
    detectors : sequence
        One `Eiger` and whatever else shall be read.
    attenuator : Attenuator
    beam_stop : BeamStop
    exposure : float
        s.
    flux : float
        Photons a second in the beam without attenuation.
    max_rate : float
        Counts a second that the brightest pixel may see.
    confirm : callable, optional
        Is given the question and returns whether to go on. By default the person at the prompt is asked; only a
        simulation may answer for itself.
    ring, margin
        As for `ensemble_scan`.
    tell : callable, optional
        Is told the result; by default it is printed.
    md : mapping, optional
        More metadata for the run.

    Returns
    -------
    DirectBeam

    Raises
    ------
    ValueError
        Before anything moves, for an exposure or rate that cannot be.
    AttenuatorError
        When the attenuator lets too much through; the stop has not moved then.
    InterlockError
        When nobody says yes; the stop has not moved then.
    DetectorError
        When there is no spot, or the brightest pixel sees more than `max_rate`.

    Examples
    --------
    >>> RE(find_direct_beam([eig1m], attenuator, beam_stop))  # doctest: +SKIP
    """
    detector = the_eiger(detectors)
    machine = ring if ring is not None else detector.ring
    check_fits(machine, exposure, margin)
    if not 0.0 < max_rate <= flux:
        raise ValueError(f"max_rate must be above 0 and at most the flux of {flux:g} /s, got {max_rate:g} /s")
    finding = Finding(name="direct_beam")
    metadata = {
        "plan_name": "find_direct_beam",
        "plan_args": {"exposure": exposure, "flux": flux, "max_rate": max_rate, "margin": margin},
        "detectors": [device.name for device in detectors],
        "exposure_s": exposure,
        "num_points": 1,
        **dict(md or {}),
    }
    before = yield from bps.rd(attenuator.achieved, default_value=1.0)

    def align() -> Plan:
        yield from bps.clear_checkpoint()
        yield from bps.mv(detector.shutter, "close")
        transmission = yield from _attenuate(attenuator, flux, max_rate, beam_stop.safe_transmission)
        yield from _ask(confirm, beam_stop.name, transmission, flux)
        yield from bps.prepare(detector, SeriesPlan(exposure_s=exposure, points=1, spare=TRIES), wait=True)
        return (yield from bpp.stage_wrapper(look(transmission), detectors))

    def look(transmission: float) -> Plan:
        yield from declare_purpose(detector, "alignment")
        yield from bps.mv(beam_stop, "out")
        yield from _expose(detector, machine, exposure, margin)
        found = yield from _found(detector, exposure, transmission)
        finding.show(found)
        yield from event([*detectors, finding, attenuator, beam_stop], "primary")
        if found.peak_rate_per_s > max_rate:
            raise DetectorError(
                f"brightest pixel must see at most {max_rate:g} counts a second, got {found.peak_rate_per_s:g} /s; "
                "give the true flux of the beam"
            )
        return found

    def restore() -> Plan:
        # The stop goes in whatever the shutter does; unless both have arrived, the attenuator stays where it is.
        yield from bpp.finalize_wrapper(bps.mv(detector.shutter, "close"), bps.mv(beam_stop, "in"))
        yield from bps.mv(attenuator, before)

    def run() -> Plan:
        # Within the run, so that its baseline tells how the beamline was left.
        found = yield from bpp.finalize_wrapper(align(), restore())
        results.append(found)

    results: list[DirectBeam] = []
    yield from named_failures(bpp.run_wrapper(run(), md=metadata))
    (found,) = results
    say(str(found), tell)
    return found


def _attenuate(attenuator: Attenuator, flux: float, max_rate: float, safe_transmission: float) -> Plan:
    """Put foils in; returns the transmission reached, or refuses it."""
    # Half of what is allowed: foils come in steps, and the nearest one may let more through.
    wanted = 0.5 * min(max_rate / flux, safe_transmission)
    yield from bps.mv(attenuator, wanted)
    reached = yield from bps.rd(attenuator.achieved, default_value=wanted)
    # Written so that NaN is refused too.
    if not 0.0 < reached * flux <= max_rate:
        raise AttenuatorError(
            f"{attenuator.name} must let at most {max_rate / flux:.3g} through for {max_rate:g} counts a second on the "
            f"brightest pixel, got {reached:.3g}; use more foils, or give the true flux (now {flux:g} /s)"
        )
    return float(reached)


def _ask(confirm: Callable[[str], bool] | None, stop: str, transmission: float, flux: float) -> Plan:
    """Go on only when a person says yes."""
    question = (
        f"{stop} is about to leave: the transmission is {transmission:.2g}, at most {transmission * flux:.2g} photons "
        "a second reach the detector."
    )
    if confirm is not None:
        answer = "yes" if confirm(question) else "no"
    else:
        answer = yield from bps.input_plan(f"{question} Type yes to go on: ")
    # A simulation of the plan answers nothing.
    if answer is not None and answer.strip().lower() not in ("yes", "y"):
        raise InterlockError(f"{stop} must leave only when a person says yes, got {answer.strip()!r}; it has not moved")


def _expose(detector: Eiger, machine: StorageRing, exposure_s: float, margin_s: float) -> Plan:
    """Take one frame that nothing has spoilt."""
    for _ in range(TRIES):
        yield from bps.abs_set(detector.point, {"point": -1, "x_um": 0.0, "y_um": 0.0}, wait=True)
        yield from gate(machine, exposure_s, margin_s, overhead_s=detector.overhead_s)
        yield from bps.trigger(detector, group="exposure", wait=True)
        valid = yield from bps.rd(detector.valid, default_value=1)
        if valid:
            return
    reasons = ", ".join(void.reason for void in detector.voids)
    raise DetectorError(f"{detector.name} must get a frame in {TRIES} tries, got {reasons}; see what disturbs the beam")


def _found(detector: Eiger, exposure_s: float, transmission: float) -> Plan:
    spot, cam = detector.live.direct_beam, detector.cam
    header_row = yield from bps.rd(cam.beam_center_y, default_value=0.0)
    header_column = yield from bps.rd(cam.beam_center_x, default_value=0.0)
    row = yield from bps.rd(spot.row, default_value=header_row)
    column = yield from bps.rd(spot.column, default_value=header_column)
    peak = yield from bps.rd(spot.peak, default_value=0.0)
    if row != row:  # noqa: PLR0124 - NaN
        raise DetectorError(
            f"{detector.name} must show the direct beam, got no bright spot outside its mask; see whether there is "
            "beam, and whether less attenuation (max_rate) or a longer exposure is needed"
        )
    return DirectBeam(
        row=float(row),
        column=float(column),
        header_row=float(header_row),
        header_column=float(header_column),
        peak_rate_per_s=float(peak) / exposure_s,
        transmission=transmission,
    )
