"""The page docs/how-to/test-your-plan.md, run as a visiting group would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sim.pytest_plugin import running_beamline

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-your-plan.md"
TIMEOUT_S = 100


def blocks():
    """File name -> source, of every python block that begins with a file's name."""
    found = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return dict(found)


def run_pytest(folder, *options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EPICS", "PYTEST"))}
    environment["EPICS_CA_ADDR_LIST"] = "192.0.2.1"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_the_page_works_as_written(tmp_path):
    for name, source in blocks().items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    # A folder named like ours beside the visitors' tests must not hide the simulation.
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "__main__.py").write_text("raise SystemExit('the wrong sim')")
    done = run_pytest(tmp_path, "--import-mode=importlib", "--rootdir", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert "caRepeater" not in done.stdout + done.stderr


EARLY = """
import epics

early = epics.PV("25A:PIEZO:X")


def test_too_late(xedm_beamline):
    raise AssertionError("must not be reached")
"""


def test_refuses_a_session_that_already_talks_to_pvs(tmp_path):
    (tmp_path / "test_early.py").write_text(EARLY)
    done = run_pytest(tmp_path)
    assert done.returncode == 1
    assert "the first PV of the test session must be one of the simulated beamline, got 25A:PIEZO:X" in done.stdout


def test_costs_nothing_where_it_is_not_used():
    code = (
        "import sys, sim.pytest_plugin; print([m for m in ('caproto', 'numpy', 'epics', 'ophyd') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


def test_a_beamline_of_ones_own_leaves_the_environment_alone(tmp_path):
    before = dict(os.environ)
    with running_beamline(tmp_path, ["--seed", "5", "--speed", "20"]) as beamline:
        assert (beamline.seed, beamline.speed, beamline.prefix) == (5, 20.0, "25A:")
        assert beamline.environment["EPICS_CA_ADDR_LIST"] == f"127.0.0.1:{beamline.ca_server_port}"
    assert dict(os.environ) == before


def test_says_why_it_did_not_start(tmp_path):
    words = r"must be ready within .* s(.|\n)*speed must be above 0"
    with pytest.raises(RuntimeError, match=words), running_beamline(tmp_path, ["--speed", "0"]):
        pass
