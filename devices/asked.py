"""Several PVs asked at once for their values of this moment; each answer is taken later."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import epics

from devices.severity import INVALID, NO_ANSWER

ANSWER_TIMEOUT_S = 2.0


class Answer(NamedTuple):
    """What a record said when it was asked.

    Attributes
    ----------
    value
    severity : int
        EPICS severity.
    """

    value: Any
    severity: int

    @property
    def is_invalid(self) -> bool:
        """Whether the record says that its value means nothing."""
        return self.severity >= INVALID


class Asked:
    """Questions that are on their way, all at once: one after the other, each would cost a way to its IOC and back.

    An answer is kept until it is taken, however early it has come (`get(use_monitor=False)` would ask again). While a
    question to a PV is on its way, the library sends no second one: both take the same answer; and of a later question
    the answer replaces that of an earlier one.

    Parameters
    ----------
    *signals : ophyd.EpicsSignalBase
        One without a PV, as in a test, is asked when its answer is taken.
    """

    def __init__(self, *signals: Any) -> None:
        self._sent: dict[Any, tuple[Any, int]] = {}
        for signal in signals:
            pv = getattr(signal, "_read_pv", None)  # ophyd has no public way to ask without waiting
            if pv is None or not pv.connected:
                continue
            with suppress(*NO_ANSWER), _context_of(pv):  # who takes the answer hears of it
                form = epics.ca.promote_type(pv.chid, use_time=True)
                with _not_pending_for_ever(pv, form):
                    epics.ca.get_with_metadata(pv.chid, ftype=form, wait=False)
                self._sent[signal] = pv, form
        contexts = {pv.context: pv for pv, _ in self._sent.values()}
        for pv in contexts.values():
            with suppress(*NO_ANSWER), _context_of(pv):
                epics.ca.flush_io()  # else they wait here until somebody sends something else

    def take(self, signal: Any) -> Answer:
        """Wait for the answer of a signal.

        Raises
        ------
        TimeoutError, ophyd.utils.DisconnectedError, epics.ca.ChannelAccessException
            When it does not answer (`devices.severity.NO_ANSWER`).
        """
        if signal not in self._sent:
            return Answer(signal.get(use_monitor=False), int(getattr(signal, "alarm_severity", 0) or 0))
        pv, form = self._sent[signal]
        with _context_of(pv):
            told = epics.ca.get_complete_with_metadata(pv.chid, ftype=form, timeout=ANSWER_TIMEOUT_S)
        if told is None:
            raise TimeoutError(f"{signal.pvname} did not answer within {ANSWER_TIMEOUT_S:g} s")
        return Answer(_as_read(signal, told["value"]), int(told["severity"]))


def ask(signal: Any) -> Answer:
    """Ask the IOC for the value of this moment.

    Raises
    ------
    TimeoutError, ophyd.utils.DisconnectedError, epics.ca.ChannelAccessException
        When it does not answer (`devices.severity.NO_ANSWER`).
    """
    return Asked(signal).take(signal)


@contextmanager
def _not_pending_for_ever(pv: Any, form: int) -> Iterator[None]:
    """Have a question that could not be sent forgotten: the client library would have all later ones wait for it."""
    try:
        yield
    except NO_ANSWER:
        entry = epics.ca.get_cache(pv.pvname)
        with entry.lock:
            entry.get_results[form] = [None]
        raise


@contextmanager
def _context_of(pv: Any) -> Iterator[None]:
    """Be in the client library's context of a PV: in a thread outside of it, what is asked is never sent."""
    before = epics.ca.current_context()
    if before == pv.context:
        yield
        return
    if before is not None:
        epics.ca.detach_context()
    epics.ca.attach_context(pv.context)
    try:
        yield
    finally:
        epics.ca.detach_context()
        if before is not None:
            epics.ca.attach_context(before)


def _as_read(signal: Any, value: Any) -> Any:
    """The value as the signal itself would give it: of an enum that is read as text, the word."""
    words = signal.enum_strs if signal.as_string else None
    return signal._fix_type(words[int(value)]) if words else value  # noqa: SLF001 - its own translation of words
