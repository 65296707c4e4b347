"""The notebooks run from their first cell to their last: one on the result of a demo, one beside a scan."""

import os
import re
import shutil

import nbformat
import pytest

NOTEBOOK = "docs/tutorial/from-result-to-figures.ipynb"
WATCHING = "docs/tutorial/watch-a-scan.ipynb"


@pytest.fixture
def notebook(book):
    """The notebook about a result as it is stored."""
    return nbformat.read(book.house / NOTEBOOK, as_version=4)


@pytest.mark.parametrize(
    ("name", "first"), [(NOTEBOOK, 'RESULT = Path("xedm-output/demo/series_1.nxs")'), (WATCHING, "URL = None")]
)
def test_a_notebook_is_stored_without_outputs_and_says_first_what_to_change(book, name, first):
    notebook = nbformat.read(book.house / name, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells if cell.outputs] == []
    assert [cell.execution_count for cell in cells if cell.execution_count] == []
    assert first in cells[0].source
    assert (book.house / name).stat().st_size < 300_000
    linked = re.findall(
        r"\]\(([^)#]+)", "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    )
    assert linked
    assert [link for link in linked if not (book.house / "docs/tutorial" / link).exists()] == []


def run(notebook, folder, monkeypatch):
    """Run a notebook in a folder; return what it printed and how many pictures it shows."""
    from nbclient import NotebookClient

    for name, place in (("IPYTHONDIR", ".ipython"), ("JUPYTER_RUNTIME_DIR", ".runtime"), ("MPLCONFIGDIR", ".mpl")):
        monkeypatch.setenv(name, str(folder / place))
    (folder / ".runtime").mkdir()
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    drawn = [one for one in outputs if one.output_type in ("display_data", "execute_result")]
    return printed, len([one for one in drawn if "image/png" in one.data])


@pytest.mark.docs
@pytest.mark.timeout(400)
def test_the_notebook_runs_on_the_result_of_the_demo(notebook, after_demo, tmp_path, monkeypatch):
    shutil.copytree(after_demo / "xedm-output", tmp_path / "xedm-output")
    printed, pictures = run(notebook, tmp_path, monkeypatch)
    assert "confidence high" in printed, printed
    assert "largest difference: 0.0e+00" in printed, printed
    assert "this result has no" not in printed
    assert "figures: image.png screening.png sum.png" in printed
    assert pictures == 7
    assert os.listdir(tmp_path / "xedm-output/demo/series_1_figures")


@pytest.mark.docs
@pytest.mark.timeout(500)
def test_the_notebook_watches_a_scan(book, tmp_path, monkeypatch):
    notebook = nbformat.read(book.house / WATCHING, as_version=4)
    printed, pictures = run(notebook, tmp_path, monkeypatch)
    received, accepted = map(
        int, re.search(r"complete: (\d+) received, (\d+) accepted, balanced: True", printed).groups()
    )
    assert received >= 64
    assert accepted > 32
    assert int(re.search(r"drawn (\d+) times", printed)[1]) >= 2
    assert f"shape (1065, 1030) frames {accepted}" in printed
    assert "pixels that differ from the file: 0" in printed
    assert re.search(r"from \d+ frames; resolution \d+\.\d nm", printed), printed
    assert f"1.6: {accepted} accepted" in printed
    assert "version 1 of the settings, now 2; balanced: True" in printed
    assert "simulation ended with 0" in printed
    assert pictures == 2
