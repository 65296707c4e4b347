"""The EPICS screens hold every PV of the service, and none that it does not have."""

import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from service.pv_table import TABLE

NAMES = {pv.name for pv in TABLE}
STEERING = {pv.name for pv in TABLE if pv.written_by == "steering"}


@pytest.fixture(params=["xedm.bob", "xedm.ui"])
def screen(request, book):
    return book.house / "docs/screens" / request.param


def channels_of(screen):
    """Return the PVs of a screen without their prefix."""
    texts = [element.text or "" for element in ET.parse(screen).iter()]
    prefix = r"\$\(P\)" if screen.suffix == ".bob" else r"ca://\$\{P\}"
    return [match[1] for text in texts if (match := re.fullmatch(rf"{prefix}([\w:]+)", text))]


def test_every_pv_is_on_the_screen(screen):
    assert set(channels_of(screen)) == NAMES


def test_the_screens_are_current(book):
    command = [sys.executable, str(book.house / "docs/screens/make_screens.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_but_steering_is_written_from_a_screen(book):
    ui = ET.parse(book.house / "docs/screens/xedm.ui").getroot()
    written = set()
    for widget in ui.iter("widget"):
        if widget.get("class") in ("PyDMLineEdit", "PyDMPushButton"):
            (channel,) = [one.findtext("string") for one in widget.findall("property") if one.get("name") == "channel"]
            written.add(channel.removeprefix("ca://${P}"))
    assert written == STEERING
    bob = ET.parse(book.house / "docs/screens/xedm.bob").getroot()
    writers = [widget for widget in bob.iter("widget") if widget.get("type") in ("textentry", "action_button")]
    assert {widget.findtext("pv_name").removeprefix("$(P)") for widget in writers} == STEERING


def test_widgets_lie_on_the_screen_and_not_on_each_other(book):
    bob = ET.parse(book.house / "docs/screens/xedm.bob").getroot()
    width, height = int(bob.findtext("width")), int(bob.findtext("height"))
    places = [
        (widget.findtext("name"), *(int(widget.findtext(tag)) for tag in ("x", "y", "width", "height")))
        for widget in bob.iter("widget")
    ]
    for index, (name, x, y, w, h) in enumerate(places):
        assert 0 <= x <= x + w <= width, name
        assert 0 <= y <= y + h <= height, name
        for other, ox, oy, ow, oh in places[index + 1 :]:
            assert x + w <= ox or ox + ow <= x or y + h <= oy or oy + oh <= y, (name, other)
