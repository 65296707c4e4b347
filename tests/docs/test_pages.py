"""The pages hang together: links resolve, generated ones are current, messages and names are those of the code."""

import ast
import re
import subprocess
import sys

import pytest

RUN = (
    "README.md",
    "docs/tutorial/first-run.md",
    "docs/how-to/change-thresholds.md",
    "docs/how-to/find-old-runs.md",
    "docs/how-to/read-the-result.md",
    "docs/how-to/use-your-own-mask.md",
    "docs/reference/result-file.md",
    "docs/reference/simulation.md",
    "docs/explanation/phasing.md",
    "docs/explanation/screening.md",
)
"""Pages whose blocks `test_readme.py` runs."""


def without_blocks(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", without_blocks(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page):
    return [
        link
        for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text()))
        if not link.startswith(("http://", "https://"))
    ]


def test_every_link_leads_somewhere(book):
    checked = 0
    for page in book.pages():
        for link in links(page):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                assert anchor in anchors(target), f"{page.name}: {link}"
            checked += 1
    assert checked > 50


def test_every_page_can_be_reached_from_the_index(book):
    docs = book.house / "docs"
    seen, ahead = set(), [docs / "index.md"]
    while ahead:
        page = ahead.pop()
        if page in seen:
            continue
        seen.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
        for target in targets:
            ahead += sorted(target.glob("*.md")) if target.is_dir() else [target] * (target.suffix == ".md")
    assert [str(page.relative_to(docs)) for page in docs.rglob("*.md") if page not in seen] == []


def test_generated_pages_are_current(book):
    command = [sys.executable, str(book.house / "docs/generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stale_page_is_noticed(book, tmp_path):
    copy = tmp_path / "generate.py"
    copy.write_text((book.house / "docs/generate.py").read_text())
    (tmp_path / "reference").mkdir()
    for name in ("commands.md", "settings.md"):
        text = (book.house / "docs/reference" / name).read_text()
        (tmp_path / "reference" / name).write_text(text.replace("screening.hold_mib", "screening.hold_mb"))
    command = [sys.executable, str(copy), "--check"]
    done = subprocess.run(command, cwd=book.house, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "settings.md is not current" in done.stderr
    assert "commands.md" not in done.stderr


def test_every_console_block_is_run_or_says_why_not(book):
    for page in book.pages():
        for block in book.blocks_of(page):
            if block.language == "console" and str(page.relative_to(book.house)) not in RUN:
                assert "not run" in block.notes, block.place


def test_notes_about_blocks_are_spelt_right(book):
    for page in book.pages():
        text = page.read_text()
        beside = re.findall(r"^<!-- ([^:\n]+): [^\n]* -->\n(?=<!--|\n*```)", text, re.MULTILINE)
        assert set(beside) <= book.words, f"{page.name}: {beside}"
        used = sum(len(block.notes) for block in book.blocks_of(page))
        assert used == len(beside), f"{page.name}: a note is not directly above its block"


@pytest.mark.parametrize(
    ("page", "printed", "same"),
    [
        ("sum 3\n", "sum 3\n", True),
        ("sum 3\n", "sum 4\n", False),
        ("took 3 s\n", "took 12 s\n", True),
        ("image 3 nm\n", "image 4 nm\n", True),
        ("sum 3\n", "sum 3\nmore\n", False),
        ("sum 3\n", "point 1\nsum 3\npoint 2\n", True),
        ("│ a │ 3 │\n", "| a   |  3 |\n", True),
        ("", "sum 3\n", False),
    ],
)
def test_a_block_is_compared_with_what_was_printed(book, page, printed, same):
    notes = r"<!-- varies: \d+ nm -->" + "\n" + r"<!-- some: point \d+ -->" + "\n"
    path = book.house / "page.md"
    (block,) = book.parse(path, f"{notes}```console\n$ command\n{page}```\n")
    assert block.commands == ["command"]
    if same:
        block.compare(printed)
    else:
        with pytest.raises(AssertionError):
            block.compare(printed)


def constants_of_the_code(house):
    """Return every text in the code, with its formatted values cut out."""
    found = []
    for package in ("devices", "plans", "processing", "service", "sim"):
        for path in (house / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def test_quoted_messages_are_those_of_the_code(book):
    page = (book.house / "docs/how-to/when-something-is-wrong.md").read_text()
    quoted = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(quoted) > 30
    texts = constants_of_the_code(book.house)
    for message in quoted:
        pieces = [re.escape(piece) for piece in message.split("...")]
        rule = re.compile(".*?\0.*?".join(pieces), re.DOTALL)
        assert any(rule.search(text) for text in texts), message


def test_the_page_about_the_simulation_names_its_options_faults_and_pvs(book):
    page = (book.house / "docs/reference/simulation.md").read_text()
    command = [sys.executable, "-m", "sim", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    options = set(re.findall(r"(--[a-z-]+)", text)) - {"--help"}
    named = set(re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE))
    assert named == options

    from sim.faults import KINDS

    assert [name for name in KINDS if not re.search(rf"^{name} ", page, re.MULTILINE)] == []

    from sim.beamline import Beamline
    from sim.server import Server
    from sim.settings import SimSettings

    known = Server(Beamline(SimSettings())).pvdb
    pvs = {name for name in re.findall(r"`((?:25A|SR-DI|TPS)[\w:\-]*)`", page) if not name.endswith(":")}
    assert len(pvs) > 12
    assert [name for name in pvs if name not in known] == []
