"""A simulated beamline, a live service and a scan, all as users start them, and a browser that looks at the page."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - the detector's files are compressed
import httpx
import numpy as np
import pytest
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks use the same browser

from chromium import launch

from service.status import ENDED
from sim.pytest_plugin import running_beamline

HOUSE = Path(__file__).resolve().parents[2]
SHOTS = HOUSE / "xedm-output" / "page"
_START_S = 90.0


@pytest.fixture(scope="session")
def shots():
    """The folder where screenshots are kept to be looked at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


class Beamline:
    """A running service with a scan behind it, and what the detector itself wrote of it."""

    def __init__(self, ready, files, scan):
        self.url, self.files, self.scan = ready["http"], files, scan
        self.token = Path(ready["token_file"]).read_text().strip()

    def status(self):
        return httpx.get(f"{self.url}/status", timeout=20).json()

    def wait(self, what, timeout_s=240.0):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.status()
            if what(status):
                return status
            time.sleep(0.2)
        pytest.fail(f"not within {timeout_s} s: {json.dumps(self.status())[:2000]}")

    def ended(self):
        return self.wait(lambda status: status["state"] in ENDED)

    def frame(self, number):
        """The pixels of a frame as the detector's own files hold them, flags as NaN."""
        with h5py.File(self.files / "series_1_master.h5") as file:
            for name in sorted(file["entry/data"]):
                data = file["entry/data"][name]
                first = int(data.attrs["image_nr_low"]) - 1
                if first <= number < first + len(data):
                    pixels = data[number - first]
                    return np.where(pixels >= np.iinfo(pixels.dtype).max - 1, np.nan, pixels)
        pytest.fail(f"frame {number} is not in the detector's files")

    def snapshot(self):
        """Have the result file written, and read it."""
        answer = httpx.post(f"{self.url}/snapshot", headers={"Authorization": f"Bearer {self.token}"}, timeout=60)
        assert answer.status_code == 200, answer.text
        with h5py.File(answer.json()["result"]) as file:
            entry = file["entry"]
            rows = {name: entry[f"frames/{name}"][()].tolist() for name in ("frame", "verdict", "x", "y")}
            names = list(entry["frames/verdict"].attrs["names"])
            return {
                "sum": entry["sum/data"][()],
                "valid": entry["sum/valid"][()] != 0,
                "verdicts": {frame: names[one] for frame, one in zip(rows["frame"], rows["verdict"], strict=True)},
                "place": {frame: (x, y) for frame, x, y in zip(rows["frame"], rows["x"], rows["y"], strict=True)},
            }


@pytest.fixture(scope="session")
def beamline(tmp_path_factory):
    """Everything running, and a scan of 15 x 15 points that has just begun."""
    folder = tmp_path_factory.mktemp("page")
    with running_beamline(folder / "sim", ["--speed", "20", "--seed", "5"], timeout_s=_START_S) as sim:
        words = ["live", "--stream", sim.stream, "--output", folder / "out", "--set", "spool.enabled=true"]
        words += ["--set", "reconstruction.seeds=4", "--set", "reconstruction.wanted_resolution_m=5e-9"]
        with program(words, folder, stdout=subprocess.PIPE) as live:
            line = live.stdout.readline()
            if not line:
                pytest.fail(f"xedm live must start, got: {(folder / 'live.log').read_text()[-2000:]}")
            ready = json.loads(line)
            environment = {**os.environ, **sim.environment}
            environment["EPICS_CA_ADDR_LIST"] += f" 127.0.0.1:{ready['ca_server_port']}"
            (folder / "beamline.toml").touch()
            words = ["scan", "--config", folder / "beamline.toml", "--exposure", "5"]
            words += ["--x", "-80", "60", "10", "--y", "-40", "100", "10"]
            with program(words, folder, env=environment, stdout=subprocess.DEVNULL) as scan:
                yield Beamline(ready, sim.files, scan)


@contextmanager
def program(words, folder, **options):
    """Run one of our programs."""
    command = [sys.executable, "-m", "service.cli", *map(str, words)]
    with (
        (folder / f"{words[0]}.log").open("w") as log,
        subprocess.Popen(command, cwd=folder, text=True, stderr=log, **options) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def page_of(browser, beamline):
    """Open the page: `page_of(width, height)`; nothing may be said on its console but what `page_of.allowed` holds."""
    said, contexts = [], []

    def open_page(width=1280, height=720, *, dark=False, scale=1):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light",
            device_scale_factor=scale, reduced_motion="reduce",
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: request.url.startswith(beamline.url) or said.append(f"asked {request.url}"))
        page.goto(beamline.url)
        page.locator("#contact[data-level=ok]").wait_for()
        return page

    open_page.allowed = set()
    yield open_page
    for context in contexts:
        context.close()
    assert set(said) - open_page.allowed == set()
