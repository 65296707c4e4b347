"""One run of the whole way, as a program of its own: `python whole_way_run.py FOLDER SEED VOID_FRAME...`.

A program of its own because the Channel Access client library takes its addresses once a process.
"""

import json
import sys
import time
from pathlib import Path

from service.config import Settings
from service.processes import start_live, start_sim
from service.session import beamline_names, build_session, point_at

SPEED = 100.0


def main(folder: Path, seed: int, void: list[int]) -> None:
    """Scan 8 x 8 points over all there is on the membrane; some frames sent twice, some points void."""
    settings = ["reconstruction.enabled=false", "stream.drain_s=1"]
    sim = start_sim(folder, speed=SPEED, seed=seed, truth=folder / "truth", faults=["duplicate:0.1"])
    live = start_live(folder, stream=sim.ready["stream"], settings=settings)
    try:
        point_at(sim, live)
        names = beamline_names(Settings(), detector="eig1m", live_prefix=live.ready["prefix"])
        session = build_session(names, data_source="filewriter")
        detector, service = session["eig1m"], session["live"]
        plan = session["ensemble_scan"]([detector, service], session["stage"], -84, 84, -84, 84, 24, 2.0, margin=40.0)
        session["RE"](plan)
        series = int(detector.series.get())
        for frame in void:
            service.point.put(
                json.dumps({"series": series, "frame": frame, "point": frame, "x_um": 0.0, "y_um": 0.0, "void": True}),
                wait=True,
            )
        time.sleep(0.2)  # the state may still be that of before the last note
        deadline = time.monotonic() + 60
        while service.state.get(use_monitor=False) not in ("complete", "incomplete", "failed"):
            assert time.monotonic() < deadline, service.state.get()
            time.sleep(0.1)
        session["beamline"].make_safe()
    finally:
        live.stop()
        sim.stop()
    print(json.dumps({"series": series}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [int(word) for word in sys.argv[3:]])
