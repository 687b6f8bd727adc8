"""The documentation: what is drawn is current, every name and folder has its place, and the link checker finds what is broken.

tests/test_site_build.py builds the site itself.
"""

import importlib
import re
import sys
from configparser import ConfigParser

import pytest
from support import ROOT, needs

import albert_np
from albert_np import config

DOCS = ROOT / "docs"
TOOLS = ("bars", "benchmark_tables", "check_links", "draw_docs", "gpu_tables", "reference_pages", "show_demo")


@pytest.fixture
def tools(monkeypatch):
    """Programs of tools/ as modules, by name."""
    needs.module("test", "matplotlib")
    needs.module("test", "sklearn")  # AlbertVectorizer has a place in the lists
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield importlib.import_module
    for name in TOOLS:
        sys.modules.pop(name, None)


@pytest.fixture
def docstrings(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "site"))
    yield importlib.import_module("docstrings")
    sys.modules.pop("docstrings", None)


def page(name):
    return (DOCS / name).read_text("utf-8")


# --- what is drawn --------------------------------------------------------------------------------------------------------


def test_what_is_drawn_is_current(tools):
    docs = tools("draw_docs")
    stale = [path.name for path, data in docs.drawn() if not docs.is_current(path, data)]
    assert not stale, "run tools/draw_docs.py"


@pytest.fixture
def copy(tmp_path):
    """A repository of one page, with room for what is drawn."""
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    (tmp_path / "README.md").write_text("# README\n")
    (tmp_path / "docs" / "gallery.md").write_text("# Gallery\n")
    return tmp_path


def test_a_changed_number_is_found_and_put_right(tools, copy):
    path = copy / "docs" / "page.md"
    path.write_text("Before.\n\n<!-- drawn: pipelines -->\n| fill-mask | 1.0 |\n<!-- end of pipelines -->\n\nAfter.\n")
    new = dict(tools("draw_docs").drawn(copy))[path].decode()
    assert new.startswith("Before.\n\n<!-- drawn: pipelines -->\n\n| one text through a pipeline |")
    assert new.endswith("<!-- end of pipelines -->\n\nAfter.\n")
    path.write_text(new)
    assert dict(tools("draw_docs").drawn(copy))[path].decode() == new


def test_an_unknown_mark_is_refused(tools, copy):
    (copy / "docs" / "page.md").write_text("<!-- drawn: pipeline -->\n<!-- end of pipeline -->\n")
    with pytest.raises(ValueError, match=r"page\.md: nothing is drawn as 'pipeline'"):
        list(tools("draw_docs").drawn(copy))


def test_the_texts_of_bars_are_their_names_and_values_and_nothing_is_markup(tools, copy):
    bars, docs = tools("bars"), tools("draw_docs")
    groups = {"one": [1.0, 2.0], "two": [None, 4.0]}
    drawn = bars.svg(bars.Bars("a < b", "ms", ["ours", "theirs"], groups))
    assert sorted(bars.texts(drawn)) == sorted(["one", "two", "1.00", "2.00", "4.00", "ms", "a < b", "ours", "theirs"])
    path = copy / "bars.svg"
    path.write_text(drawn)
    assert docs.is_current(path, drawn.replace("<path", "<path  ").encode())
    assert not docs.is_current(path, drawn.replace(">4.00<", ">4.01<").encode())


def test_every_file_of_results_is_on_the_page_of_benchmarks():
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        assert f"results/{path.name})" in page("benchmarks.md"), path.name


# --- names and commands ---------------------------------------------------------------------------------------------------


def test_every_public_name_is_listed_once_or_is_in_a_module_that_is(tools):
    reference = tools("reference_pages")
    assert not reference.missing()
    rows = re.findall(r"^\| \[`([\w.]+)`\]\(", page("api.md"), re.M)
    assert len(rows) == len(set(rows)) > 100
    assert set(albert_np.__all__) - set(rows) <= {
        "__version__",
        *(x for x in dir(albert_np) if x.endswith("Output") or "Pooling" in x),
    }


def test_a_name_without_a_place_is_refused(tools, monkeypatch):
    reference = tools("reference_pages")
    groups = [
        group._replace(names=[name for name in group.names if name != "albert_np.convert"])
        for group in reference.GROUPS
    ]
    monkeypatch.setattr(reference, "GROUPS", groups)
    with pytest.raises(ValueError, match=r"has no place for albert_np\.convert$"):
        reference.api_table()


def test_commands_have_their_arguments():
    text = page("commands.md")
    section = text.split("\n## albert-np fill-mask\n")[1].split("\n## ")[0]
    assert "| `--top-k K` | " in section
    assert "--help" not in re.findall(r"^\| `([^`]+)`", section, re.M)
    assert "\n### albert-np golden compare\n" in text


# --- docstrings as Sphinx has them ----------------------------------------------------------------------------------------


def test_docstrings_become_lists_code_and_paragraphs(docstrings):
    text = """Does *it* for x_ and `code`s.

    first: what it is. second, third: two of them,
    on two lines. Not: an item.
    Raises ValueError for all else.

        set_in = [1, 2]
    """
    assert docstrings.to_rst(text, ["first", "second", "third"]) == [
        "Does \\*it\\* for x\\_ and ``code``\\ s.",
        "",
        "- ``first``: what it is.",
        "",
        "- ``second``, ``third``: two of them, on two lines. Not: an item.",
        "",
        "Raises ValueError for all else.",
        "",
        "::",
        "",
        "        set_in = [1, 2]",
        "",
    ]


def test_shapes_come_from_the_def_line_and_comments_from_the_lines_of_fields(docstrings):
    assert docstrings.shapes(albert_np.ops.linear) == "(..., in), (out, in), (out,) -> (..., out)"
    assert docstrings.shapes(test_commands_have_their_arguments) == ""
    rows = docstrings.fields(config.AlbertConfig)
    assert "- ``num_hidden_layers: int = 12``: L: how often the shared layer is applied" in rows


# --- pages ----------------------------------------------------------------------------------------------------------------


def test_every_notebook_is_among_the_tutorials_in_its_order():
    listed = re.findall(r"^\| \[\d\d .+\]\(\.\./notebooks/(.+\.ipynb)\) \| ", page("notebooks.md"), re.M)
    assert listed == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_every_folder_of_the_package_is_on_the_map():
    listed = set(re.findall(r"^\| \[`([\w/]+)`\]\(\.\./", page("code_map.md"), re.M))
    folders = {path.parent for room in ("albert_np", "kernels") for path in (ROOT / room).rglob("*.py")}
    names = {str(folder.relative_to(ROOT)) for folder in folders if "albert_np/kernels" not in str(folder)}
    assert names - listed == {"albert_np"}


def test_the_glossary_explains_each_word_once_and_shortly():
    words = []
    for entry in re.findall(r"^- (\*\*.+(?:\n  .+)*)", page("glossary.md"), re.M):
        head, _, text = entry.replace("\n  ", " ").partition(": ")
        words += re.findall(r"\*\*([^*]+)\*\*(?! \()", head)
        assert len(re.findall(r"[.!?](?= |$)", text)) <= 3, entry
        assert text.endswith((".", "?")), entry
    assert len(words) > 100
    assert len(words) == len(set(words))


def test_the_glossary_has_every_letter_of_the_legend():
    legend = set(re.findall(r"^([A-Z])  |  ([A-Z])  ", config.__doc__, re.M))
    letters = {letter for pair in legend for letter in pair if letter}
    assert len(letters) > 10
    assert letters <= set(re.findall(r"^\| ([A-Z]) \| ", page("glossary.md"), re.M))


def test_pictures_are_small_used_and_described():
    used = set()
    for path in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", path.read_text("utf-8")):
            assert len(text) > 15, (path.name, target)
            used.add((path.parent / target).resolve())
    for path in (DOCS / "pictures").iterdir():
        assert path.stat().st_size < 100_000, path.name
        assert path in used, path.name


def test_every_package_of_the_extra_has_a_reason():
    setup = (ROOT / "setup.cfg").read_text()
    lines = setup.split("\ndocs =\n")[1].split("\n# the whole test suite")[0].splitlines()
    assert [line.strip().startswith("#") for line in lines] == [True, False] * (len(lines) // 2)
    parsed = ConfigParser()
    parsed.read_string(setup)
    assert "sphinx" in parsed["options.extras_require"]["docs"]


# --- the link checker -----------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="sub/b.html#there">b</a> <a href="#top">up</a> <img src="p.png" alt="a line">'
        '<a href="https://arxiv.org/abs/1909.11942">paper</a><span class="k">if</span>'
    )
    (tmp_path / "sub" / "b.html").write_text('<p id="there">B</p><a href="../a.html">a</a><img src="data:,x" alt="x">')
    (tmp_path / "p.png").write_bytes(b"")
    return tmp_path


def test_a_whole_site_has_no_faults(tools, site):
    found = tools("check_links").check(site)
    assert found.faults == []
    assert (found.pages, found.links, found.external) == (2, 6, ["https://arxiv.org/abs/1909.11942"])


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ('<a href="c.html">', "there is no such file"),
        ('<a href="sub/">', "there is no such file"),
        ('<a href="sub/b.html#nowhere">', "the page has no such anchor"),
        ('<a href="#nowhere">', "the page has no such anchor"),
        ('<a href="../../etc/passwd">', "it leads out of the site"),
        ('<a href="https://nowhere">', "this is no address"),
        ('<a href="htp://example.org">', "this is no address"),
        ('<img src="q.png" alt="a line">', "there is no such file"),
        ('<img src="p.png">', "a picture without a text"),
        ('<img src="p.png" alt="p.png">', "a picture without a text"),
        ('<script src="https://example.org/x.js"></script>', "it is loaded from elsewhere"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "it is loaded from elsewhere"),
    ],
)
def test_what_is_broken_is_found(tools, site, broken, why, capsys):
    with (site / "a.html").open("a") as file:
        file.write("\n" + broken)
    checker = tools("check_links")
    (fault,) = checker.check(site).faults
    assert (fault.page, fault.line, fault.why) == ("a.html", 2, why)
    assert checker.main([str(site)]) == 1
    assert capsys.readouterr().out.startswith("a.html:2: ")
