"""What `xedm check` finds, and what that means for its exit code. Nothing that it does changes anything."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong", "invalid", "unreached"]
CODES: dict[State, int] = {"ok": 0, "note": 0, "wrong": 1, "invalid": 3, "unreached": 4}
"""Of the command: what cannot be reached weighs most, then what the configuration asks for and cannot have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    area : str
        What it belongs to: channel access, stage, ring, stream, disk ...
    what : str
        The PV, address, folder or setting.
    state : str
        ok; note: worth knowing; wrong: will not work; invalid: the configuration asks for what cannot be; unreached.
    said : str
        What was found, in plain words.
    do : str
        What to do; empty when nothing is to be done.
    took_s : float or None
        Until the answer came, s.
    """

    area: str
    what: str
    state: State = "ok"
    said: str
    do: str = ""
    took_s: float | None = None


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the exit code: 0 fine, 1 something is wrong, 3 invalid configuration, 4 something was not reached.

    Examples
    --------
    >>> exit_code([Finding(area="disk", what="/data", said="2 TB free")])
    0
    >>> exit_code([Finding(area="ring", what="SR:I", state="unreached", said="no answer")])
    4
    """
    return max((CODES[finding.state] for finding in findings), default=0)


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Time a block; its seconds are in the list when the block is left."""
    took: list[float] = []
    begun = time.monotonic()
    try:
        yield took
    finally:
        took.append(time.monotonic() - begun)


def spoken(seconds: float) -> str:
    """A time in the unit a person would use.

    Examples
    --------
    >>> spoken(0.0123), spoken(2.34), spoken(7200.0)
    ('12 ms', '2.3 s', '2 h')
    """
    if seconds < 1.0:
        return f"{1e3 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 3600.0 else f"{seconds / 3600.0:.0f} h"
