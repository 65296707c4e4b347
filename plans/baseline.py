"""What was true before and after a run, beside what changes from point to point."""

from collections.abc import Callable, Sequence
from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import Msg

from plans.plan_type import Plan


def baseline(devices: Sequence[Any]) -> Callable[[Plan], Plan]:
    """Make a preprocessor that reads `devices` at the start and the end of every run, into the stream `baseline`.

    Like bluesky's `SupplementalData`, but not repeated after a pause: there a pause at the wrong moment makes a second
    descriptor of the stream. Declared before it is read: the first reading of a device waits for its description, and a
    reading that is interrupted where nothing is repeated is lost.

    Parameters
    ----------
    devices : sequence

    Returns
    -------
    callable
        For ``RE.preprocessors``.
    """

    def read() -> Plan:
        return bpp.rewindable_wrapper(bps.trigger_and_read(devices, name="baseline"), rewindable=False)

    def declare_and_read() -> Plan:
        yield from bpp.rewindable_wrapper(bps.declare_stream(*devices, name="baseline"), rewindable=False)
        return (yield from read())

    def insert(msg: Msg) -> tuple[Plan | None, Plan | None]:
        if msg.command == "open_run":
            return None, declare_and_read()
        if msg.command == "close_run":
            return _then(read(), msg), None
        return None, None

    return lambda plan: bpp.plan_mutator(plan, insert)


def _then(plan: Plan, msg: Msg) -> Plan:
    yield from plan
    return (yield msg)
