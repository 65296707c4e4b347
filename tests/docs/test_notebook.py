"""The notebook runs from its first cell to its last on the result of a demo."""

import os
import shutil

import nbformat
import pytest

NOTEBOOK = "docs/tutorial/from-result-to-figures.ipynb"


@pytest.fixture
def notebook(book):
    """The notebook as it is stored."""
    return nbformat.read(book.house / NOTEBOOK, as_version=4)


def test_the_notebook_is_stored_without_outputs_and_names_its_result_first(notebook, book):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells if cell.outputs] == []
    assert [cell.execution_count for cell in cells if cell.execution_count] == []
    assert 'RESULT = Path("xedm-output/demo/series_1.nxs")' in cells[0].source
    assert (book.house / NOTEBOOK).stat().st_size < 300_000


@pytest.mark.docs
@pytest.mark.timeout(400)
def test_the_notebook_runs_on_the_result_of_the_demo(notebook, after_demo, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    shutil.copytree(after_demo / "xedm-output", tmp_path / "xedm-output")
    for name, folder in (("IPYTHONDIR", ".ipython"), ("JUPYTER_RUNTIME_DIR", ".runtime"), ("MPLCONFIGDIR", ".mpl")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    (tmp_path / ".runtime").mkdir()
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    printed = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "stream"
    )
    assert "confidence high" in printed, printed
    assert "largest difference: 0.0e+00" in printed, printed
    assert "this result has no" not in printed
    assert "figures: image.png screening.png sum.png" in printed
    drawn = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type in ("display_data", "execute_result")
    ]
    assert len([one for one in drawn if "image/png" in one.data]) == 7
    assert os.listdir(tmp_path / "xedm-output/demo/series_1_figures")
