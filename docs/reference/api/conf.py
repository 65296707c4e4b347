"""Sphinx settings: the reference of the Python code, made from its docstrings by `make docs`."""

import warnings
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[3]

project = "xedm"
author = "the XEDM authors"
project_copyright = "2026, the XEDM authors"
release = version_of("xedm")
extensions = ["sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc"]
html_theme = "alabaster"
html_theme_options = {"description": "Live processing for X-ray ensemble diffraction microscopy"}
html_show_sphinx = False

apidoc_modules = [
    {"path": str(HOUSE / name), "destination": f"generated/{name}", "separate_modules": True}
    for name in ("processing", "service", "devices", "plans", "sim")
]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False  # what ophyd and caproto say of their classes is in their own documentation
numpydoc_show_class_members = False

# numpydoc reads every docstring twice: also before `keep_pvs`, and those of the classes of ophyd that ours derive from.
warnings.filterwarnings("ignore", message=r"Unknown section (Subscriptions|Pvs)\b")


def keep_pvs(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:  # noqa: ARG001 - signature is Sphinx's
    """Make a section "PVs" the section "Notes", which numpydoc knows and prints."""
    for index, line in enumerate(lines[:-1]):
        if line.strip() == "PVs" and set(lines[index + 1].strip()) == {"-"}:
            lines[index : index + 2] = [line.replace("PVs", "Notes"), lines[index + 1].replace("---", "-----")]


def keep_bars(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:  # noqa: ARG001 - signature is Sphinx's
    """Let ``|x|`` be an absolute value: reStructuredText would look for a substitution of that name."""
    for index, line in enumerate(lines):
        if not line.lstrip().startswith(">>>"):
            parts = line.split("``")
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[index] = "``".join(parts)


def setup(app: Any) -> None:
    """Come before and after numpydoc, whose priority is 500."""
    app.connect("autodoc-process-docstring", keep_pvs, priority=400)
    app.connect("autodoc-process-docstring", keep_bars, priority=600)
