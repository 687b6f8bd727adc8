"""Checks every link of a folder of HTML: a page or file that is not there, an anchor that is not on its page, a bad address.

    python tools/check_links.py build/site/html

Nothing is asked for over the network. Addresses elsewhere are checked for their form and counted once. A script, style or
picture from elsewhere is a fault: the site has to work offline.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

ADDRESS = re.compile(r"https?://[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?(/[^\s<>\"{}|\\^`]*)?([?#][^\s<>\"]*)?$", re.I)
COLOURS = re.compile(r'<span class="[a-z0-9]{1,3}">|</span>')
LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src", "link": "href"}


class Page(HTMLParser):
    """Links, what is loaded, and anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[tuple[str, int]] = []
        self.loaded: list[tuple[str, int]] = []
        self.anchors: set[str] = set()
        self.pictures_without_text: list[int] = []
        self.feed(COLOURS.sub("", text))  # of code, which are nine tenths of all tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        line = self.getpos()[0]
        self.anchors.update(filter(None, (given.get("id"), given.get("name") if tag == "a" else None)))
        if tag == "a" and "href" in given:
            self.links.append((given["href"], line))
        elif tag in LOADED and LOADED[tag] in given:
            self.loaded.append((given[LOADED[tag]], line))
        if tag == "img" and given.get("alt", "").strip() in ("", given.get("src")):
            self.pictures_without_text.append(line)


class Fault(NamedTuple):
    page: str
    line: int
    link: str
    why: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.link}: {self.why}"


class Checked(NamedTuple):
    pages: int
    links: int
    external: list[str]
    faults: list[Fault]


def check(folder: Path) -> Checked:
    """Every page below the folder."""
    folder = folder.resolve()
    texts = {path: path.read_text("utf-8") for path in sorted(folder.rglob("*.html"))}
    pages = {path: Page(text) for path, text in texts.items()}
    links, external, faults = 0, set(), []
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        for link, line in page.links:
            links += 1
            if urlsplit(link).scheme or link.startswith("//"):
                external.add(link)
                if not (ADDRESS.match(link) or re.match(r"mailto:[^@\s]+@[^@\s]+$", link)):
                    faults.append(Fault(name, line, link, "this is no address"))
            else:
                faults += [Fault(name, line, link, why) for why in wrong(link, path, pages, folder)]
        for link, line in page.loaded:
            links += 1
            if link.startswith("data:"):
                continue
            if urlsplit(link).scheme or link.startswith("//"):
                faults.append(Fault(name, line, link, "it is loaded from elsewhere"))
            else:
                faults += [Fault(name, line, link, why) for why in wrong(link, path, pages, folder)]
        faults += [Fault(name, line, "img", "a picture without a text") for line in page.pictures_without_text]
    return Checked(len(pages), links, sorted(external), faults)


def wrong(link: str, path: Path, pages: dict[Path, Page], folder: Path) -> Iterator[str]:
    """What is wrong with a link to this folder, if anything."""
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_relative_to(folder):
        yield "it leads out of the site"
    elif not target.is_file():
        yield "there is no such file"
    elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        yield "the page has no such anchor"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check every link of a folder of HTML, offline.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="store_true", help="print every address elsewhere, too")
    args = parser.parse_args(arguments)
    if not args.folder.is_dir():
        print(f"check_links: there is no folder {args.folder}", file=sys.stderr)
        return 2
    found = check(args.folder)
    for fault in found.faults:
        print(fault)
    if args.list:
        print(*found.external, sep="\n")
    print(
        f"{found.pages} pages, {found.links} links, {len(found.external)} addresses elsewhere: {len(found.faults)} faults"
    )
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
