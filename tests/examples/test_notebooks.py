"""Every notebook, executed from top to bottom by a kernel of its own."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))

# A notebook -> the kinds of output of its last cell that shows something, a text that it prints,
# and the files that it writes.
SHOWN = {
    "evaluation": ("text/html", "gray-2bpp-adversarial", {"record.json", "report.html"}),
    "first_look": ("image/png", "adaptive", set()),
}


def test_there_is_a_check_of_each_notebook():
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_runs(path, tmp_path, monkeypatch):
    # Settings of whoever runs the tests stay out of it.
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # Other tests share the cores.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    folder = tmp_path / "work"
    folder.mkdir()
    resources = {"metadata": {"path": folder}}
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in code for output in cell.outputs]
    kind, text, files = SHOWN[path.stem]
    assert any(kind in output.get("data", {}) for output in outputs)
    assert any(text in output.get("text", "") for output in outputs)
    assert {file.name for file in folder.iterdir()} == files
