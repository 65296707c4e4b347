"""What looking costs: processor seconds of `xedm live` with nobody, one, and twenty looking, of whom five read nothing.

    python tests/benchmarks/bench_page.py [--level sparse] [--rate 20] [--seconds 20] [--detector eig16m]

A sender of pooled frames (`sim.throughput`) paces them. A viewer here does what the page does, once a second: it takes
the status events, and fetches the sum that fits a screen, the newest rows of the ledger, and, where it is zoomed in, a
window of single pixels. The sum is compared with the sender's own afterwards. The last line is JSON.
"""

import argparse
import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from bench_socket import cpu_s, exact, final_status, paced

from service.http_client import status_of
from service.processes import Running

VIEWERS, STALLED = 20, 5
ADDRESSES = (
    "/region?what=sum&side=1024&have=",
    "/rows?first=",
    "/region?what=sum&first_row=2000&first_col=2000&rows=80&cols=80",
)


class Viewer:
    """One open page; `zoomed` also fetches single pixels, as somebody who has walked into the picture."""

    def __init__(self, url: str, *, zoomed: bool = False) -> None:
        self.url, self.zoomed, self.updates, self.late_s = url, zoomed, 0, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        with urllib.request.urlopen(f"{self.url}/events?what=none", timeout=60) as events:
            version, row, after = "", 0, 0.0
            for line in events:
                if self._stop.is_set():
                    return
                if not line.startswith(b"data: ") or time.monotonic() < after:
                    continue
                told = json.loads(line[6:])
                if "counts" not in told:
                    continue
                received = told["counts"]["received"]
                begun = time.monotonic()
                after = begun + 1.0
                facts = self._get(ADDRESSES[0] + version)
                version = str(facts.get("version", version))
                row = max(0, self._get(f"{ADDRESSES[1]}{max(0, row - 300)}").get("total", 0))
                if self.zoomed:
                    self._get(ADDRESSES[2])
                self.updates += received > 0
                self.late_s.append(time.monotonic() - begun)

    def _get(self, address: str) -> dict:
        with urllib.request.urlopen(self.url + address, timeout=60) as answer:
            answer.read()
            return json.loads(answer.headers.get("X-Facts", "{}"))

    def close(self) -> None:
        """End soon."""
        self._stop.set()


def stalled(url: str) -> socket.socket:
    """A viewer that asks for everything and reads nothing."""
    host, port = url.removeprefix("http://").split(":")
    viewer = socket.socket()
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    viewer.connect((host, int(port)))
    viewer.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return viewer


def phase(name: str, live: Running, seconds: float, viewers: list[Viewer]) -> dict[str, object]:
    """Let it run for a while; return what it took."""
    pid = live.process.pid
    time.sleep(2.0)
    begun, used, first, made = time.monotonic(), cpu_s(pid), status_of(live), [one.updates for one in viewers]
    time.sleep(seconds)
    took, last = time.monotonic() - begun, status_of(live)
    frames = last["counts"]["received"] - first["counts"]["received"]
    updates = sum(one.updates for one in viewers) - sum(made)
    row = {
        "phase": name,
        "percent_of_a_core": round(100 * (cpu_s(pid) - used) / took, 1),
        "frames": frames,
        "updates_a_second_and_viewer": round(updates / took / max(1, len(viewers)), 2),
        "median_update_ms": round(1e3 * median([late for one in viewers for late in one.late_s[-20:]] or [0])),
        "behind": last["behind"],
    }
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row


def run(level: str, rate: float, seconds: float, detector: str) -> dict[str, object]:
    """Measure all phases in one series."""
    frames = round(rate * (5 * seconds + 60))
    settings = ["reconstruction.enabled=false", "output.snapshot_every_s=3600"]
    with (
        tempfile.TemporaryDirectory() as place,
        paced(Path(place), level, rate, frames, ["--detector", detector], settings) as (_, live),
    ):
        while status_of(live)["counts"]["received"] < 2 * rate:
            time.sleep(0.2)
        rows = [phase("nobody looks", live, seconds, [])]
        viewers = [Viewer(live.ready["http"])]
        rows.append(phase("one looks", live, seconds, viewers))
        viewers[0].close()
        viewers = [Viewer(live.ready["http"], zoomed=True)]
        rows.append(phase("one looks at single pixels", live, seconds, viewers))
        viewers += [Viewer(live.ready["http"]) for _ in range(VIEWERS - STALLED - 1)]
        with contextlib.ExitStack() as silent:
            for _ in range(STALLED):
                silent.enter_context(stalled(live.ready["http"]))
            rows.append(phase("twenty look, five of them read nothing", live, seconds, viewers))
        for viewer in viewers:
            viewer.close()
        rows.append(phase("nobody looks again", live, seconds, []))
        status = final_status(live)
        return {
            "level": level,
            "detector": detector,
            "rate_hz": rate,
            "load": [round(one, 1) for one in os.getloadavg()],
            "phases": rows,
            "state": status["state"],
            "missing": status["counts"]["missing"],
            "balanced": status["balanced"],
            "exact": exact(Path(status["result"]), Path(place) / "truth.npz"),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="sparse", choices=("sparse", "medium", "dense"))
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--detector", default="eig16m", choices=("eig1m", "eig16m"))
    options = parser.parse_args()
    print(json.dumps(run(options.level, options.rate, options.seconds, options.detector)))


if __name__ == "__main__":
    main()
