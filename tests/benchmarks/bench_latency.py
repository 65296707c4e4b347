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
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import httpx
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from bench_socket import cpu_s, exact, start_sender

from service.processes import start_live

SETTLE_S = 8.0
ENDED = ("complete", "incomplete", "failed")
NICE = 10
SHOWN = {
    "count": ("#balance", re.compile(r"([\d\s]+) received")),
    "picture": ("#pattern-words", re.compile(r"Sum of ([\d\s]+)")),
}


class Arrivals:
    """Since when the service has had so many frames."""

    def __init__(self, url: str) -> None:
        self._url, self.counts, self.since = url, [0], [time.monotonic()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(0.05):
                count = int(client.get(f"{self._url}/status").json()["counts"]["received"])
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
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("this needs Chromium; install it (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place)
        os.nice(NICE)  # the browser inherits it; what is measured is started before and after with its own
        browser = playwright.chromium.launch(executable_path=chromium, timeout=120_000)
        frames = round(rate * (seconds + SETTLE_S + 30))
        sender = start_sender(folder, level, "uint32", frames, rate, ["--detector", detector])
        live = start_live(
            folder / "live",
            stream=sender.ready["stream"],
            settings=["reconstruction.enabled=false", "stream.drain_s=2"],
        )
        for process in (sender.process, live.process):
            os.setpriority(os.PRIO_PROCESS, process.pid, 0)
        url, pid = live.ready["http"], live.process.pid
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(url)
            arrivals = Arrivals(url)
            time.sleep(SETTLE_S)
            begun, used = time.monotonic(), cpu_s(pid)
            ages = look(page, arrivals, seconds)
            share = (cpu_s(pid) - used) / (time.monotonic() - begun)
            arrivals.close()
            while (status := httpx.get(f"{url}/status", timeout=60).json())["state"] not in ENDED:
                time.sleep(0.5)
        finally:
            browser.close()
            sender.stop()
            live.stop()
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
            "exact": exact(Path(status["result"]), folder / "truth.npz"),
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
