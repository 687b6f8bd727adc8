"""What Sphinx does not do by itself: pages of source code, lists of pages from lists of links, docstrings of this project.

- A link to a file of the repository that is no page, or to a folder, leads to a page that shows it.
- A page with a list of links needs no second list: the first one is its part of the table of contents.
- Every object of the reference links to its lines of code.
"""

from __future__ import annotations

import ast
import html
import inspect
import os
import posixpath
import re
import string
import subprocess
import sys
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import docstrings
from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.osutil import relative_uri

ROOT = Path(os.environ.get("ALBERT_NP_SITE_ROOT", Path(__file__).resolve().parents[2]))
ROOM = "source"  # where the pages of source code are
SHOWN = {".py", ".js", ".css", ".html", ".json", ".cfg", ".toml", ".yml", ".md", ".txt", ".cff", ""}
BIGGEST = 400_000  # bytes of a file that is shown
ARRAY = re.compile(r"~?(numpy\.)?ndarray\[~?(typing\.)?Any, ~?(numpy\.)?dtype\[~?(typing\.)?Any\]\]")
INDEX = "docs/README"
LINK = re.compile(r"^[-*|].*?\[[^\]]+\]\(([^)#\s]+\.(?:md|ipynb))(?:#[^)]*)?\)", re.M)

# --- the files of the repository -----------------------------------------------------------------------------------------


@cache
def files() -> frozenset[str]:
    """What git knows of, and what it does not ignore."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return frozenset(path for path in listed if (ROOT / path).is_file())


@cache
def folders() -> frozenset[str]:
    return frozenset(str(parent) for path in files() for parent in Path(path).parents if str(parent) != ".")


def page_of(path: str) -> str | None:
    """The page, as Sphinx names it, that shows a file or folder; None where there is none."""
    path = posixpath.normpath(path)
    if path in folders():
        return f"{ROOM}/{path}/index"
    if path in files() and Path(path).suffix in SHOWN and (ROOT / path).stat().st_size <= BIGGEST:
        return f"{ROOM}/{path}"
    return None


def first_sentence(path: str) -> str:
    """What a file says it is: the first sentence of its docstring, or of its text."""
    text = (ROOT / path).read_text("utf-8", errors="replace")
    if path.endswith(".py"):
        text = ast.get_docstring(ast.parse(text)) or ""
    elif path.endswith(".md"):
        text = re.sub(r"^#+ ", "", text)
    else:
        return ""
    paragraph = text.split("\n\n")[0].replace("\n", " ").replace("`", "").strip()
    return re.split(r"(?<=[.!?])\s", paragraph)[0].rstrip(":")


# --- pages of source code ------------------------------------------------------------------------------------------------


def write_source_pages(app: Sphinx, error: Exception | None) -> None:
    """For Sphinx's event build-finished: every file and folder that a link leads to, and what a folder holds.

    The theme would compute its table of contents anew for each of them, which is half of all the time of a build.
    """
    if error is not None or app.builder.name != "html":
        return
    form = string.Template((Path(__file__).parent / "source.html").read_text("utf-8"))
    wanted, done = set(getattr(app.env, "house_sources", set())), set()
    while wanted:
        page = wanted.pop()
        done.add(page)
        path = page.removeprefix(f"{ROOM}/")
        if path.endswith("/index") and path.removesuffix("/index") in folders():
            body, more = folder_page(path.removesuffix("/index"), app, page)
            wanted |= more
        else:
            body = file_page(path)
        name = path.removesuffix("/index")
        wanted |= {f"{ROOM}/{parent}/index" for parent in list(Path(name).parents)[:-1]}
        wanted -= done
        target = Path(app.outdir) / f"{page}.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        root = "/".join([".."] * page.count("/"))
        target.write_text(
            form.substitute(title=html.escape(name), trail=trail(name, app, page), body=body, root=root), "utf-8"
        )


def trail(path: str, app: Sphinx, page: str) -> str:
    """albert_np / backends / cpu, each a link but the last."""
    *above, last = path.split("/")
    links = [link(app, page, "/".join(above[: i + 1]), name) for i, name in enumerate(above)]
    return " / ".join([*links, html.escape(last)])


def link(app: Sphinx, page: str, path: str, shown: str) -> str:
    target = page_of(path)
    if target is None:
        return html.escape(shown)
    assert app.builder is not None
    uri = relative_uri(app.builder.get_target_uri(page), app.builder.get_target_uri(target))
    return f'<a href="{html.escape(uri or "#")}">{html.escape(shown)}</a>'


def folder_page(folder: str, app: Sphinx, page: str) -> tuple[str, set[str]]:
    inside = [path for path in sorted(files()) if path.startswith(folder + "/")]
    entries = sorted({path[len(folder) + 1 :].split("/")[0] for path in inside})
    rows, more = [], set()
    for entry in sorted(entries, key=lambda name: (f"{folder}/{name}" not in folders(), name)):
        path = f"{folder}/{entry}"
        target, says = page_of(path), ""
        if path in folders():
            entry += "/"
            says = first_sentence(f"{path}/__init__.py") if f"{path}/__init__.py" in files() else ""
        elif path in files() and target:
            says = first_sentence(path)
        if target and not folder.startswith("tests"):  # of which only what a page links to is shown
            more.add(target)
        elif target not in getattr(app.env, "house_sources", ()):
            target = None
        shown = link(app, page, path, entry) if target else html.escape(entry)
        rows.append(f"<tr><td>{shown}</td><td>{html.escape(says)}</td></tr>")
    return f'<table class="folder"><tbody>{"".join(rows)}</tbody></table>', more


def file_page(path: str) -> str:
    text = (ROOT / path).read_text("utf-8", errors="replace")
    try:
        lexer = get_lexer_for_filename(path)
    except ClassNotFound:
        lexer = TextLexer()
    formatter = HtmlFormatter(linenos="table", lineanchors="L", anchorlinenos=True, cssclass="highlight")
    return highlight(text, lexer, formatter)


# --- links to them --------------------------------------------------------------------------------------------------------


class SourceLinks(SphinxPostTransform):
    """Links of a page to what is no page: resolved before MyST finds nothing under these names."""

    default_priority = 8

    def run(self, **_: Any) -> None:
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node["reftype"] != "myst" or node.get("refdomain"):
                continue
            path, _, anchor = node["reftarget"].partition("#")
            target = page_of(posixpath.join(posixpath.dirname(node["refdoc"]), path))
            if target is not None:
                content = node.children[0].deepcopy()
                node.replace_self(reference(self.app, node["refdoc"], target, anchor, content))


def reference(app: Sphinx, page: str, target: str, anchor: str, content: Any) -> nodes.reference:
    assert app.builder is not None
    remember(app, target)
    uri = app.builder.get_relative_uri(page, target) + (f"#{anchor}" if anchor else "")
    made = nodes.reference("", "", internal=True, refuri=uri)
    made += content if isinstance(content, nodes.Node) else nodes.inline(text=content)
    return made


def remember(app: Sphinx, target: str) -> None:
    if not hasattr(app.env, "house_sources"):
        app.env.house_sources = set()  # type: ignore[attr-defined]
    app.env.house_sources.add(target)  # type: ignore[attr-defined]


def linkcode(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """For Sphinx's event doctree-resolved: linkcode's addresses "source:path#L-12" as links from this page."""
    assert app.builder is not None
    for annotation in list(doctree.findall(addnodes.desc_annotation)):  # of a property, which no event hands over
        if ARRAY.search(annotation.astext()):
            annotation.children = [nodes.Text(ARRAY.sub("Array", annotation.astext()))]
    for node in doctree.findall(nodes.reference):
        uri = node.get("refuri", "")
        if uri.startswith("source:"):
            path, _, anchor = uri.removeprefix("source:").partition("#")
            target = page_of(path)
            assert target is not None, path
            remember(app, target)
            node["refuri"] = app.builder.get_relative_uri(page, target) + f"#{anchor}"


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Where the lines of a Python object are."""
    module = sys.modules.get(info["module"])
    value: Any = module
    try:
        for name in info["fullname"].split("."):
            value = inspect.getattr_static(value, name) if inspect.isclass(value) else getattr(value, name)
            value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        value = inspect.unwrap(value)
        path = Path(inspect.getsourcefile(value) or "").resolve()
        line = inspect.getsourcelines(value)[1]
    except (AttributeError, TypeError, OSError):
        return None
    if not path.is_relative_to(ROOT):
        return None
    return f"source:{path.relative_to(ROOT).as_posix()}#L-{line}"


# --- the table of contents ------------------------------------------------------------------------------------------------


def listed(text: str) -> list[str]:
    """The pages that a text has in lists and tables, in their order, each once."""
    return list(dict.fromkeys(LINK.findall(text)))


def with_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """For Sphinx's event source-read: the lists of the index, and of the pages that it names, become the table of contents."""
    if page == INDEX:
        _, *parts = re.split(r"^## (.+)$", source[0], flags=re.M)
        trees = [
            toctree(page, listed(text), caption)
            for caption, text in zip(parts[::2], parts[1::2], strict=True)
            if listed(text)
        ]
        source[0] += "\n\n" + "\n\n".join(trees)
    elif page == "docs/notebooks":
        found = sorted(path.name for path in Path(app.srcdir, "notebooks").glob("*.ipynb"))
        source[0] += "\n\n" + toctree(page, [f"../notebooks/{name}" for name in found])
    elif page == "docs/benchmarks":
        source[0] += "\n\n" + toctree(page, [one for one in listed(source[0]) if "results/" in one])
    elif page == "docs/api":
        found = sorted(path.stem for path in Path(app.srcdir, "docs", "reference").glob("*.rst"))
        source[0] += "\n\n" + toctree(page, [f"reference/{name}" for name in found])
    elif "results/" in page and not source[0].startswith("# "):
        # some programs write a table and no title, or no title above their second-level ones
        source[0] = f"# {page.rpartition('/')[2].replace('_', ' ')}: results\n\n{source[0]}"


def toctree(page: str, targets: list[str], caption: str = "") -> str:
    option = f":caption: {caption}\n" if caption else ""
    entries = "\n".join(re.sub(r"\.(md|ipynb)$", "", target) for target in targets)
    return f"```{{toctree}}\n:hidden:\n{option}\n{entries}\n```"


# --- the reference --------------------------------------------------------------------------------------------------------


def short_types(
    app: Any, what: str, name: str, value: Any, options: Any, signature: str | None, result: str | None
) -> Any:
    """For Sphinx's event autodoc-process-signature: Array, as the code says it, and no arguments that are fields anyway."""
    if (what == "class" and docstrings.has_only_fields(value)) or signature == "(*args, **kwargs)":
        return "", None
    return tuple(None if text is None else ARRAY.sub("Array", text) for text in (signature, result))


def only_code(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """For Sphinx's event autodoc-skip-member: functions whose name and shapes say all are shown, fields are in their list."""
    documented = inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, property | cached_property)
    return None if skip or documented else True


def without_overloads() -> None:
    """One signature a function, with every argument it takes: overloads tell type checkers what comes out of which."""
    analyze = ModuleAnalyzer.analyze

    def analyzed(self: ModuleAnalyzer) -> None:
        analyze(self)
        self.overloads = {}

    ModuleAnalyzer.analyze = analyzed  # type: ignore[method-assign]


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    without_overloads()
    app.connect("autodoc-process-signature", short_types)
    app.connect("autodoc-process-docstring", docstrings.process)
    app.connect("autodoc-skip-member", only_code)
    app.connect("source-read", with_contents)
    app.add_post_transform(SourceLinks)
    app.connect("doctree-resolved", linkcode)
    app.connect("build-finished", write_source_pages)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
