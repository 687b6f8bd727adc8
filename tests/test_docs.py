"""Every page of docs/: its Python and its commands run, offline, and give what the page shows; its links lead somewhere.

The blocks of a page run one after the other, in an empty folder and with the same names, as a reader would type them. A block
of `text` behind one of `python` is what that prints, and the value of its last line. There, … stands for anything, numbers
count to the digits that are shown, and white space does not count.
"""

import ast
import contextlib
import dataclasses
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from typing import NamedTuple

import pytest
from support import ROOT, needs, unmeasured
from support.shown import differs

from albert_np import SentenceEncoder, cli
from albert_np.checkpoints import hub
from albert_np.distributed import BatchPredictor
from albert_np.pipelines.make import PIPELINES
from albert_np.training import log

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
ENGINES = ("ray", "dask")  # blocks that need one of these start a cluster, which takes a minute
FRAMEWORKS = {
    "torch": "parity",
    "onnxruntime": "runtimes",
}  # what a block that needs one begins with importing -> its need


class Block(NamedTuple):
    language: str
    code: str
    line: int
    shown: str | None = None  # the block of text behind it


def blocks(text):
    found, end = [], 0
    for match in FENCE.finditer(text):
        block = Block(match[1], match[2], text.count("\n", 0, match.start()) + 2)
        if block.language == "text" and found and not text[end : match.start()].strip():
            found[-1] = found[-1]._replace(shown=block.code)
        else:
            found.append(block)
        end = match.end()
    return found


def engine(block):
    return next(
        (name for name in (*ENGINES, *FRAMEWORKS) if re.search(rf"^(from|import) {name}\b", block.code, re.M)), None
    )


# --- running a block ------------------------------------------------------------------------------------------------------


def shown_by(code, names):
    """What Python code prints, and the value of its last line, as at Python's own prompt."""
    tree, out = ast.parse(code), io.StringIO()
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(out):
        exec(compile(tree, "<docs>", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "<docs>", "eval"), names) if last else None
    return out.getvalue() + ("" if value is None else repr(value))


def said_by(line, monkeypatch, capsys):
    """What a command line prints on its standard output, with its exit code where the page asks for it."""
    line, *asked = line.split("; echo $?")
    before, _, command = line.rpartition(" | ")
    name, *argv = shlex.split(command)
    if name == "pip":
        assert argv[0] == "install"
        extras = ConfigParser()
        extras.read(ROOT / "setup.cfg")
        for extra in re.findall(r"albert-np\[(\w+)\]", command):
            assert extra in extras["options.extras_require"]
        return ""
    if name != "albert-np":
        assert name == "head"
        return subprocess.run([name, *argv], capture_output=True, text=True, check=True, env=unmeasured()).stdout
    piped = subprocess.run(before, shell=True, capture_output=True, text=True, check=True).stdout if before else ""
    monkeypatch.setattr(sys, "stdin", io.StringIO(piped))
    capsys.readouterr()
    code = cli.main(argv)
    out, err = capsys.readouterr()
    assert asked or code == 0, err
    return out + "".join(f"{code}\n" for _ in asked)


def commands(code):
    """The command lines of a console block, each with the lines that it shows."""
    for part in re.split(r"^\$ ", code, flags=re.M)[1:]:
        line, _, shown = part.partition("\n")
        yield line, shown


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """In an empty folder, with the demo model in the place of every hub id, and no curves drawn: a third of a second each."""
    here = hub.local_folder
    monkeypatch.setattr(hub, "local_folder", lambda name: here(name) or hub.DEMO_FOLDER)
    monkeypatch.setattr(log, "draw", lambda *_: False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def run_page(path, chosen, monkeypatch, capsys):
    names = {"__name__": "docs"}
    for block in filter(chosen, blocks(path.read_text())):
        where = f"{path.name}, line {block.line}"
        if block.language == "python":
            found = shown_by(block.code, names)
            assert block.shown is None or not differs(block.shown, found), f"{where}:\n{found}"
        elif not block.language and block.code.startswith("albert-np "):
            continue  # on files that are not there: tests/test_cli_examples.py makes them up
        else:
            assert block.language == "console", f"{where}: how is a block of {block.language!r} run?"
            for line, shown in commands(block.code):
                found = said_by(line, monkeypatch, capsys)
                assert not shown or not differs(shown, found), f"{where}:\n{found}"


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_page_shows_is_what_happens(path, monkeypatch, capsys):
    run_page(path, lambda block: engine(block) is None, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ENGINES)
def test_what_pages_show_of_a_cluster_is_what_happens(name, monkeypatch, capsys):
    needs.module("others", name)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    pages = [path for path in PAGES if any(engine(block) == name for block in blocks(path.read_text()))]
    assert pages
    for path in pages:
        run_page(path, lambda block: engine(block) == name, monkeypatch, capsys)


@pytest.mark.parity
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_what_pages_show_of_a_framework_is_what_happens(name, monkeypatch, capsys):
    needs.module(FRAMEWORKS[name], name)
    pages = [path for path in PAGES if any(engine(block) == name for block in blocks(path.read_text()))]
    assert pages
    for path in pages:
        run_page(path, lambda block: engine(block) in (None, name), monkeypatch, capsys)


def test_what_is_shown_is_compared():
    """A wrong word, a wrong number and a missing part are seen; white space, … and further digits are not."""
    assert not differs("{'a': 0.23,\n 'b': 'x y'}", "{'a': 0.2304056, 'b': 'x y'}")
    assert not differs("step 3 … done", "step 3 in 4 s, done")
    assert not differs("[0.50, 0.00]", "[0.5, 1e-05]")
    for shown in (
        "{'a': 0.25, 'b': 'x y'}",
        "{'a': 0.23, 'b': 'x z'}",
        "{'a': 0.23}",
        "0.23",
        "{'a': …}}",
        "{'a': 0.3, 'b': 'x y'}",
    ):
        assert differs(shown, "{'a': 0.2304056, 'b': 'x y'}")


# --- the pages ------------------------------------------------------------------------------------------------------------


def test_the_index_has_a_line_for_each_page():
    index = (DOCS / "README.md").read_text()
    listed = re.findall(r"^- \[.+?\]\(([\w-]+\.md)\)", index, re.M)
    assert sorted(listed) == [path.name for path in PAGES if path.name != "README.md"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_to_files_and_headings(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in link:
            continue
        file, _, heading = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in anchors, link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_tables_have_as_many_cells_in_each_row(path):
    text = FENCE.sub("", path.read_text())
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(cells) == 1, table


# --- options and messages -------------------------------------------------------------------------------------------------


def defaults():
    """For each page the options of what it is about, and their defaults."""
    for name, kind in PIPELINES.items():
        yield f"{name}.md", {field.name: field.default for field in dataclasses.fields(kind.options_class)}
    for page, function in (("embeddings.md", SentenceEncoder.encode), ("scale.md", BatchPredictor.__init__)):
        known = inspect.signature(function).parameters.values()
        yield page, {one.name: one.default for one in known if one.default is not one.empty}


@pytest.mark.parametrize(
    ("page", "options"), list(defaults()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_every_option_is_in_a_table_with_its_default(page, options):
    rows = {}
    for text in ((DOCS / "pipelines.md").read_text(), (DOCS / page).read_text()):
        for names, default in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|", text, re.M):
            rows |= dict.fromkeys(re.findall(r"\w+", names), default)
    for name, default in options.items():
        if name in ("topk", "columns"):  # in the row of top_k; the names are the task's
            continue
        assert name in rows, f"{page} has no row for {name}"
        if re.fullmatch(r"`.*`|\d+", rows[name]):
            stated = ast.literal_eval(rows[name].strip("`"))
            assert stated == (list(default) if isinstance(default, tuple) else default), name


def templates():
    """The texts of the sources, with … where a value goes."""
    for path in [*(ROOT / "albert_np").rglob("*.py"), *(ROOT / "kernels" / "cpu").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_that_is_explained_is_one_of_ours():
    """Its words, in their order; … in the page is a value."""
    quoted = re.findall(r"^\| `+ ?(.+?) ?`+ \|", (DOCS / "troubleshooting.md").read_text(), re.M)
    assert len(quoted) > 40
    known = list(templates())
    strange = [message for message in quoted if not any(fits(message, template) for template in known)]
    assert not strange


def fits(message, template):
    at = 0
    for part in filter(None, (part.strip() for part in message.replace("\\|", "|").split("…"))):
        at = template.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True
