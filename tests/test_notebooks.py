"""The notebooks run from top to bottom without a warning, and print what is saved in them.

A cell tagged `varies` (times, memory of this run) may print something else. `make notebooks` saves new outputs.
"""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
FOLDER = {"metadata": {"path": str(ROOT / "notebooks")}}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text(cell):
    """What a cell prints, its last value included. Pictures are not compared: fonts differ between machines."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            found.append(f"{output.name}: {output.text}")
        elif "image/png" not in output.data:
            found.append(output.data["text/plain"])
    return found


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_there_are_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{i + 1:02d}" for i in range(len(NOTEBOOKS))]
    assert len(NOTEBOOKS) >= 2


# From the third on, networks are trained: 20 to 30 seconds each, which `make test-slow` and CI take.
TRAINING = [pytest.param(path, marks=pytest.mark.slow if path.name >= "03" else ()) for path in NOTEBOOKS]


@pytest.mark.parametrize("notebook", TRAINING, indirect=True, ids=lambda path: path.stem)
def test_runs(notebook):
    saved = [(text(cell), pictures(cell)) for cell in code_cells(notebook)]
    notebook.cells.insert(0, nbformat.v4.new_code_cell("import warnings\n\nwarnings.simplefilter('error')"))
    # The kernel warns of itself when it is shut down.
    notebook.cells.append(nbformat.v4.new_code_cell("warnings.simplefilter('ignore')"))
    client = NotebookClient(notebook, timeout=240, coalesce_streams=True, resources=FOLDER)
    client.execute()  # raises what a cell raises
    for cell, (printed, drawn) in zip(code_cells(notebook)[1:-1], saved, strict=True):
        assert not [line for line in text(cell) if line.startswith("stderr")]
        assert pictures(cell) == drawn, cell.source
        if "varies" in cell.metadata.get("tags", ()):
            assert bool(text(cell)) == bool(printed)
        else:
            assert text(cell) == printed, f"run `make notebooks` if this is what it should print:\n{cell.source}"


def test_saved_in_one_run(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(map(pictures, cells))


def test_links(notebook):
    names = {path.name for path in NOTEBOOKS}
    for cell in notebook.cells:
        for part in cell.source.split("](")[1:] if cell.cell_type == "markdown" else ():
            assert part.partition(")")[0] in names
