"""Write the EPICS screens from the table of PVs: `python docs/screens/make_screens.py` (`--check` only compares).

One layout, two files: `xedm.bob` for Phoebus and `xedm.ui` for PyDM. Every PV of the service is on them; one that no
section names stands under "More".
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from service.pv_table import PV, TABLE

FOLDER = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1180, 840
ROW, GAP, HEAD = 26, 2, 30
LABEL, VALUE = 130, 170
SECTIONS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "Series": (16, 96, (
        "Series", "Announced", "Expected", "Paused", "Balanced", "Rate", "Behind", "Pending", "EndsWithin", "Purpose",
    )),
    "Frames": (336, 96, (
        "Frames:Received", "Frames:Accepted", "Frames:LowIntensity", "Frames:Streak", "Frames:Background",
        "Frames:Gated", "Frames:Corrupt", "Frames:Duplicate", "Frames:Foreign", "Frames:Missing",
    )),
    "Last frame and image": (16, 424, ("Last:Frame", "Last:Total", "Last:Chi2", "Last:Verdict", "Resolution")),
    "Steering": (336, 424, ("Chi2RatioMax", "IntensityRatioMin", "Reconstruct")),
    "Direct beam": (
        336, 540, ("DirectBeam:Row", "DirectBeam:Column", "DirectBeam:Peak", "DirectBeam:Photons"),
    ),
    "More": (16, 610, ()),
}  # fmt: skip
"""Left and upper edge, and the PVs from above."""
WIDE = ("State", "Degraded", "Point", "Point:Error", "Put:Error", "Result")
"""Have a place and a width of their own."""
PICTURE = ("Preview", "Preview:Width", "Preview:Height")
PICTURE_PLACE = (656, 96, 508, 508)
WORDS = {
    "Announced": "announced", "Expected": "expected", "Paused": "paused", "Balanced": "books balance",
    "Rate": "rate", "Behind": "behind", "Pending": "pending", "EndsWithin": "ends within", "Series": "series",
    "Resolution": "resolution", "Chi2RatioMax": "max. chi2 / dof", "IntensityRatioMin": "min. intensity",
    "Reconstruct": "image", "Frames:LowIntensity": "low intensity",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A rectangle, px."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Item:
    """Something on the screen: a `text`, or a PV shown as `value`, `entry`, `button` or `picture`."""

    kind: str
    place: Place
    text: str = ""
    pv: PV | None = None


def layout() -> Iterator[Item]:
    """Give everything on the screen with its place."""
    pvs = {pv.name: pv for pv in TABLE}
    yield Item("title", Place(16, 10, 420, 34), "XEDM live processing")
    yield Item("value", Place(440, 12, 200, 30), pv=pvs["State"])
    yield Item("text", Place(16, 52, 100, ROW), "not well:")
    yield Item("value", Place(116, 52, WIDTH - 132, ROW), pv=pvs["Degraded"])
    named = {name for _, _, names in SECTIONS.values() for name in names} | set(WIDE) | set(PICTURE)
    for title, (x, y, names) in SECTIONS.items():
        rows = names or tuple(name for name in pvs if name not in named)
        if rows:
            yield Item("head", Place(x, y, LABEL + VALUE, HEAD), title)
        for index, name in enumerate(rows):
            top = y + HEAD + index * (ROW + GAP)
            yield Item(
                "text", Place(x, top, LABEL, ROW), WORDS.get(name, name.partition(":")[2].lower() or name.lower())
            )
            yield from _shown(pvs[name], Place(x + LABEL, top, VALUE, ROW))
    x, y, width, height = PICTURE_PLACE
    yield Item("picture", Place(x, y + HEAD, width, height), pv=pvs["Preview"])
    yield Item("head", Place(x, y, 240, HEAD), "Sum, logarithmic scale")
    yield Item("value", Place(x + 280, y + 2, 100, ROW), pv=pvs["Preview:Width"])
    yield Item("text", Place(x + 384, y + 2, 16, ROW), "x")
    yield Item("value", Place(x + 404, y + 2, 100, ROW), pv=pvs["Preview:Height"])
    below = (
        ("Point", "last point"),
        ("Point:Error", "point refused"),
        ("Put:Error", "put refused"),
        ("Result", "result file"),
    )
    bottom = HEIGHT - len(below) * (ROW + GAP) - 14
    for index, (name, words) in enumerate(below):
        top = bottom + index * (ROW + GAP)
        yield Item("text", Place(16, top, LABEL, ROW), words)
        yield Item("value", Place(16 + LABEL, top, WIDTH - LABEL - 32, ROW), pv=pvs[name])


def _shown(pv: PV, place: Place) -> Iterator[Item]:
    """Steering is written here, what the scan says is only read."""
    if pv.written_by != "steering":
        yield Item("value", place, pv=pv)
    elif pv.choices:
        yield Item("button", place, "Reconstruct now", pv=pv)
    else:
        half = place.width // 2 - 2
        yield Item("value", Place(place.x, place.y, half, place.height), pv=pv)
        yield Item("entry", Place(place.x + half + 4, place.y, half, place.height), pv=pv)


# -- Phoebus -----------------------------------------------------------------------------------------------------------


def bob() -> ET.Element:
    """Return the display for Phoebus; the macro P is the prefix."""
    display = ET.Element("display", version="2.0.0")
    _tags(display, name="XEDM $(P)", width=WIDTH, height=HEIGHT)
    ET.SubElement(ET.SubElement(display, "macros"), "P").text = "XEDM:"
    kinds = {
        "title": "label", "head": "label", "text": "label", "value": "textupdate", "entry": "textentry",
        "button": "action_button", "picture": "image",
    }  # fmt: skip
    for index, item in enumerate(layout()):
        kind = kinds[item.kind]
        version = "3.0.0" if kind == "action_button" else "2.0.0"
        widget = ET.SubElement(display, "widget", type=kind, version=version)
        _tags(widget, name=item.text if item.pv is None else f"{item.pv.name} {index}")
        if item.pv is not None:
            _tags(widget, pv_name=f"$(P){item.pv.name}")
        if kind in ("label", "action_button"):
            _tags(widget, text=item.text)
        _tags(
            widget, x=item.place.x, y=item.place.y, width=item.place.width, height=item.place.height,
        )  # fmt: skip
        _bob_details(widget, item)
    return display


def _bob_details(widget: ET.Element, item: Item) -> None:
    if item.pv is None:
        size = {"title": 22, "head": 16}.get(item.kind)
        if size is not None:
            font = ET.SubElement(widget, "font")
            ET.SubElement(font, "font", family="Liberation Sans", style="BOLD", size=f"{size}.0")
        _tags(widget, vertical_alignment=1)
        return
    _tags(widget, tooltip=f"$(pv_name): {item.pv.doc}")
    if item.kind in ("value", "entry"):
        # text PVs are arrays of bytes; a resolution of nanometres in metres wants an exponent
        form = {"text": 6}.get(item.pv.kind, 3 if item.pv.name == "Resolution" else 0)
        _tags(widget, format=form, precision=-1, show_units="true" if item.pv.units else "false")
        _tags(widget, border_alarm_sensitive="true")
        if item.kind == "value":
            _tags(widget, vertical_alignment=1)
    if item.kind == "button":
        action = ET.SubElement(ET.SubElement(widget, "actions"), "action", type="write_pv")
        _tags(action, pv_name="$(pv_name)", value=1, description=item.text)
    if item.kind == "picture":
        _tags(widget, data_width=256, data_height=256, autoscale="false", minimum=0, maximum=255, unsigned="true")
        ET.SubElement(ET.SubElement(widget, "color_map"), "name").text = "VIRIDIS"
        for axis in ("x_axis", "y_axis"):
            _tags(ET.SubElement(widget, axis), visible="false")
        rules = ET.SubElement(widget, "rules")
        for side in ("Width", "Height"):
            rule = ET.SubElement(rules, "rule", name=side, prop_id=f"data_{side.lower()}", out_exp="true")
            ET.SubElement(ET.SubElement(rule, "exp", bool_exp="pvInt0 > 0"), "expression").text = "pvInt0"
            _tags(rule, pv_name=f"$(P)Preview:{side}")


def _tags(parent: ET.Element, **texts: object) -> None:
    for name, text in texts.items():
        ET.SubElement(parent, name).text = str(text)


# -- PyDM --------------------------------------------------------------------------------------------------------------


def ui() -> ET.Element:
    """Return the form for PyDM; the macro P is the prefix."""
    form = ET.Element("ui", version="4.0")
    _tags(form, **{"class": "Form"})
    root = ET.SubElement(form, "widget", {"class": "QWidget", "name": "Form"})
    _rectangle(root, Place(0, 0, WIDTH, HEIGHT))
    _property(root, "windowTitle", "string", "XEDM ${P}")
    classes = {
        "title": "QLabel", "head": "QLabel", "text": "QLabel", "value": "PyDMLabel", "entry": "PyDMLineEdit",
        "button": "PyDMPushButton", "picture": "PyDMImageView",
    }  # fmt: skip
    for index, item in enumerate(layout()):
        name = f"{item.kind}_{index}"
        widget = ET.SubElement(root, "widget", {"class": classes[item.kind], "name": name})
        _rectangle(widget, item.place)
        _ui_details(widget, item)
    customs = ET.SubElement(form, "customwidgets")
    for kind, base, header in (
        ("PyDMLabel", "QLabel", "label"), ("PyDMLineEdit", "QLineEdit", "line_edit"),
        ("PyDMPushButton", "QPushButton", "pushbutton"), ("PyDMImageView", "QWidget", "image"),
    ):  # fmt: skip
        _tags(ET.SubElement(customs, "customwidget"), **{"class": kind}, extends=base, header=f"pydm.widgets.{header}")
    ET.SubElement(form, "resources")
    ET.SubElement(form, "connections")
    return form


def _ui_details(widget: ET.Element, item: Item) -> None:
    if item.pv is None:
        _property(widget, "text", "string", item.text)
        size = {"title": 18, "head": 12}.get(item.kind)
        if size is not None:
            font = ET.SubElement(ET.SubElement(widget, "property", name="font"), "font")
            _tags(font, pointsize=size, bold="true")
        return
    _property(widget, "toolTip", "string", f"{item.pv.name}: {item.pv.doc}")
    channel = f"ca://${{P}}{item.pv.name}"
    if item.kind == "picture":
        _property(widget, "imageChannel", "string", channel)
        _property(widget, "widthChannel", "string", "ca://${P}Preview:Width")
        _property(widget, "colorMapMax", "double", 255.0)
        _property(widget, "readingOrder", "enum", "PyDMImageView::Clike")  # row by row
        return
    _property(widget, "channel", "string", channel)
    _property(widget, "alarmSensitiveBorder", "bool", "true")
    if item.kind == "button":
        _property(widget, "text", "string", item.text)
        _property(widget, "pressValue", "string", 1)
        return
    kind = "PyDMLineEdit" if item.kind == "entry" else "PyDMLabel"
    _property(widget, "alarmSensitiveContent", "bool", "false")  # its yellow cannot be read
    _property(widget, "showUnits", "bool", "true" if item.pv.units and item.kind == "value" else "false")
    if item.pv.name == "Resolution":
        _property(widget, "precision", "number", 2)
        _property(widget, "precisionFromPV", "bool", "false")
        _property(widget, "displayFormat", "enum", f"{kind}::Exponential")
    elif item.pv.kind == "text":
        _property(widget, "displayFormat", "enum", f"{kind}::String")


def _rectangle(widget: ET.Element, place: Place) -> None:
    rectangle = ET.SubElement(ET.SubElement(widget, "property", name="geometry"), "rect")
    _tags(rectangle, x=place.x, y=place.y, width=place.width, height=place.height)


def _property(widget: ET.Element, name: str, kind: str, value: object) -> None:
    ET.SubElement(ET.SubElement(widget, "property", name=name), kind).text = str(value)


SCREENS: dict[str, Callable[[], ET.Element]] = {"xedm.bob": bob, "xedm.ui": ui}


def text_of(screen: ET.Element) -> str:
    """Return the XML as it stands in the file."""
    ET.indent(screen)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(screen, encoding="unicode")}\n'


def main() -> int:
    """Write the screens, or compare them with `--check`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit code 1 when a screen is not current")
    arguments = parser.parse_args()
    stale = 0
    for name, make in SCREENS.items():
        path, text = FOLDER / name, text_of(make())
        if not arguments.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{name} is not current: run make docs\n")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
