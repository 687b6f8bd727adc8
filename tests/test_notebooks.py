"""Every notebook runs, offline, from top to bottom, and its cells assert what they show."""

import nbformat
import pytest
from support import ROOT, needs

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# what stands before a notebook's first cell when it is tested: no connection to anywhere but the kernel's own machine
NO_NETWORK = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a notebook tried to reach {address}")
    return _connect(self, address)
socket.socket.connect = connect
"""


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.filterwarnings("default")  # the notebook kernel's libraries warn about each other
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.cuda] if "cuda" in path.stem else []) for path in NOTEBOOKS],
)
def test_notebook_runs_offline(path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(path, as_version=4)
    if "cuda" in path.stem:  # its kernels are simulated
        needs.module("simulator", "greenlet")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(NO_NETWORK))
    # where Jupyter runs it: beside its helpers
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_short_checked_and_imports_instead_of_redefining(path):
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) <= 20
    assert path.stat().st_size <= 100 * 1024
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= 12
        assert "def " not in cell.source
        assert "class " not in cell.source
    asserting = [cell for cell in code_cells(notebook) if "assert " in cell.source]
    assert len(asserting) >= len(code_cells(notebook)) - 1  # all but the imports
    assert all(cell.outputs for cell in asserting)  # readers of the file see what it printed


def test_there_is_a_notebook():
    assert NOTEBOOKS
