"""Children that misbehave: what they may take, and how they end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.contained import Contained, how_it_ended
from service.contained_child import OUT_OF_MEMORY

SLEEPER = """
import os, subprocess, sys, time
helper = subprocess.Popen(["sleep", "1000"])
open(sys.argv[1], "w").write(f"{os.getpid()} {helper.pid} ")
time.sleep(1000)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make a module a child can run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(text, name="misbehave"):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return make


def pids_of(file, wait_until):
    wait_until(lambda: file.exists() and len(file.read_text().split()) == 2)
    return [int(word) for word in file.read_text().split()]


def finish(child, wait_until):
    wait_until(lambda: child.ended)
    return child.end()


def test_its_whole_group_is_killed(module, tmp_path, wait_until):
    child = Contained(module(SLEEPER), [str(tmp_path / "pids")], memory_mib=256)
    pids = pids_of(tmp_path / "pids", wait_until)
    assert pids[0] == child.process.pid
    assert all(map(alive, pids))
    assert not child.ended
    assert child.end() == child.end() == -signal.SIGKILL
    wait_until(lambda: not any(map(alive, pids)))


def test_helpers_of_a_child_that_crashed_are_killed_too(module, tmp_path, wait_until):
    crash = SLEEPER.replace("time.sleep(1000)", "os.abort()")
    child = Contained(module(crash), [str(tmp_path / "pids")], memory_mib=256)
    helper = pids_of(tmp_path / "pids", wait_until)[1]
    assert finish(child, wait_until) == -signal.SIGABRT
    wait_until(lambda: not alive(helper))


def test_it_dies_with_its_parent_but_not_with_the_thread_that_started_it(module, tmp_path, wait_until):
    module(SLEEPER)
    program = (
        "import threading, time\nfrom service.contained import Contained\n"
        f"start = lambda: Contained('misbehave', [{str(tmp_path / 'pids')!r}], memory_mib=256)\n"
        "kept = []\nthread = threading.Thread(target=lambda: kept.append(start()))\n"
        "thread.start(); thread.join(); time.sleep(1000)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        pids = pids_of(tmp_path / "pids", wait_until)
        time.sleep(0.2)
        assert all(map(alive, pids))
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize(
    "hog",
    [
        "held = []\nwhile True: held.append(bytearray(1 << 24))",
        "import numpy as np\nheld = []\nwhile True: held.append(np.ones(1 << 21))",
    ],
)
def test_memory_without_end_ends_at_the_limit(module, hog, wait_until):
    child = Contained(module(hog), [], memory_mib=300)
    assert finish(child, wait_until) == OUT_OF_MEMORY


def test_a_reservation_is_no_memory(module, wait_until):
    child = Contained(module("import mmap\nmmap.mmap(-1, 1 << 33, prot=mmap.PROT_READ)"), [], memory_mib=256)
    assert finish(child, wait_until) == 0


def test_arguments_priority_and_limits_reach_the_module(module, tmp_path, wait_until):
    say = (
        "import os, resource, sys\nopen(sys.argv[1], 'w').write(repr((__name__, os.nice(0), "
        "resource.getrlimit(resource.RLIMIT_DATA), resource.getrlimit(resource.RLIMIT_CORE))))\nsys.exit(3)"
    )
    before = os.nice(0)
    child = Contained(module(say), [str(tmp_path / "said")], memory_mib=300, niceness=4)
    assert finish(child, wait_until) == 3
    limit = 300 << 20
    assert (tmp_path / "said").read_text() == repr(("__main__", min(19, before + 4), (limit, limit), (0, 0)))


def test_a_folder_of_that_name_in_the_working_directory_is_not_taken(module, tmp_path, monkeypatch, wait_until):
    (tmp_path / "here" / "service").mkdir(parents=True)
    (tmp_path / "here" / "service" / "__init__.py").write_text("raise SystemExit(66)")
    monkeypatch.chdir(tmp_path / "here")
    assert finish(Contained(module("pass"), [], memory_mib=256), wait_until) == 0


def test_nothing_is_left_open(module, wait_until):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        finish(Contained(module("pass"), [], memory_mib=256), wait_until)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("code", "words"),
    [(OUT_OF_MEMORY, "ran out of memory"), (-11, "was killed by SIGSEGV"), (3, "ended with code 3"), (-99, "code -99")],
)
def test_an_exit_code_is_words(code, words):
    assert how_it_ended(code).endswith(words)
