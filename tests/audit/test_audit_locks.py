"""What `make audit` says of lock files and of reports."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("run_audit", HOUSE / "tests" / "audit" / "run_audit.py")
run_audit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_audit)
HASH = "--hash=sha256:" + "ab" * 32


def test_every_locked_requirement_has_its_hashes():
    locks = sorted(HOUSE.glob("requirements*.lock"))
    assert len(locks) == 6
    for lock in locks:
        assert run_audit.without_hashes(lock.read_text()) == [], lock.name


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        (f"a==1 \\\n    {HASH} \\\n    {HASH}\n    # via b\n", []),
        (f"a[x]==1 ; python_version < '3.12' \\\n    {HASH}\n", []),
        ("a==1\n", ["a==1"]),
        (f"a>=1 {HASH}\n", ["a>=1"]),
        (f"a==1 {HASH}\nb==2\n# c\n", ["b==2"]),
        ("a==1 --hash=md5:00\n", ["a==1"]),
        ("git+https://example.org/a\n--extra-index-url x\n", ["git+https://example.org/a", "--extra-index-url x"]),
    ],
)
def test_a_requirement_without_hashes_is_named(text, bare):
    assert run_audit.without_hashes(text) == bare


def stand_in(tmp_path, report, code):
    script = tmp_path / "audit.py"
    script.write_text(f"import sys\nsys.stdout.write({report!r})\nsys.stderr.write('no way')\nsys.exit({code})")
    return ["--with", f"{sys.executable} {script}"]


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "x.lock"
    path.write_text(f"a==1 {HASH}\n")
    return path


@pytest.mark.parametrize(
    ("report", "code", "ends", "words"),
    [
        ({"dependencies": [{"name": "a", "version": "1", "vulns": []}]}, 0, 0, "x.lock: no known weakness"),
        (
            {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]},
            1, 1, "a 1: CVE-1, mended in 2",
        ),
        (
            {"dependencies": [{"name": "a", "skip_reason": "gone"}, {"name": "b", "version": "1", "vulns": []}]},
            0, 1, "a was not looked at: gone",
        ),
        ({"dependencies": [{"name": "a", "skip_reason": "gone"}]}, 0, 4, "x.lock has NOT been looked at: no list"),
        (None, 1, 4, "x.lock has NOT been looked at: no list of known weaknesses was reached (no way)"),
    ],
)  # fmt: skip
def test_a_report_is_a_sentence_and_an_exit_code(lock, tmp_path, capsys, report, code, ends, words):
    text = "" if report is None else json.dumps(report)
    assert run_audit.main([str(lock), *stand_in(tmp_path, text, code)]) == ends
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert "hashes of 1 lock files are there" in said.out


def test_missing_hashes_end_with_1(lock, capsys):
    lock.write_text("a==1\n")
    assert run_audit.main([str(lock), "--hashes-only"]) == 1
    assert "a==1 must be one version with its hashes; run: make lock" in capsys.readouterr().out
