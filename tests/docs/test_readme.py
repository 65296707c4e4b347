"""README and tutorial do what they say: their blocks are run in order, and what they print is compared."""

import random
import re
import signal
import socket
import subprocess
import sys
import time

import h5py
import pytest

pytestmark = pytest.mark.docs
PORTS = ("9999", "5070", "5080", "8000")
"""Fixed numbers on the pages; a test takes free ones, since the machine's may be taken."""
READY_TIMEOUT_S = 120
ON_THEIR_OWN = (
    "README.md",
    "docs/tutorial/first-run.md",
    "docs/how-to/change-thresholds.md",
    "docs/how-to/find-old-runs.md",
    "docs/reference/simulation.md",
)
AFTER_DEMO = (
    "docs/how-to/export-for-other-programs.md",
    "docs/how-to/write-a-run-report.md",
    "docs/how-to/read-the-result.md",
    "docs/how-to/use-your-own-mask.md",
    "docs/reference/result-file.md",
    "docs/explanation/phasing.md",
    "docs/explanation/screening.md",
)


def free_ports(count):
    """Below the range that the system gives away, so that nobody gets one between the look and the use."""
    found = []
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(str(port))
        if len(found) == count:
            return found
    raise OSError(f"{count} free ports must exist, found {found}")


class Desk:
    """A folder with the terminals in which one page is worked through."""

    def __init__(self, folder, book):
        self.folder, self.house = folder, book.house
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.terminals = []
        self.environment = book.environment(folder)

    def script(self, block):
        lines = [self.recipe(line) if line.startswith("make ") else line for line in block.commands]
        return self.with_free_ports("\n".join(lines))

    def with_free_ports(self, text):
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self.ports[found[0]], text)

    def recipe(self, line):
        """What a verb of the Makefile runs, with this environment instead of building one."""
        rule = re.search(
            rf"^{line.removeprefix('make ')}:.*\n((?:\t.*\n)+)", (self.house / "Makefile").read_text(), re.MULTILINE
        )
        assert rule, line
        return rule[1].replace("\t", "").replace("$(BIN)/", "")

    def run(self, block):
        typed = "".join(f"{line}\n" for line in block.inputs)
        done = subprocess.run(
            ["bash", "-e", "-c", self.script(block)],
            cwd=self.folder,
            env=self.environment,
            input=typed or None,
            stdin=None if typed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == int(block.notes.get("exit", 0)), f"{block.place}: {done.stdout}"
        block.compare(done.stdout)

    def run_python(self, block, wanted):
        done = subprocess.run(
            [sys.executable, "-c", self.with_free_ports(block.text)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{block.place}: {done.stderr}"
        wanted.compare(done.stdout)

    def open_terminal(self, block):
        printed = self.folder / f"terminal_{block.notes['terminal']}.txt"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-e", "-c", f"exec {self.script(block)}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.terminals.append(process)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while printed.read_text().count("\n") < max(1, len(block.output)):
            assert process.poll() is None, f"{block.place}: {printed.read_text()}"
            assert time.monotonic() < deadline, f"{block.place}: {printed.read_text()}"
            time.sleep(0.1)
        block.compare(printed.read_text())

    def close(self):
        for process in reversed(self.terminals):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                assert process.wait(30) == 0
            finally:
                process.kill()


def work_through(name, folder, book):
    """Run the blocks of a page in order."""
    blocks = book.blocks_of(book.house / name)
    desk = Desk(folder, book)
    run = 0
    try:
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            if "not run" in block.notes:
                continue
            if "file" in block.notes:
                (folder / block.notes["file"]).write_text(desk.with_free_ports(block.text))
            elif block.language == "console":
                (desk.open_terminal if "terminal" in block.notes else desk.run)(block)
                run += 1
            elif block.language == "python":
                assert following is not None
                assert following.language == "text", f"{block.place}: what it prints must follow as a text block"
                desk.run_python(block, following)
                run += 1
    finally:
        desk.close()
    assert run, f"{name} has nothing to run"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ON_THEIR_OWN)
def test_a_page_prints_what_it_says(name, tmp_path, book):
    work_through(name, tmp_path, book)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", AFTER_DEMO)
def test_a_page_about_the_demo_prints_what_it_says(name, after_demo, book):
    work_through(name, after_demo, book)


@pytest.mark.timeout(600)
def test_the_figures_about_phasing_are_drawn_and_print_what_the_page_says(tmp_path, book):
    page = book.house / "docs/explanation/phasing.md"
    (block,) = [block for block in book.blocks_of(page) if block.commands == ["python docs/phasing_figures.py"]]
    done = subprocess.run(
        [sys.executable, str(book.house / "docs/phasing_figures.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    block.compare(done.stdout)
    shown = set(re.findall(r"\]\((\w+\.png)\)", page.read_text()))
    assert {path.name for path in tmp_path.iterdir()} == shown
    assert all((page.parent / name).stat().st_size < 150_000 for name in shown)


@pytest.mark.timeout(400)
def test_the_result_file_has_every_field_that_its_page_names(after_demo, book):
    page = (book.house / "docs/reference/result-file.md").read_text()
    fields = set(re.findall(r"`(/entry/[\w/]+)`", page))
    fields = {field for field in fields if not field.startswith("/entry/note_")}  # there where a person wrote one
    assert len(fields) > 20
    with h5py.File(after_demo / "xedm-output/demo/series_1.nxs") as file:
        assert [field for field in sorted(fields) if field not in file] == []
        written = []
        file.visititems(lambda name, item: written.append(f"/{name}") if isinstance(item, h5py.Dataset) else None)
    groups = ("/entry/instrument/", "/entry/process/")
    small = {f"/entry{name}" for name in ("/title", "/start_time", "/end_time")}
    unnamed = [name for name in written if name not in fields | small and not name.startswith(groups)]
    assert [name for name in unnamed if not name.endswith("/title")] == []
