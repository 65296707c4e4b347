"""How long a scan takes with top-up, told before it starts, and whether a slightly shorter exposure fits better."""

import math
from dataclasses import dataclass

from devices.storage_ring import INJECTION_S, MARGIN_S, PERIOD_S, StorageRing
from plans.top_up import exposures_a_period, time_needed_s

OVERHEAD_S = 0.5
"""Of one point beyond its exposure: move, booking, the driver's poll for the trigger, readout, s."""
SHORTER_AT_MOST = 0.1
"""Part of the exposure that is given up at most for one more exposure a period."""
WORTH_TELLING = 1.02
"""Gain in exposure an hour from which on a shorter exposure is worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeEstimate:
    """What a scan takes; `str()` says it in words.

    Attributes
    ----------
    points : int
    exposure_s, overhead_s : float
        Of each point, s.
    period_s : float
        Top-up interval, s.
    each_period : int
        Exposures between two injections.
    total_s, waiting_s : float
        Of the whole scan, and what of it is spent waiting for injections, s.
    shorter_s : float or None
        A slightly shorter exposure with which one more fits between two injections, s; None where there is none.
    shorter_total_s : float or None
        Of the scan with that, s.
    """

    points: int
    exposure_s: float
    overhead_s: float
    period_s: float
    each_period: int
    total_s: float
    waiting_s: float
    shorter_s: float | None
    shorter_total_s: float | None

    def __str__(self) -> str:
        """One sentence, and a second one where a shorter exposure fits better."""
        each = "one exposure fits" if self.each_period == 1 else f"{self.each_period} fit"
        text = (
            f"{self.points} point{'s' if self.points > 1 else ''} of {self.exposure_s:g} s take"
            f"{'s' if self.points == 1 else ''} about {in_words(self.total_s)}: {each} between two injections "
            f"({self.period_s:g} s), {in_words(self.waiting_s)} of it is waiting."
        )
        if self.shorter_s is None or self.shorter_total_s is None:
            return text
        gain = (
            self._dose_rate(self.shorter_s, self.shorter_total_s) / self._dose_rate(self.exposure_s, self.total_s) - 1
        )
        return (
            f"{text}\nWith {self.shorter_s:g} s, {self.each_period + 1} fit: about {in_words(self.shorter_total_s)}, "
            f"and {100 * gain:.0f} % more exposure an hour."
        )

    def _dose_rate(self, exposure_s: float, total_s: float) -> float:
        return self.points * exposure_s / total_s


def time_estimate(
    points: int,
    exposure: float,
    *,
    overhead: float = OVERHEAD_S,
    ring: StorageRing | None = None,
    margin: float = MARGIN_S,
) -> TimeEstimate:
    """Predict how long a scan takes.

    The first exposure is taken to begin right after an injection; a scan that begins elsewhere in the interval takes up
    to one interval longer. Repeats of spoilt points come on top.

    Parameters
    ----------
    points : int
        Points to expose.
    exposure : float
        Of each, s.
    overhead : float
        Of each point beyond its exposure, s.
    ring : StorageRing, optional
        Whose top-up interval and injection count; those of the TPS without one.
    margin : float
        Kept free between the end of an exposure and the next injection, s.

    Raises
    ------
    ValueError
        When there is no point, or an exposure never fits between two injections.

    Examples
    --------
    >>> print(time_estimate(400, 60))
    400 points of 60 s take about 8.9 h: 3 fit between two injections (240 s), 2.2 h of it is waiting.
    With 57.2 s, 4 fit: about 6.7 h, and 27 % more exposure an hour.
    """
    if points < 1:
        raise ValueError(f"points must be at least 1, got {points}")
    period, injection = (PERIOD_S, INJECTION_S) if ring is None else (ring.period_s, ring.injection_s)
    machine = (period, injection, margin)
    total = time_needed_s(points, exposure, overhead, *machine)
    # With an overhead of twice as much: a proposal that one slow point in each interval spoils is none.
    shorter = shorter_exposure_s(exposure, 2.0 * overhead, *machine)
    shorter_total = None if shorter is None else time_needed_s(points, shorter, overhead, *machine)
    if shorter is None or shorter_total is None or shorter / shorter_total < WORTH_TELLING * exposure / total:
        shorter = shorter_total = None
    return TimeEstimate(
        points=points,
        exposure_s=exposure,
        overhead_s=overhead,
        period_s=period,
        each_period=exposures_a_period(exposure, overhead, *machine),
        total_s=total,
        waiting_s=total - points * exposure - (points - 1) * overhead,
        shorter_s=shorter,
        shorter_total_s=shorter_total,
    )


def shorter_exposure_s(
    exposure_s: float, overhead_s: float, period_s: float, injection_s: float, margin_s: float
) -> float | None:
    """Longest exposure, in tenths of a second, with which one more fits between two injections.

    Returns
    -------
    float or None
        s; None where more than a tenth of the exposure would have to be given up.

    Examples
    --------
    >>> shorter_exposure_s(60.0, 1.0, 240.0, 5.0, 3.0)
    57.2
    >>> shorter_exposure_s(57.0, 1.0, 240.0, 5.0, 3.0) is None
    True
    """
    each = exposures_a_period(exposure_s, overhead_s, period_s, injection_s, margin_s) + 1
    longest = (period_s - injection_s - margin_s + overhead_s) / each - overhead_s
    shorter = math.floor(10.0 * longest + 1e-6) / 10.0
    return shorter if shorter >= (1.0 - SHORTER_AT_MOST) * exposure_s else None


def in_words(seconds: float) -> str:
    """A time as a person says it.

    Examples
    --------
    >>> in_words(32.0), in_words(500.0), in_words(32000.0)
    ('32 s', '8.3 min', '8.9 h')
    """
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200.0 else f"{seconds / 3600:.1f} h"
