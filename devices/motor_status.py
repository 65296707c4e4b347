"""What a motor record says about a motion that went wrong, in words.

Bits of MSTA: epics-modules/motor, docs/motorRecord.html, "Status/readback fields".
"""

SLIP_STALL, PROBLEM, COMM_ERROR = 1 << 6, 1 << 9, 1 << 12
STOP, PAUSE, GO = 0, 1, 3
"""States of SPMG; in the first two the record moves nothing."""

_STATUS = (
    (SLIP_STALL, "it slipped or stalled"),
    (PROBLEM, "its driver reports a problem"),
    (COMM_ERROR, "its controller does not answer"),
)


def what_is_wrong(status: int, *, high: bool = False, low: bool = False, missed: bool = False) -> list[str]:
    """Say what a motor record reports.

    Parameters
    ----------
    status : int
        MSTA.
    high, low : bool
        HLS and LLS: the limit switches in user coordinates.
    missed : bool
        MISS: retries are used up.

    Returns
    -------
    list of str
        Empty when the record reports nothing.

    Examples
    --------
    >>> what_is_wrong(1 << 1 | 1 << 6, high=True)
    ['it slipped or stalled', 'it ran into its high limit switch']
    """
    found = [words for bit, words in _STATUS if status & bit]
    if high or low:
        found.append(f"it ran into its {'high' if high else 'low'} limit switch")
    if missed:
        found.append("its retries are used up")
    return found
