"""Builds the documentation site, offline, and checks every link in it.

    python3 -m pip install -e ".[docs]"
    python tools/build_site.py                # build/site/html/index.html; warnings are errors
    python tools/build_site.py --fast         # without the pages of the reference, to look at a page that is being written

The pages are the Markdown files and notebooks of the repository, as they lie. docs/README.md is the index: its lists are the
site's table of contents. Written for the site alone are the pages of the reference, from docstrings (docs/api.md lists the
names), and a page for each file of code that something links to (docs/site/house.py).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import check_links
import reference_pages

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/site/README.md"),
    *("notebooks/*.ipynb", "benchmarks/results/*.md", "albert_np/demo/README.md", "albert_np/demo/*/README.md"),
)
PICTURES = ("docs/pictures/*", "benchmarks/results/*.png", "albert_np/demo/*.png")
FRONT = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>albert_np</title>
<meta http-equiv="refresh" content="0; url=docs/README.html"></head>
<body><a href="docs/README.html">albert_np: documentation</a></body></html>
"""


def lay_out(root: Path, to: Path, *, reference: bool = True) -> None:
    """Copies what becomes a page, in the folders of the repository, so that links hold; and writes the reference."""
    shutil.rmtree(to, ignore_errors=True)
    for pattern in PAGES + PICTURES:
        for path in sorted(root.glob(pattern)):
            target = to / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".ipynb":
                target.write_text(with_alternative_texts(path.read_text("utf-8")), "utf-8")
            else:
                shutil.copyfile(path, target)
    if reference:
        folder = to / "docs" / "reference"
        folder.mkdir()
        for name, text in reference_pages.reference_pages().items():
            (folder / f"{name}.rst").write_text(text, "utf-8")
        page = to / "docs" / "api.md"
        page.write_text(reference_pages.with_links_to_the_reference(page.read_text("utf-8")), "utf-8")


def with_alternative_texts(notebook: str) -> str:
    """A notebook whose pictures have the texts of their outputs where myst-nb looks for them: in the metadata of the cell."""
    found = json.loads(notebook)
    for cell in found["cells"]:
        for output in cell.get("outputs", []):
            for kind, about in output.get("metadata", {}).items():
                if kind.startswith("image/") and about.get("alt"):
                    cell["metadata"]["mystnb"] = {"image": {"alt": about["alt"]}}
    return json.dumps(found, ensure_ascii=False)


def build(root: Path, out: Path, *, reference: bool = True, strict: bool = True) -> int:
    """Runs Sphinx. Returns its exit code: not 0 for any warning, if strict."""
    from sphinx.cmd.build import main as sphinx

    source, html = out / "source", out / "html"
    lay_out(root, source, reference=reference)
    shutil.rmtree(html, ignore_errors=True)
    os.environ["ALBERT_NP_SITE_ROOT"] = str(root)
    strictly = ["-W", "-n"] if strict else []
    code = sphinx(["-b", "html", "-q", "-E", *strictly, "-c", str(ROOT / "docs" / "site"), str(source), str(html)])
    if not code:
        (html / "index.html").write_text(FRONT, "utf-8")
    return code


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the documentation site, offline, and check its links.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="default: build/site")
    parser.add_argument("--fast", action="store_true", help="without the reference, and warnings are no errors")
    parser.add_argument("--list", action="store_true", help="print every address elsewhere, too")
    args = parser.parse_args(arguments)
    began = time.monotonic()
    code = build(ROOT, args.out, reference=not args.fast, strict=not args.fast)
    if code:
        print("build_site: Sphinx complains (see above)", file=sys.stderr)
        return code
    code = check_links.main([str(args.out / "html"), *(["--list"] if args.list else [])])
    print(f"{args.out / 'html' / 'index.html'}, in {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
