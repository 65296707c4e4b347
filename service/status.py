"""What the service says about itself: the one schema behind /status, the PVs and the page."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["idle", "armed", "receiving", "complete", "incomplete", "failed"]
ENDED: tuple[State, ...] = ("complete", "incomplete", "failed")
"""States in which a series has ended and its file is final."""
Purpose = Literal["sample", "background", "alignment"]
"""What a series is for: its frames are screened; or summed as background where they hit neither silicon nor an edge; or
not summed at all."""
PURPOSES: tuple[Purpose, ...] = ("sample", "background", "alignment")


class Counts(BaseModel):
    """Image messages by category; the contract's books."""

    model_config = ConfigDict(extra="forbid")

    received: int = 0
    accepted: int = 0
    low_intensity: int = 0
    streak: int = 0
    background: int = 0
    gated: int = 0
    corrupt: int = 0
    duplicate: int = 0
    foreign: int = 0
    missing: int = 0
    pending: int = 0


class NamedError(BaseModel):
    """Something that went wrong, in words for a person."""

    name: str
    message: str
    when: str = Field(description="UTC, ISO 8601")
    series: int | None = None
    frame: int | None = None


class LastFrame(BaseModel):
    """The newest frame of the series."""

    frame: int
    total: int
    chi2: float | None
    dof: int
    verdict: str


class DirectBeam(BaseModel):
    """The brightest spot of the newest frame of an alignment."""

    row: float
    col: float
    peak: int = Field(description="counts of its brightest pixel")
    photons: int


class ReconstructionStatus(BaseModel):
    """How far the image is."""

    state: Literal["off", "waiting", "running", "done", "failed"] = "off"
    frames: int | None = Field(None, description="frames in the sum the newest image was made from")
    resolution_m: float | None = None
    seconds: float | None = None
    message: str = ""
    warnings: list[str] = []


class Forecast(BaseModel):
    """How far the signal reaches above the noise, from two halves of the accepted frames; renewed with each image."""

    model_config = ConfigDict(extra="forbid")

    frames: int | None = Field(None, description="accepted frames it was made from")
    resolution_m: float | None = Field(None, description="half-period at which signal to noise of a bin falls below 1")
    wanted_resolution_m: float | None = Field(None, description="the setting reconstruction.wanted_resolution_m")
    frames_needed: int | None = Field(None, description="accepted frames in all for the wanted one; null: no telling")
    frames_missing: int | None = Field(None, description="of these, how many are still to come")


class Ring(BaseModel):
    """What the storage ring shows."""

    current_ma: float | None = Field(None, description="stored current; null: the PV says nothing that means anything")
    countdown_s: float | None = Field(None, description="to the next injection; null: as above")
    beam: bool = False
    message: str = Field("", description="what is wrong with the PVs")


class AtRisk(BaseModel):
    """What would be lost at the most if the service were killed now."""

    since_checkpoint: int = Field(0, description="booked frames that neither a checkpoint nor the spool has yet")
    receive_queue: int = Field(0, description="most frames that can be between the socket and the sums")


class Status(BaseModel):
    """The whole truth on one screen."""

    model_config = ConfigDict(extra="forbid")

    state: State = "idle"
    degraded: list[str] = []
    series: int | None = None
    announced: int | None = None
    expected: int | None = None
    counts: Counts = Counts()
    balanced: bool = True
    behind: int = 0
    rate_hz: float = 0.0
    missing_frames: list[tuple[int, int]] = Field([], description="ranges of frame numbers, both ends included")
    unresolved: list[int] = []
    durable_through: int = Field(0, description="frames that survive a killed service")
    ledger_through: int = Field(0, description="rows of the ledger that the disk has")
    not_spooled: int = Field(0, description="frames that are summed but not in the spool, although it is on")
    fetching: int = Field(0, description="frames being read again, because their verdict has changed")
    read_again: int = Field(0, description="frames that were read again for that so far")
    recovered: int = Field(0, description="missing frames that were found in the spool or the detector's files")
    at_risk: AtRisk = AtRisk()
    parameters: dict[str, object] = {}
    reference_total: float | None = None
    result: str | None = None
    errors: list[NamedError] = []
    last: LastFrame | None = None
    purpose: Purpose = "sample"
    direct_beam: DirectBeam | None = None
    reconstruction: ReconstructionStatus = ReconstructionStatus()
    forecast: Forecast = Forecast()
    paused: bool = False
    ring: Ring | None = Field(None, description="null: pvs.ring_addresses does not say where the ring's PVs are")
    ends_within_s: float = Field(
        0.0, description="how long after its last message a series without an end may take to its final state"
    )
    shape: tuple[int, int] | None = None
    pixel_size_m: float | None = None
    started: str | None = None
    message: str = "waiting for the detector"
    version: str = ""


class WhatIf(BaseModel):
    """What a set of settings would change."""

    changes: dict[str, object] = Field(description="the settings by their dotted names")
    counts: dict[str, int] = Field(description="judged frames by category")
    flips: int = Field(description="frames whose verdict would change")
    frames: list[tuple[int, int]] = Field(description="their numbers, ranges with both ends included")
    not_at_hand: int | None = Field(
        None,
        description="how many of them cannot be read again, so that their verdict could not change; null: not known",
    )
