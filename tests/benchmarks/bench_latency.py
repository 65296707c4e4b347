"""How old what the page shows is: a browser looks, niced, while frames come; from a frame's arrival to its place on it.

    python tests/benchmarks/bench_latency.py [--level sparse] [--rate 133] [--seconds 40] [--detector eig16m]

A sender of pooled frames (`sim.throughput`) paces them, on the same cores. `/status` is asked twenty times a second, so
it is known since when the service has had so many frames. Two numbers of the page, read from its document ten times a
second, are held against that: the count of frames, and that of the sum whose picture is shown. Needs Chromium and what
`make test-page` installs. The last line is JSON.
"""

import argparse
import bisect
import json
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "page"))

from bench_socket import cpu_s, exact, final_status, paced
from chromium import launch

from service.http_client import status_of
from service.processes import Running

SETTLE_S = 8.0
NICE = 10
SHOWN = {
    "count": ("#balance", re.compile(r"([\d\s]+) received")),
    "picture": ("#pattern-words", re.compile(r"Sum of ([\d\s]+)")),
}


class Arrivals:
    """Since when the service has had so many frames."""

    def __init__(self, live: Running) -> None:
        self._live, self.counts, self.since = live, [0], [time.monotonic()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._stop.wait(0.05):
            count = int(status_of(self._live)["counts"]["received"])
            if count > self.counts[-1]:
                self.since.append(time.monotonic())
                self.counts.append(count)

    def age_s(self, shown: int) -> float:
        """How long ago the frame arrived that comes after the last one shown: what the page lacks."""
        index = bisect.bisect_right(self.counts, shown)
        return time.monotonic() - self.since[index] if index < len(self.since) else 0.0

    def close(self) -> None:
        """Stop asking."""
        self._stop.set()
        self._thread.join(5)


def look(page: Page, arrivals: Arrivals, seconds: float) -> dict[str, list[float]]:
    """Return how old each number of the page was at each look, s."""
    ages: dict[str, list[float]] = {name: [] for name in SHOWN}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, (place, pattern) in SHOWN.items():
            found = pattern.search(page.inner_text(place))
            if found is not None:
                ages[name].append(arrivals.age_s(int(re.sub(r"\D", "", found.group(1)))))
        time.sleep(0.1)
    return ages


def run(level: str, rate: float, seconds: float, detector: str) -> dict[str, object]:
    """Measure one series."""
    frames = round(rate * (seconds + SETTLE_S + 30))
    settings = ["reconstruction.enabled=false"]
    with (
        tempfile.TemporaryDirectory() as place,
        sync_playwright() as playwright,
        paced(Path(place), level, rate, frames, ["--detector", detector], settings) as (_, live),
    ):
        os.nice(NICE)  # the browser inherits it; sender and service run already, as they are
        browser = launch(playwright)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(live.ready["http"])
            arrivals = Arrivals(live)
            time.sleep(SETTLE_S)
            begun, used = time.monotonic(), cpu_s(live.process.pid)
            ages = look(page, arrivals, seconds)
            share = (cpu_s(live.process.pid) - used) / (time.monotonic() - begun)
            arrivals.close()
        finally:
            browser.close()
        status = final_status(live)
        return {
            "level": level,
            "detector": detector,
            "rate_hz": rate,
            "looks": len(ages["count"]),
            **{f"{name}_median_s": round(median(found), 2) for name, found in ages.items()},
            **{f"{name}_p90_s": round(sorted(found)[(9 * len(found)) // 10], 2) for name, found in ages.items()},
            "service_percent_of_a_core": round(100 * share, 1),
            "state": status["state"],
            "missing": status["counts"]["missing"],
            "exact": exact(Path(status["result"]), Path(place) / "truth.npz"),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="sparse", choices=("sparse", "medium", "dense"))
    parser.add_argument("--rate", type=float, default=133.0)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--detector", default="eig16m", choices=("eig1m", "eig16m"))
    options = parser.parse_args()
    print(json.dumps(run(options.level, options.rate, options.seconds, options.detector)))


if __name__ == "__main__":
    main()
