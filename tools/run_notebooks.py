"""Runs the notebooks from a clean kernel, and stores what their cells show.

python tools/run_notebooks.py [NOTEBOOK …]     all of notebooks/, or those that are named

Cells with the tag `exercise` are for readers: they are left out, and stored without a result. What is stored is the same for
the same results: ids count the cells, and nothing says when or where they ran. A cell that fails stops the run, and its
notebook stays as it was. Needs the extra `notebooks`.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SECONDS = 600  # of one cell


def executed(notebook: Any, folder: Path) -> Any:
    """The notebook with what its cells show."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    options = {"timeout": SECONDS, "kernel_name": "python3", "resources": {"metadata": {"path": str(folder)}}}
    # how a run cuts what is printed into pieces is chance: they are joined
    return NotebookClient(notebook, skip_cells_with_tag="exercise", coalesce_streams=True, **options).execute()


def tidied(notebook: Any) -> Any:
    """Without what an editor or a machine left in it."""
    for number, cell in enumerate(notebook.cells, start=1):
        tags = cell.metadata.get("tags")
        cell["id"] = f"cell-{number:02d}"
        cell["metadata"] = {"tags": tags} if tags else {}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"] = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="files (default: all of notebooks/)")
    options = parser.parse_args()
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    for path in options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        begin = time.perf_counter()
        notebook = tidied(executed(nbformat.read(path, as_version=4), path.resolve().parent))
        unfinished = path.with_suffix(".unfinished")
        nbformat.write(notebook, unfinished)
        unfinished.replace(path)
        seconds, kilobytes = time.perf_counter() - begin, path.stat().st_size / 1024
        print(f"{path.name:38} {seconds:6.1f} s {kilobytes:6.1f} KiB {len(notebook.cells):3} cells", flush=True)


if __name__ == "__main__":
    main()
