"""Blocks of a Markdown page: what to run, what it must print, and what of that may vary.

A comment directly above a block says how it is run, one ``<!-- word: value -->`` a line:

- ``not run``: why not.
- ``varies``: regular expressions, separated by `` ; ``. A piece of the page that matches one may be anything else that
  matches the same one.
- ``some``: regular expressions likewise; a line that matches one whole may come any number of times, or not at all.
- ``exit``: the exit code, 0 unless said.
- ``terminal``: its number; the command stays running until the page ends.
- ``file``: the block is written to a file of that name.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
_BLOCK = re.compile(
    r"(?P<notes>(?:^<!--[^\n]*-->\n+)*)^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_NOTE = re.compile(r"<!-- (?P<word>not run|varies|some|exit|terminal|file): (?P<value>.*?) -->")
_WORDS = {"not run", "varies", "some", "exit", "terminal", "file"}

# What never can be the same in two runs.
_ALWAYS = (
    r"127\.0\.0\.1:\d+",
    r'"\w+_port": \d+',
    r"/[\w./-]+/xedm-output",
    r"\b[0-9a-f]{8}\.documents\.jsonl",
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    r"\d\d:\d\d:\d\d(?:\.\d+)?",
    r"\d{4}-\d\d-\d\d",
    r"\d+(?:\.\d+)? s\b",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return f"{self.page.relative_to(HOUSE)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """What is typed at the shell's prompt."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]

    @property
    def inputs(self) -> list[str]:
        """What is typed at IPython's prompt."""
        return [line.partition("]: ")[2] for line in self.text.splitlines() if line.startswith("In [")]

    @property
    def output(self) -> list[str]:
        """What the page says is printed."""
        return [line for line in self.text.splitlines() if not line.startswith(("$ ", "In ["))]

    def compare(self, printed: str) -> None:
        """Hold what was printed against the page."""
        some = _split(self.notes.get("some", ""))
        wanted, got = (_plain(lines, some) for lines in (self.output, printed.splitlines()))
        varies = (*_split(self.notes.get("varies", "")), *_ALWAYS)
        shown = f"{self.place} prints\n\n{printed}\n\ninstead of\n\n" + "\n".join(self.output)
        assert len(got) == len(wanted), f"{len(got)} lines, not {len(wanted)}: {shown}"
        for want, line in zip(wanted, got, strict=True):
            assert re.fullmatch(_pattern(want, varies), line), f"{line!r} is not like {want!r}: {shown}"


def _split(note: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in note.split(" ; ") if part.strip())


def _plain(lines: list[str], some: tuple[str, ...]) -> list[str]:
    """Lines without colours, frames of tables, prompts and runs of blanks; empty ones and `some` left out."""
    kept = []
    for line in lines:
        text = re.sub(r"\x1b\[[0-9;]*m|In \[\d+\]: ", "", line)
        text = re.sub(r"[┃│]", "|", re.sub(r"[━─┏┓┗┛┡┩┳┻╇╈└┘┴┬├┤┼]+", "", text))
        text = re.sub(r"-{3,}", "---", " ".join(text.split()))
        if text and not any(re.fullmatch(rule, text) for rule in some):
            kept.append(text)
    return kept


def _pattern(line: str, varies: tuple[str, ...]) -> str:
    """Turn a line of the page into a regular expression, loose only where `varies` allows it."""
    rules = re.compile("|".join(f"(?P<v{index}>{rule})" for index, rule in enumerate(varies)))
    parts, end = [], 0
    for hit in rules.finditer(line):
        parts += [re.escape(line[end : hit.start()]), f"(?:{varies[int(str(hit.lastgroup)[1:])]})"]
        end = hit.end()
    return "".join([*parts, re.escape(line[end:])])


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    return parse(page, page.read_text(encoding="utf-8"))


def parse(page: Path, text: str) -> list[Block]:
    """Return the blocks in the text of a page."""
    found = []
    for match in _BLOCK.finditer(text):
        notes = {note["word"]: note["value"] for note in _NOTE.finditer(match["notes"])}
        line = text.count("\n", 0, match.end("notes")) + 1
        found.append(Block(page=page, line=line, language=match["language"], text=match["text"], notes=notes))
    return found


def pages() -> list[Path]:
    """Return every Markdown page of the project that is for people."""
    return [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").rglob("*.md"))]


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a terminal in which this house is installed and no beamline is known."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EPICS_", "XEDM"))}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "COLUMNS": "100", "IPYTHONDIR": str(folder / ".ipython")}


class Book:
    """The functions above, as a fixture, since tests are not a package."""

    house = HOUSE
    blocks_of = staticmethod(blocks_of)
    parse = staticmethod(parse)
    pages = staticmethod(pages)
    environment = staticmethod(environment)
    words = _WORDS


@pytest.fixture(scope="session")
def book() -> type[Book]:
    """Pages and their blocks."""
    return Book


@pytest.fixture(scope="session")
def after_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo has been run, short."""
    folder = tmp_path_factory.mktemp("after_demo")
    words = [str(BIN / "xedm"), "demo", "--no-browser", "--points", "10x10"]
    done = subprocess.run(
        words, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
