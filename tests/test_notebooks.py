"""Every notebook runs, offline, from top to bottom; its cells assert what they show; its exercises can be solved.

A cell with the tag `exercise` fails as it stands and says why, and passes with what notebooks/solutions has in its place. A
cell with the tag `measured` shows what differs from machine to machine; what the others show is compared with a new run.
"""

import copy
import re

import nbformat
import pytest
from support import ROOT, needs
from support.prose import numbers, prose
from support.shown import differs

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_CELLS, MOST_LINES, LONGEST_LINE, MOST_BYTES = 20, 12, 120, 100 * 1024
MOST_WORDS = 130  # of prose between two cells of code
TAGS = {"exercise", "measured", "raises-exception"}
EXERCISE = re.compile(r"^# (Exercise \d+\.\d+)", re.M)
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


# those that simulate kernels for GPUs have the marker of their need
EACH = [pytest.param(path, id=path.stem, marks=[pytest.mark.cuda] if "cuda" in path.stem else []) for path in NOTEBOOKS]


def read(path):
    return nbformat.read(path, as_version=4)


def tags(cell):
    return set(cell.metadata.get("tags", ()))


def code_cells(notebook):
    """Those that everybody runs."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and "exercise" not in tags(cell)]


def exercises(notebook):
    """Their names, each with its cell."""
    return {EXERCISE.match(cell.source)[1]: cell for cell in notebook.cells if "exercise" in tags(cell)}


def solutions(path):
    """By the name of the exercise, the whole cell filled in."""
    text = (path.parent / "solutions" / f"{path.stem}.py").read_text()
    starts = [match.start() for match in EXERCISE.finditer(text)]
    parts = [text[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return {EXERCISE.match(part)[1]: part.strip("\n") for part in parts}


def texts(cell):
    """What a cell prints, and the value of its last line, as text; pictures are not compared."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            assert output.name == "stdout", output.text
            found.append(output.text)
        elif output.output_type == "execute_result" and not any(kind.startswith("image/") for kind in output.data):
            found.append(output.data["text/plain"])
    return "".join(found)


def run(path):
    """The notebook with new outputs, each exercise followed by its solution."""
    from nbclient import NotebookClient

    if "cuda" in path.stem:  # its kernels are simulated
        needs.module("simulator", "greenlet")
    notebook = read(path)
    solved = solutions(path)
    cells = [nbformat.v4.new_code_cell(NO_NETWORK)]
    for cell in notebook.cells:
        cells.append(cell)
        if "exercise" in tags(cell):
            cells.append(nbformat.v4.new_code_cell(solved[EXERCISE.match(cell.source)[1]]))
    notebook.cells = copy.deepcopy(cells)
    # where Jupyter runs it: beside its helpers
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook


def assert_runs(path, *, compare):
    notebook = run(path)
    for name, cell in exercises(notebook).items():
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert errors, f"{name} passes without an answer"
        assert (errors[0].ename, errors[0].evalue > "") == ("AssertionError", True), (
            f"{name} does not say what is missing"
        )
    if compare:
        for stored, cell in zip(code_cells(read(path)), _without_ours(notebook, path), strict=True):
            shown, found = texts(stored), texts(cell)
            assert "measured" in tags(stored) or not differs(shown, found, units=1.01), f"{cell.source}\n{found}"


def _without_ours(notebook, path):
    """Of a notebook that ran, the cells that are in its file."""
    added = {NO_NETWORK, *solutions(path).values()}
    return [cell for cell in code_cells(notebook) if cell.source not in added]


@pytest.mark.filterwarnings("default")  # the notebook kernel's libraries warn about each other
@pytest.mark.parametrize("path", EACH)
def test_notebook_runs_offline(path, monkeypatch):
    """In its short form, where it has one: then what it shows is not what is stored."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("ALBERT_NP_NOTEBOOKS", "short")
    assert_runs(path, compare="support.pace" not in path.read_text())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", EACH)
def test_notebook_shows_what_is_stored(path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.delenv("ALBERT_NP_NOTEBOOKS", raising=False)
    assert_runs(path, compare=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_short_checked_and_imports_instead_of_redefining(path):
    notebook = read(path)
    assert len(notebook.cells) <= MOST_CELLS
    assert path.stat().st_size <= MOST_BYTES
    assert all(tags(cell) <= TAGS for cell in notebook.cells)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            lines = cell.source.splitlines()
            assert len(lines) <= MOST_LINES, cell.source
            assert max(map(len, lines)) <= LONGEST_LINE
        else:
            assert len(words(cell).split()) <= MOST_WORDS, cell.source
    for cell in code_cells(notebook):
        assert not re.search(r"\b(def|class) \w", cell.source), cell.source
    asserting = [cell for cell in code_cells(notebook) if "assert " in cell.source]
    assert len(asserting) >= len(code_cells(notebook)) - 1  # all but the imports
    assert all(cell.outputs for cell in asserting)  # readers of the file see what it printed
    assert any("image/" in kind for cell in asserting for output in cell.outputs for kind in output.get("data", ()))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_have_a_task_a_hint_and_a_solution(path):
    notebook = read(path)
    found = exercises(notebook)
    assert found
    assert set(found) == set(solutions(path))
    number = int(path.stem[:2])
    assert list(found) == [f"Exercise {number}.{i}" for i in range(1, len(found) + 1)]
    for name, cell in found.items():
        assert "..." in cell.source
        assert "assert " in cell.source or "check_" in cell.source
        assert {"exercise", "raises-exception"} <= tags(cell)
        assert not cell.outputs
        before = notebook.cells[notebook.cells.index(cell) - 1]
        assert f"### {name}: " in before.source
        assert "<summary>Hint</summary>" in before.source
        solved = solutions(path)[name]
        assert "..." not in solved
        # a solution fills in, and leaves the checks as they are
        checks = [line for line in cell.source.splitlines() if line.startswith(("assert ", "check_"))]
        assert checks
        assert all(line in solved.splitlines() for line in checks)


def words(cell):
    """The prose of a cell without headings and tables."""
    return re.sub(r"^#+ .*$|^\|.*$", " ", prose(cell.source), flags=re.M)


NUMBERED = re.compile(
    r"(notebook|section|figure|table|equation|appendix|exercise|chapter)s? \d+(\.\d+)*( (and|to) \d+(\.\d+)*)?", re.I
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_numbers_of_the_prose_are_computed(path):
    """Each stands in the code or in what a cell shows; a percentage may be a fraction there."""
    notebook = read(path)
    there = (
        "\n".join(cell.source + "\n" + texts(cell) for cell in code_cells(notebook)).replace(",", "").replace("_", "")
    )
    known = set(re.findall(r"\d+(?:\.\d+)?", there))
    missing = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for number, percent in numbers(NUMBERED.sub(" ", words(cell))):
                as_fraction = f"{float(number) / 100:.6f}".rstrip("0").rstrip(".") if percent else number
                if number not in known and as_fraction not in known:
                    missing.append(number)
    assert not missing


def test_notebooks_are_numbered_without_a_gap():
    assert [int(path.stem[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))
    for path in NOTEBOOKS:
        assert read(path).cells[0].source.startswith(f"# {path.stem[:2]} ")
    assert {path.stem for path in (ROOT / "notebooks" / "solutions").glob("*.py")} == {path.stem for path in NOTEBOOKS}
