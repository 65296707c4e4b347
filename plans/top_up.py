"""Exposures between the injections of top-up: the gate, and how long a scan will take."""

import math
from collections.abc import Generator
from typing import Any

from bluesky import plan_stubs as bps
from bluesky.utils import Msg

from devices.storage_ring import MARGIN_S, StorageRing


def exposures_a_period(
    exposure_s: float, overhead_s: float, period_s: float, injection_s: float, margin_s: float
) -> int:
    """How many exposures fit between two injections.

    Parameters
    ----------
    exposure_s, overhead_s : float
        Of one point, s; the overhead is everything but the exposure.
    period_s, injection_s, margin_s : float
        Top-up interval, disturbed time after its start, and what is kept free before its end, s.

    Examples
    --------
    >>> exposures_a_period(60.0, 1.0, 240.0, 5.0, 3.0), exposures_a_period(57.0, 1.0, 240.0, 5.0, 3.0)
    (3, 4)
    """
    usable = period_s - injection_s - margin_s
    if exposure_s <= 0.0 or exposure_s > usable:
        return 0
    # The last exposure's overhead may fall into the injection.
    return math.floor((usable + overhead_s) / (exposure_s + overhead_s) + 1e-9)


def time_needed_s(
    points: int, exposure_s: float, overhead_s: float, period_s: float, injection_s: float, margin_s: float
) -> float:
    """Time for a scan with top-up, from the first exposure of a period to the end of the last exposure, s.

    Raises
    ------
    ValueError
        When an exposure never fits.

    Examples
    --------
    >>> time_needed_s(6, 60.0, 0.0, 240.0, 5.0, 3.0)
    420.0
    """
    each = exposures_a_period(exposure_s, overhead_s, period_s, injection_s, margin_s)
    if each == 0:
        raise ValueError(
            f"exposure must be below {period_s - injection_s - margin_s:g} s to fit between two injections, got "
            f"{exposure_s:g} s"
        )
    periods, rest = divmod(points - 1, each)
    return periods * period_s + (rest + 1) * exposure_s + rest * overhead_s


def check_fits(ring: StorageRing, exposure_s: float, margin_s: float = MARGIN_S) -> None:
    """Refuse an exposure that never fits between two injections.

    Raises
    ------
    ValueError
        With the longest that does.
    """
    ring.gate.check_value(exposure_s + margin_s)


def gate(
    ring: StorageRing, exposure_s: float, margin_s: float = MARGIN_S, *, overhead_s: float = 0.0
) -> Generator[Msg, Any, None]:
    """Wait until there is beam and the exposure fits before the next injection.

    The wait is a move of `ring.gate`, so that the RunEngine repeats it when it repeats the exposure after a pause. No
    beam, a countdown of NaN and an INVALID one all wait.

    Parameters
    ----------
    ring : StorageRing
    exposure_s, margin_s : float
        Seconds of the machine's clock, as the countdown counts them.
    overhead_s : float
        What the last exposures took from trigger to frame beyond their exposure, s. An injection in that time would
        spoil the exposure, so twice as much is kept free where that is more than the margin.

    Raises
    ------
    BeamError
        When no window comes within `ring.gate.timeout_s`.
    """
    yield from bps.abs_set(ring.gate, room_needed_s(ring, exposure_s, margin_s, overhead_s), group="gate")
    yield from bps.wait(group="gate")


def room_needed_s(ring: StorageRing, exposure_s: float, margin_s: float, overhead_s: float) -> float:
    """Seconds that must be left before the next injection when an exposure begins; see `gate`."""
    # Not margin plus overhead: of four exposures that fit between two injections the last would wait for the next
    # ones. At most half of the room: a slow moment must not close the gate for good.
    room = ring.period_s - ring.injection_s - exposure_s
    return exposure_s + max(margin_s, min(2.0 * overhead_s, 0.5 * room))
