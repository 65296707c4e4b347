"""The house itself: names are ours, import rules hold, every stage has the file its name promises."""

import importlib
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

HOUSE = Path(__file__).parent.parent


def test_the_five_package_names_belong_to_us():
    owners = packages_distributions()  # an editable install of ours is not listed, anybody else's would be
    for name in ("devices", "plans", "processing", "service", "sim"):
        assert set(owners.get(name, [])) <= {"xedm"}, (
            f"{name} is also in {owners[name]}; XEDM wants its own environment"
        )
        assert Path(importlib.import_module(name).__file__).parent.parent == HOUSE


def test_the_import_rules_hold():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_stage_named_in_the_pipeline_has_its_file():
    text = (HOUSE / "service" / "pipeline.py").read_text()
    names = set(re.findall(r"\b(?:service|processing)/\w+\.py", text))
    assert len(names) >= 9
    for name in names:
        assert (HOUSE / name).exists(), name


def test_the_command_prints_help_with_an_example_for_every_subcommand():
    listing = subprocess.run(
        [sys.executable, "-m", "service.cli", "--help"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    for name in ("demo", "sim", "live", "scan", "shell", "reprocess", "reconstruct", "reproduce"):
        assert name in listing
        text = subprocess.run(
            [sys.executable, "-m", "service.cli", name, "--help"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        assert "xample" in text, name


def test_the_version_is_known():
    assert re.fullmatch(r"\d+\.\d+\.\d+", version("xedm"))
