"""Starting and ending our own programs."""

import time

import pytest

from service.errors import ConfigurationError, NotReachedError, UsageError
from service.processes import start, start_live

READY = "import json, sys, time; print('first words'); print(json.dumps({'ready': True, 'port': 7}), flush=True); "


def program(*lines):
    return ["-c", READY + "; ".join(lines)]


def test_a_program_that_says_ready_is_handed_over(tmp_path):
    running = start("thing", program("print('more', flush=True)", "sys.stdin.read()"), tmp_path / "log", 10.0)
    assert running.ready == {"ready": True, "port": 7}
    assert running.alive
    deadline = time.monotonic() + 10
    while running.lines != ["first words", "more"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.stop(5.0) == -15
    assert not running.alive
    assert running.lines == ["first words", "more"]
    assert running.stop(5.0) == -15


def test_a_program_ends_with_ours(tmp_path):
    running = start("thing", program("sys.stdin.read()"), tmp_path / "log", 10.0)
    running.process.stdin.close()
    assert running.process.wait(5.0) == 0


def test_a_live_service_ends_well_when_the_one_who_started_it_is_gone(tmp_path):
    settings = ["http.enabled=false", "pvs.enabled=false"]
    running = start_live(tmp_path, stream="tcp://127.0.0.1:1", settings=settings)
    try:
        running.process.stdin.write(b"words that nobody reads\n")
        running.process.stdin.flush()
        running.process.stdin.close()  # as the system does it for a process that is killed
        assert running.process.wait(20.0) == 0
    finally:
        running.stop(1.0)
    assert "Traceback" not in (tmp_path / "live.log").read_text()


def test_a_program_that_dies_at_its_start_is_told_with_its_last_words(tmp_path):
    program = "import sys; sys.stderr.write('no port left\\n'); sys.exit(1)"
    with pytest.raises(
        NotReachedError, match=r"thing must be ready within 10 s, got exit code 1; it says: no port left"
    ):
        start("thing", ["-c", program], tmp_path / "log", 10.0)


@pytest.mark.parametrize(("code", "kind"), [(2, UsageError), (3, ConfigurationError)])
def test_what_a_program_refuses_is_told_in_its_own_words_and_with_its_own_code(tmp_path, code, kind):
    program = f"import sys; sys.stderr.write('noise\\nxedm: setting a.b does not exist\\n'); sys.exit({code})"
    with pytest.raises(kind, match=r"^setting a.b does not exist \(said by the thing, log: .*log\)$"):
        start("thing", ["-c", program], tmp_path / "log", 10.0)


def test_a_program_that_stays_silent_is_ended(tmp_path):
    with pytest.raises(NotReachedError, match=r"thing must be ready within 0.5 s, got nothing \(log: .*log\)"):
        start("thing", ["-c", "import time; time.sleep(60)"], tmp_path / "log", 0.5)


def test_a_program_that_does_not_listen_is_killed(tmp_path):
    lines = [
        "import signal",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "print('deaf', flush=True)",
        "time.sleep(60)",
    ]
    running = start("thing", program(*lines), tmp_path / "log", 10.0)
    while "deaf" not in running.lines:
        pass
    assert running.stop(0.5) == -9
