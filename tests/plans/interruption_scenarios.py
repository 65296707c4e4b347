"""Scans that are paused, suspended, aborted, or lose an IOC or the live service on their way.

python interruption_scenarios.py FOLDER SCENARIO ...

SCENARIO is a name, or NAME:ARGUMENT. It prints one JSON object a run, as `scan_scenarios.py` does.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bluesky.preprocessors import plan_mutator
from bluesky.utils import Msg, single_gen
from rig import EXPOSURE_S, LONG_S, NO_INJECTIONS, PATIENCE_S, Rig, running, tell

WAYS = ("pause", "request", "suspend")
"""A message of the plan; a request from another thread, as Ctrl-C is; a suspender that trips."""
SUSPENDED_S = 0.05
UPSETS = "upsets:0.2"
"""Every fifth exposure is upset besides."""
BACK_AFTER_S = 1.0
MAX_MESSAGES = 1000


def messages(rig: Rig, every: str = "1") -> Iterator[dict[str, Any]]:
    """Interrupt and resume at every so many messages of a 3 x 3 scan, one run each, in all ways, in one (``N,pause``;
    ``N,pause,100`` from that message on), or (``N/``) in turn.
    """
    every, only, first = (*every.split(","), "", "")[:3]
    step, in_turn = int(every.rstrip("/")), every.endswith("/")
    for turn, number in enumerate(range(int(first or step // 2), MAX_MESSAGES, step)):
        ways = (WAYS[turn % len(WAYS)],) if in_turn else (only,) if only else WAYS
        runs = [interrupted(rig, number, way) for way in ways]
        yield from runs
        if not any(facts["interrupted"] for facts in runs):
            return


def interrupted(rig: Rig, number: int, way: str) -> dict[str, Any]:
    """Run the scan with one interruption at a message."""
    reached = threading.Event()

    def at_message(seen: int, _msg: Msg) -> None:
        if seen != number or reached.is_set():
            return
        reached.set()
        if way == "request":  # the engine waits for nobody in its own thread
            threading.Thread(target=rig.pause).start()
        elif way == "suspend":
            rig.engine.request_suspend(lambda: asyncio.sleep(SUSPENDED_S))

    def insert(_: Msg) -> tuple[None, Any]:
        if next(seen) != number:
            return None, None
        reached.set()
        return None, single_gen(Msg("pause"))

    if way == "pause":
        seen = iter(range(MAX_MESSAGES))
        # Outermost, so that the messages of the session's own preprocessors count too.
        rig.engine.preprocessors.append(lambda plan: plan_mutator(plan, insert))
    else:
        rig.at_message = at_message
    try:
        facts = rig.run(rig.plan(3, 3))
    finally:
        rig.at_message = lambda _number, _msg: None
        if way == "pause":
            rig.engine.preprocessors.pop()
    return {"where": f"{way} at message {number}", "interrupted": reached.is_set(), **facts}


def aborts(rig: Rig, times: str = "2") -> Iterator[dict[str, Any]]:
    """Abort in the middle of an exposure of two seconds and more, and scan again, so many times."""
    for _ in range(int(times)):
        rig.at_point[0] = rig.during(rig.pause)
        yield {"aborted": True} | rig.run(rig.plan(exposure=2.2 * LONG_S), rig.engine.abort)
        yield {"aborted": False} | rig.run(rig.plan(2, 1))


def many(rig: Rig, size: str = "8x4") -> Iterator[dict[str, Any]]:
    """Scan so many columns and rows, with injections by the clock and every fifth exposure upset."""
    columns, _, rows = size.partition("x")
    yield rig.run(rig.plan(int(columns), int(rows), max_repeats=100))


def service_returns(rig: Rig, times: str = "1") -> Iterator[dict[str, Any]]:
    """Kill the live service in the middle of an exposure, and start it again.

    What it had seen and not kept comes from the detector's files when the series ends.
    """

    def kill_and_revive() -> None:
        rig.kill_live()
        time.sleep(BACK_AFTER_S)
        rig.revive_live()

    for _ in range(int(times)):
        rig.at_point[1] = rig.during(kill_and_revive)
        yield rig.run(rig.plan(3, 1, exposure=LONG_S))


def iocs_return(rig: Rig, times: str = "1") -> Iterator[dict[str, Any]]:
    """Have all IOCs hang up for a while in the middle of an exposure."""
    for _ in range(int(times)):
        rig.at_point[1] = rig.upset("iocs 100")
        yield rig.run(rig.plan(2, 2, exposure=EXPOSURE_S))


def sim_killed(rig: Rig, times: str = "1") -> Iterator[dict[str, Any]]:
    """Kill the simulated beamline in the middle of an exposure, start it again on its ports, and scan again."""
    for _ in range(int(times)):
        back = threading.Event()
        revived: list[float] = []

        def kill_and_revive(back: threading.Event = back, revived: list[float] = revived) -> None:
            rig.kill_sim()
            rig.revive_sim()
            revived.append(time.monotonic())
            back.set()

        rig.at_point[1] = rig.during(kill_and_revive)
        facts = rig.run(rig.plan(2, 2, exposure=LONG_S), books=False)
        assert back.wait(PATIENCE_S)
        yield facts | {"after_return_s": facts["ended"] - revived[0]}
        yield rig.run(rig.plan(2, 1))


SCENARIOS = {one.__name__: one for one in (messages, aborts, many, service_returns, iocs_return, sim_killed)}


def main() -> None:
    """Run the scenarios named on the command line."""
    folder, *words = sys.argv[1:]
    by_the_clock = any(word.partition(":")[0] == "many" for word in words)
    options = () if by_the_clock else NO_INJECTIONS
    with running(Path(folder), faults=(UPSETS,), options=options, truth=True, files=True) as rig:
        for word in words:
            name, _, argument = word.partition(":")
            tell(name, SCENARIOS[name](rig, *([argument] if argument else [])))


if __name__ == "__main__":
    main()
