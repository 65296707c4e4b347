"""The page that leads to the real beamline is complete: every setting of the hardware with its default and check."""

import re
import tomllib

import pytest

from service.config import Beamline, Settings, load_settings


@pytest.fixture(scope="module")
def page(book):
    return (book.house / "docs/how-to/from-simulation-to-the-beamline.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example(page):
    return re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1]


def test_the_example_names_every_setting_of_the_hardware_and_no_other(example):
    assert set(tomllib.loads(example)["beamline"]) == set(Beamline.model_fields)


def test_the_example_is_a_valid_configuration_with_the_defaults(example, tmp_path):
    (tmp_path / "beamline.toml").write_text(example, encoding="utf-8")
    loaded = load_settings(tmp_path / "beamline.toml").beamline.model_dump()
    others = {"detector", "detector_api", "attenuator_achieved"}  # have no default, or one for the small detector
    defaults = Settings().beamline.model_dump()
    assert {name: loaded[name] for name in loaded if name not in others} == {
        name: defaults[name] for name in defaults if name not in others
    }


def test_every_setting_stands_in_the_table_of_checks(page):
    table = page.partition("## 3.")[2].partition("## 4.")[0]
    named = re.findall(
        r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    )
    assert sorted(named) == sorted(Beamline.model_fields)


def test_every_state_of_a_finding_is_explained(page):
    from service.cli.check import MARKS

    assert all(f"| `{mark}` |" in page for mark in MARKS.values() if mark != "ok")
