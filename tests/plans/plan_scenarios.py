"""Every plan but the plain raster, once, on a simulated beamline with a live service.

Run as a program, as `scan_scenarios.py` is, which it builds upon::

    python plan_scenarios.py FOLDER

It prints one JSON object a scenario.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scan_scenarios import Rig, running

MARGIN_S = 40.0
"""Of simulated time: a machine that stalls for less must not run an exposure into an injection."""


def quiet(_: str) -> None:
    """Hear and forget."""


def direct_beam(rig: Rig) -> Iterator[dict[str, Any]]:
    """Find the direct beam."""
    session, before = rig.session, rig.beamline.attenuator.achieved.get()
    plan = session["find_direct_beam"](
        [rig.detector], session["attenuator"], session["beam_stop"], confirm=lambda _: True, margin=MARGIN_S, tell=quiet
    )
    facts = rig.run(plan)
    yield facts | {
        "stop": session["beam_stop"].status.get(use_monitor=False),
        "transmission": [before, session["attenuator"].achieved.get(use_monitor=False)],
        "purpose": rig.live.purpose.get(use_monitor=False),
    }


def surveyed(rig: Rig) -> Iterator[dict[str, Any]]:
    """Survey, then scan what was found, with a pause in the middle of an exposure."""
    devices, plans = ([rig.detector, rig.live], rig.stage), rig.session
    yield rig.run(plans["survey"](*devices, -60, 0, 0, 20, 20, margin=MARGIN_S, tell=quiet))
    kinds = plans["last_survey"]().kinds
    said: list[str] = []
    rig.at_trigger[3] = lambda: rig.engine.request_pause(defer=False)
    plan = plans["adaptive_scan"](*devices, step=10, exposure=10.0, frames=8, margin=MARGIN_S, tell=said.append)
    yield rig.run(plan) | {"kinds": kinds, "said": said[-1], "accepted": int(rig.live.frames.accepted.get())}


def background(rig: Rig) -> Iterator[dict[str, Any]]:
    """Expose one place and have it taken for background."""
    plan = rig.session["background_scan"](
        [rig.detector, rig.live], rig.stage, [(0, 0)], 10.0, 6, margin=MARGIN_S, tell=quiet
    )
    yield rig.run(plan) | {"background": int(rig.live.frames.background.get(use_monitor=False))}


def resumed(rig: Rig) -> Iterator[dict[str, Any]]:
    """Abort a scan, and take the rest of it later."""
    rig.at_trigger[3] = lambda: rig.engine.request_pause(defer=False)
    first = rig.run(rig.plan(3, 2, margin=MARGIN_S, tell=quiet), rig.engine.abort)
    yield first
    done = rig.session["done_points"](rig.folder / f"series_{int(rig.live.series.get())}.nxs")
    yield rig.run(rig.plan(3, 2, margin=MARGIN_S, done=done, tell=quiet)) | {"done": done}


def main() -> None:
    """Run all scenarios."""
    with running(Path(sys.argv[1])) as rig:
        for scenario in (direct_beam, surveyed, background, resumed):
            for number, facts in enumerate(scenario(rig)):
                line = {"scenario": scenario.__name__, "number": number, **facts}
                print(json.dumps(line, default=str), flush=True)


if __name__ == "__main__":
    main()
