"""The audit log as a file: what is in it, who reads it, and how long it can get."""

import logging
import os
import re
import stat

import pytest

from service.attempts import MAX_REFUSALS, PAUSE_S, WINDOW_S, Attempts
from service.audit import MAX_REFUSALS_A_MINUTE, FewRefusals, keep_audit
from service.errors import UserError

audit = logging.getLogger("xedm.audit")


@pytest.fixture
def keep(tmp_path):
    ends = []

    def start():
        ends.append(keep_audit(tmp_path))
        return tmp_path / "audit.log"

    yield start
    for end in ends:
        end()
    assert audit.handlers == audit.filters == []


def test_actions_and_refusals_are_lines_only_this_user_can_read(keep, tmp_path):
    (tmp_path / "audit.log").write_text("an earlier run\n")
    os.chmod(tmp_path / "audit.log", 0o644)
    path = keep()
    audit.info("http 127.0.0.1:5 PUT /settings %s", "{}")
    audit.warning("refused ca me@here put to %s: no", "Chi2RatioMax")
    lines = path.read_text().splitlines()
    assert lines[0] == "an earlier run"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO http 127\.0\.0\.1:5 PUT /settings {}", lines[1])
    assert lines[2].endswith("WARNING refused ca me@here put to Chi2RatioMax: no")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nobody_can_forge_a_line(keep):
    path = keep()
    audit.warning("refused %s", "me\n2026-01-01T00:00:00Z INFO you did it\r\x1b[2J\u2028x")
    (line,) = path.read_text().splitlines()
    assert r"me\n2026-01-01T00:00:00Z INFO you did it\r\x1b[2J\u2028x" in line


def test_refusals_without_end_do_not_fill_the_disk_and_are_counted(keep):
    path = keep()
    for number in range(MAX_REFUSALS_A_MINUTE + 500):
        audit.warning("refused %d", number)
    audit.info("an action")
    lines = path.read_text().splitlines()
    assert MAX_REFUSALS_A_MINUTE <= len(lines) - 1 <= 2 * MAX_REFUSALS_A_MINUTE + 1  # the clock may turn a minute
    assert re.search(r"an action \(and [45]\d\d refusals before it\)$", lines[-1])


def test_the_next_minute_has_its_own_refusals():
    now = [0.0]
    few = FewRefusals(lambda: now[0])

    def refused():
        return few.filter(logging.LogRecord("x", logging.WARNING, "", 0, "no", (), None))

    assert sum(refused() for _ in range(100)) == MAX_REFUSALS_A_MINUTE
    now[0] = 61.0
    assert refused()


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "audit.log").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match="the audit log must be a file this user can write to"):
        keep_audit(tmp_path)
    assert (tmp_path / "victim").read_text() == "precious"


def test_ten_refusals_within_a_minute_begin_a_pause_and_only_for_that_client():
    now = [1000.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(MAX_REFUSALS):
        assert attempts.pause_s("a") == 0
        attempts.refused("a")
        now[0] += 1
    assert attempts.pause_s("a") == PAUSE_S - 1
    assert attempts.pause_s("b") == 0
    for _ in range(100):
        attempts.refused("a")  # does not prolong it
    now[0] += PAUSE_S
    assert attempts.pause_s("a") == 0
    attempts.refused("a")
    assert attempts.pause_s("a") == 0


def test_slow_refusals_begin_no_pause_and_clients_are_forgotten():
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(3 * MAX_REFUSALS):
        attempts.refused("a")
        now[0] += WINDOW_S / 5
        assert attempts.pause_s("a") == 0
    for number in range(3000):
        attempts.refused(str(number))
    assert len(attempts._refusals) == 1000
