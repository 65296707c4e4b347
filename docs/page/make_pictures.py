"""Photograph the live page during a simulated run: `make page-pictures`.

`xedm demo` runs as a user starts it, headless Chromium looks at its page, and two files come of it: `run.gif`, the
first screen of the page every other second of the run, and `page.png`, the whole page when the run and its last image
are done.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "page"))

from chromium import launch

from service.http_client import ask
from service.status import ENDED

FOLDER = Path(__file__).resolve().parent
SCREEN = {"width": 1280, "height": 800}
EVERY_S, SHOWN_MS, LAST_SHOWN_MS = 2.0, 600, 4000
COLORS, WIDTH = 256, 900
DEADLINE_S = 600.0
SETTLED_S = 3.0


def is_done(told: dict[str, Any]) -> bool:
    """Whether the run has ended and nothing is being made any more."""
    return told["state"] in ENDED and told["reconstruction"]["state"] not in ("running", "queued")


def watch(page: Page, url: str) -> list[Image.Image]:
    """Photograph the first screen until all is done."""
    pictures: list[Image.Image] = []
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        told = ask(url, "/status")
        if told["counts"]["received"]:
            pictures.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        if is_done(told):
            time.sleep(SETTLED_S)
            pictures.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
            return pictures
        time.sleep(EVERY_S)
    raise TimeoutError(f"the demo must be done within {DEADLINE_S:g} s, got {told['state']}")


def save(pictures: list[Image.Image], path: Path) -> None:
    """Write the pictures as an animation with one palette, so that nothing flickers."""
    height = round(WIDTH * SCREEN["height"] / SCREEN["width"])
    small = [picture.resize((WIDTH, height), Image.Resampling.LANCZOS) for picture in pictures]
    both = Image.new("RGB", (WIDTH, 2 * height))
    for row, picture in enumerate((small[len(small) // 2], small[-1])):
        both.paste(picture, (0, row * height))
    palette = both.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in small]
    shown = [SHOWN_MS] * (len(frames) - 1) + [LAST_SHOWN_MS]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=shown, loop=0, optimize=True)


def main() -> None:
    """Run the demo and photograph it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", default="12x12")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        words = ["demo", "--points", options.points, "--keep", "--no-browser", "--json", "--output", place]
        demo = subprocess.Popen(
            [str(Path(sys.executable).with_name("xedm")), *words], stdout=subprocess.PIPE, text=True
        )
        browser = launch(playwright)
        try:
            assert demo.stdout is not None
            url = str(next(told["http"] for line in demo.stdout if "http" in (told := json.loads(line))))
            threading.Thread(target=demo.stdout.read, daemon=True).start()  # a full pipe would stop the scan
            page = browser.new_page(viewport=SCREEN, device_scale_factor=1)
            page.goto(url)
            save(watch(page, url), options.folder / "run.gif")
            page.screenshot(path=options.folder / "page.png", full_page=True)
        finally:
            browser.close()
            demo.terminate()
            demo.wait(60)


if __name__ == "__main__":
    main()
