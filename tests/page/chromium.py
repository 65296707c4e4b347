"""The browser that looks at the page: the system's Chromium, headless."""

import shutil

from playwright.sync_api import Browser, Playwright


def launch(playwright: Playwright) -> Browser:
    """Start it.

    Raises
    ------
    FileNotFoundError
        When there is none.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise FileNotFoundError("looking at the page needs Chromium; install it (Debian: apt-get install chromium)")
    return playwright.chromium.launch(executable_path=path, timeout=120_000)
