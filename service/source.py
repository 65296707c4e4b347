"""What a publisher (web page, PVs) may ask of the running service."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.page_source import PageSource
from service.status import Purpose, Status, WhatIf

PreviewName = Literal["sum", "last", "background", "reconstruction"]


class PointNote(BaseModel):
    """What the scan says about one exposure (the `Point` PV)."""

    model_config = ConfigDict(extra="forbid")

    series: int = Field(ge=0)
    frame: int = Field(ge=0)
    point: int = Field(ge=-1)
    x_um: float
    y_um: float
    void: bool = False


class Preview(BaseModel):
    """A small picture's numbers: pooled by maximum of what the detector saw.

    Attributes
    ----------
    pixels : ndarray, shape (row, col), float32
        Values; NaN where nothing was measured.
    step : int
        How many detector pixels one pixel stands for.
    version : int
        Grows with every change, so that pictures can be cached.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    pixels: NDArray[np.float32]
    step: int = 1
    version: int
    log: bool = True
    frames: int = 0


class LiveSource(Protocol):
    """The steering and viewing side of the service; every method is safe from any thread and quick."""

    @property
    def views(self) -> PageSource:
        """What the live page looks at beyond the status."""

    def status(self) -> Status:
        """Return the books and the state at this moment."""

    def change_count(self) -> int:
        """Return a number that grows with every change of the status."""

    def wait_for_change(self, seen: int, timeout_s: float) -> int:
        """Wait until `change_count` exceeds `seen` or the time is over; return the count."""

    def preview(self, what: PreviewName) -> Preview | None:
        """Return the newest small picture, None before there is one."""

    def book_point(self, note: PointNote) -> None:
        """Join a scan point to a frame; `void` takes that frame out of the sum."""

    def expect(self, frames: int) -> None:
        """Say how many frames the client intends to take in this series."""

    def declare(self, purpose: Purpose) -> None:
        """Say what the open series is for.

        Raises
        ------
        ValueError
            When no series is open.
        """

    def pause(self, paused: bool) -> None:
        """Suspend the idle timeout while the plan is paused."""

    def change_settings(self, changes: Mapping[str, object], who: str) -> int:
        """Apply settings by their contract names; return the new version of the settings.

        Raises
        ------
        ValueError
            When a name is unknown or a value is outside its limits; the sentence says which.
        """

    def what_if(self, cases: Sequence[Mapping[str, object]]) -> list[WhatIf]:
        """Say what several sets of settings would change; nothing does.

        Raises
        ------
        ValueError
            When a setting cannot be used.
        """

    def request_reconstruction(self, who: str) -> None:
        """Reconstruct from what is there now."""

    def request_snapshot(self, who: str) -> str:
        """Write the result file now; return its path."""

    def mark(self, frames: Sequence[int], who: str, *, out: bool) -> None:
        """Leave frames out of the sum by hand, or take them back.

        Raises
        ------
        ValueError
            When there is no series or no such frame.
        """

    def write_note(self, text: str, who: str) -> None:
        """Write a note into the record of the run.

        Raises
        ------
        ValueError
            When there is no series, or the text cannot be taken.
        """
