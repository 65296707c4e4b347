"""Whether every PV that a scan uses answers, how quickly, who serves it, and what clock that computer has."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from service.check import Finding, spoken

Signals = Mapping[str, Sequence[Any]]
"""Signals of ophyd with their PVs, by the name of their device."""

POLL_S = 0.002
SLOW_S = 2.0
"""An answer that takes longer is lost packets, or a gateway that has to look for it first."""
CLOCK_S = 1.0
"""Clocks may differ by this; the books join what happens on several computers by their own order, not by time."""
CLOCK_WAIT_S = 3.0
EPICS_EPOCH_END = 631152000.0 + 86400.0
"""Stamps up to here (a day into 1990) are of records that have never processed."""


def connect(signals: Signals, begun: float, timeout_s: float) -> dict[Any, float]:
    """Wait until the signals answer.

    Parameters
    ----------
    signals : mapping of str to sequence of ophyd signals
    begun : float
        When their search began, `time.monotonic`.
    timeout_s : float
        From `begun`.

    Returns
    -------
    dict
        Seconds that each signal took; those that did not answer are not in it.
    """
    waiting = [signal for several in signals.values() for signal in several]
    took: dict[Any, float] = {}
    while waiting:
        now = time.monotonic()
        for signal in [signal for signal in waiting if signal.connected]:
            took[signal] = now - begun
            waiting.remove(signal)
        if now - begun > timeout_s:
            break
        time.sleep(POLL_S)
    return took


def check_answers(
    signals: Signals, took: Mapping[Any, float], written: Collection[str], timeout_s: float
) -> Iterator[Finding]:
    """Report each PV: who serves it and how long its answer took, or that there was none.

    Parameters
    ----------
    signals : mapping of str to sequence of ophyd signals
    took : mapping
        From `connect`.
    written : collection of str
        PVs that a scan writes, and must be let.
    timeout_s : float
        What `connect` was given.

    Yields
    ------
    Finding
    """
    for device, several in signals.items():
        seen: set[str] = set()
        for signal in several:
            for pv in pv_names(signal):
                if pv in seen:
                    continue
                seen.add(pv)
                seconds = took.get(signal)
                if seconds is None and is_connected(pv):  # it is the signal's other PV that is silent
                    seconds = timeout_s
                yield _answer(device, pv, pv in written, seconds, timeout_s)


def _answer(device: str, pv: str, written: bool, seconds: float | None, timeout_s: float) -> Finding:
    if seconds is None:
        return Finding(
            area=device,
            what=pv,
            state="unreached",
            said=f"no answer within {timeout_s:g} s",
            do=_what_to_do(device),
        )
    if written and not may_write(pv):
        return Finding(
            area=device,
            what=pv,
            state="wrong",
            said="answers, and may not be written from here",
            do="ask who keeps its access security for write access from this computer",
            took_s=seconds,
        )
    slow = seconds > SLOW_S
    return Finding(
        area=device,
        what=pv,
        state="note" if slow else "ok",
        said=f"answers in {spoken(seconds)} from {host_of(pv)}",
        do="look at network and gateway: this is slow" if slow else "",
        took_s=seconds,
    )


def _what_to_do(device: str) -> str:
    if device == "live":
        return "start xedm live, and have EPICS_CA_ADDR_LIST contain 127.0.0.1 with its ca_server_port"
    return "does its IOC run? is the name right in [beamline]? does EPICS_CA_ADDR_LIST reach it?"


def check_clocks(signals: Signals, took: Mapping[Any, float], ticking: Any) -> Iterator[Finding]:
    """Compare the clocks of the computers that serve PVs with this one's.

    Parameters
    ----------
    signals, took
        As above.
    ticking : ophyd.EpicsSignalRO
        One whose value is new all the time (the countdown): only a new stamp says how late a clock is. Of other
        computers only a stamp of the future is a proof.

    Yields
    ------
    Finding
    """
    newest: dict[str, tuple[float, str]] = {}
    for several in signals.values():
        for signal in several:
            if signal in took and signal is not ticking:
                stamp = float(signal.timestamp or 0.0)
                host = host_of(signal.pvname)
                newest[host] = max(newest.get(host, (0.0, "")), (stamp, signal.pvname))
    if ticking in took:
        yield _ticking_clock(ticking)
        newest.pop(host_of(ticking.pvname), None)
    now = time.time()
    for host, (stamp, pv) in sorted(newest.items()):
        if stamp > now + CLOCK_S:
            yield _wrong_clock(host, pv, stamp - now)
        elif stamp < EPICS_EPOCH_END:
            yield Finding(
                area="clock", what=host, state="note", said="no record there has a time yet", do="process one, or wait"
            )
        else:
            yield Finding(
                area="clock", what=host, said=f"no stamp of the future (newest {spoken(now - stamp)} old, {pv})"
            )


def _ticking_clock(signal: Any) -> Finding:
    host, late = host_of(signal.pvname), _lateness(signal)
    if late is None:
        return Finding(
            area="clock",
            what=host,
            state="note",
            said=f"{signal.pvname} brought no new value within {CLOCK_WAIT_S:g} s",
            do="is this the countdown of a machine that runs?",
        )
    if abs(late) > CLOCK_S:
        return _wrong_clock(host, signal.pvname, -late)
    return Finding(area="clock", what=host, said=f"agrees with this computer's ({signal.pvname}, {spoken(abs(late))})")


def _lateness(signal: Any) -> float | None:
    """Seconds between the stamp of a new value and its arrival, None when none arrives."""
    arrived: list[float] = []

    def hear(*, timestamp: float, **_: object) -> None:
        arrived.append(time.time() - timestamp)

    token = signal.subscribe(hear, event_type=signal.SUB_VALUE, run=False)
    deadline = time.monotonic() + CLOCK_WAIT_S
    while not arrived and time.monotonic() < deadline:
        time.sleep(POLL_S)
    signal.unsubscribe(token)
    return arrived[0] if arrived else None


def _wrong_clock(host: str, pv: str, ahead_s: float) -> Finding:
    return Finding(
        area="clock",
        what=host,
        state="wrong",
        said=f"{spoken(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} this computer ({pv})",
        do="set both clocks by the same time server (chrony, NTP)",
    )


def pv_names(signal: Any) -> list[str]:
    """The one or two PVs of a signal."""
    return list(dict.fromkeys((signal.pvname, getattr(signal, "setpoint_pvname", signal.pvname))))


def is_connected(pv: str) -> bool:
    """Whether a PV is connected now."""
    return bool(_pv(pv).connected)


def may_write(pv: str) -> bool:
    """Whether its IOC lets this computer write a PV."""
    return bool(_pv(pv).write_access)


def text_of(pv: str, timeout_s: float) -> str | None:
    """Value of a PV as text, None when it does not answer in time."""
    channel = _pv(pv)
    if not channel.wait_for_connection(timeout=timeout_s):
        return None
    text = channel.get(as_string=True)
    return None if text is None else str(text)


def host_of(pv: str) -> str:
    """Computer and port that serve a PV."""
    return str(_pv(pv).host)


def _pv(name: str) -> Any:
    import epics

    return epics.get_pv(name)
