"""Writes the parts of docs/ that are drawn from elsewhere: tables, pictures, the lists of names and of commands.

    python tools/draw_docs.py            # writes what has changed
    python tools/draw_docs.py --check    # only says what is not current; exit code 1

A part stands between two marks, <!-- drawn: NAME --> and <!-- end of NAME -->, in docs/*.md and README.md. Tables come from
benchmarks/results, names from docstrings, commands from their parsers, answers from the embedded model. Pictures of
docs/gallery.md that a notebook has drawn are copied out of it. tests/test_site.py fails if a part is not what this writes.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import benchmark_tables
import gpu_tables
import reduced_tables
import reference_pages
import show_demo
from bars import texts

ROOT = Path(__file__).resolve().parents[1]
PART = re.compile(r"<!-- drawn: ([\w ]+) -->\n(.*?)<!-- end of \1 -->", re.S)
FROM_NOTEBOOK = re.compile(r"!\[[^\]]*\]\(pictures/((\d\d)_\w+?)(?:_(\d+))?\.(png|gif)\)")


def parts() -> dict[str, Callable[[], str]]:
    tables = benchmark_tables.TABLES | gpu_tables.TABLES | reduced_tables.TABLES
    return tables | {
        "answers": show_demo.table,
        "names": reference_pages.api_table,
        "commands": reference_pages.command_tables,
    }


def drawn(root: Path = ROOT) -> Iterator[tuple[Path, bytes]]:
    """Every file that has a part that is drawn, and what it should hold."""
    known = parts()
    for path in [*sorted((root / "docs").glob("*.md")), root / "README.md"]:
        text = path.read_text("utf-8")
        for mark in re.findall(r"<!-- drawn: (.*?) -->", text):
            if mark not in known:
                raise ValueError(f"{path.name}: nothing is drawn as {mark!r}")
        new = PART.sub(
            lambda match: f"<!-- drawn: {match[1]} -->\n\n{known[match[1]]().strip()}\n\n<!-- end of {match[1]} -->",
            text,
        )
        if new != text or PART.search(text):
            yield path, new.encode()
    for name, picture in (benchmark_tables.PICTURES | gpu_tables.PICTURES).items():
        yield root / "docs" / "pictures" / name, picture().encode()
    yield from from_notebooks(root)


def is_current(path: Path, data: bytes) -> bool:
    """Whether a file shows what it should: the bytes themselves; of bars their words and numbers."""
    if not path.exists():
        return False
    there = path.read_bytes()
    if path.suffix == ".svg":
        return texts(there.decode()) == texts(data.decode())
    return there == data


def from_notebooks(root: Path) -> Iterator[tuple[Path, bytes]]:
    """The pictures of the gallery that notebooks hold: 05_depth.png is the first of notebook 05, 05_depth_3.png its third."""
    for stem, notebook, which, kind in FROM_NOTEBOOK.findall((root / "docs" / "gallery.md").read_text("utf-8")):
        (path,) = (root / "notebooks").glob(f"{notebook}_*.ipynb")
        found = pictures(path, f"image/{kind}")
        name = f"{stem}{f'_{which}' if which else ''}.{kind}"
        if len(found) < int(which or 1):
            raise ValueError(f"{path.name} has {len(found)} pictures ({kind}): docs/gallery.md asks for {name}")
        yield root / "docs" / "pictures" / name, found[int(which or 1) - 1]


def pictures(notebook: Path, kind: str) -> list[bytes]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    found = [output.get("data", {}).get(kind) for cell in cells for output in cell.get("outputs", [])]
    return [base64.b64decode("".join(data)) for data in found if data]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the parts of docs/ that are drawn from elsewhere.")
    parser.add_argument("--check", action="store_true", help="write nothing, and say what is not current")
    args = parser.parse_args(arguments)
    try:
        found = dict(drawn())
    except (ValueError, OSError) as error:
        print(f"draw_docs: {error}", file=sys.stderr)
        return 2
    stale = [path for path, data in found.items() if not is_current(path, data)]
    for path in stale:
        print(f"{'not current' if args.check else 'wrote'}: {path.relative_to(ROOT)}")
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(found[path])
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
