"""The site: it builds offline without a warning, every link in it leads somewhere, and a browser asks nobody for anything."""

import contextlib
import re
import shutil
import subprocess
import sys
import time

import pytest
from support import ROOT, needs, unmeasured
from support.browser import Browser, found

for package in ("sphinx", "myst_nb", "furo", "sphinx_copybutton"):
    needs.module("docs", package)

NOWHERE = "http://127.0.0.1:9"  # the proxy of a build: who asks the network gets an error


def run(*command):
    environment = unmeasured() | {"http_proxy": NOWHERE, "https_proxy": NOWHERE}
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = run(ROOT / "tools" / "build_site.py", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ pages, \d+ links, \d+ addresses elsewhere: 0 faults$", done.stdout, re.M)
    return out / "html"


def test_every_page_and_notebook_is_there(site):
    for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("benchmarks/results/*.md")]:
        assert (site / path.relative_to(ROOT).with_suffix(".html")).is_file(), path
    assert 'url=docs/README.html"' in (site / "index.html").read_text()


def test_pictures_of_notebooks_have_their_texts(site):
    text = (site / "notebooks" / "01_text_to_logits.html").read_text()
    assert re.search(r'<img alt="[^"]*longest[^"]*door"', text)


def test_the_reference_has_docstrings_shapes_and_source(site):
    text = (site / "docs" / "reference" / "08_book.html").read_text()
    assert 'id="albert_np.ops.linear"' in text
    assert "(..., in), (out, in), (out,) -&gt; (..., out)" in re.sub(r"</?span[^>]*>", "", text)
    assert re.search(r'href="\.\./\.\./source/albert_np/ops\.py\.html#L-\d+"', text)
    assert 'href="reference/01_models.html#albert_np.AlbertModel"' in (site / "docs" / "api.html").read_text()


def test_a_folder_has_a_page_that_says_what_its_files_are(site):
    text = (site / "source" / "kernels" / "cpu" / "index.html").read_text()
    assert re.search(r'<a href="gemm\.py\.html">gemm\.py</a></td><td>C = A·B, with what follows it', text)


WINDOWS = (380, 1024, 1366, 1440, 1920)  # a phone, and around the widths at which the theme changes its columns


def test_a_browser_finds_everything_and_asks_nobody(site, tmp_path):
    program = found()
    if program is None:
        needs.missing("browser", "no Chromium")
    with Browser(program, tmp_path / "profile") as browser:
        for name in (
            "docs/README.html",
            "docs/benchmarks.html",
            "notebooks/01_text_to_logits.html",
            "docs/reference/01_models.html",
            "source/albert_np/ops.py.html",
        ):
            browser.open(site / name)
            assert not [one for one in browser.requests() if not one.startswith(("file:", "data:"))], name
            assert not browser.complaints(), name
            for window in WINDOWS:
                browser.resize(window, 800)
                width = browser.evaluate("document.documentElement.scrollWidth")
                assert width <= window or name.startswith("source"), (name, width)  # lines of code may be longer
        browser.events.clear()
        browser.call("Page.navigate", url=(site / "search.html").as_uri() + "?q=softmax")
        assert hits(browser) > 3
        assert not [one for one in browser.requests() if not one.startswith(("file:", "data:"))]
        assert not browser.complaints()


def hits(browser):
    """How many pages the search has found, once it has."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(RuntimeError):  # the page is being left
            if browser.evaluate(
                "/\\d+ page/.test((document.querySelector('.search-summary') || document.body).innerText)"
            ):
                return browser.evaluate("document.querySelectorAll('ul.search li a').length")
        time.sleep(0.2)
    raise TimeoutError("the search finds nothing")


@pytest.fixture
def copy(tmp_path):
    """The tools and settings of the site, with one page."""
    root = tmp_path / "root"
    for name in ("tools", "docs/site"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "benchmarks" / "results", root / "benchmarks" / "results")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / "docs" / "README.md").write_text("# Home\n\n- [A page](page.md)\n\n## Pages\n\n- [A page](page.md)\n")
    return root


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[nothing](nothing.md)", "nothing.md"),
        ("[nowhere](README.md#nowhere)", "nowhere"),
        ("{py:func}`albert_np.ops.softmaximum`", "softmaximum"),
        ("{py:obj}`albert_np.AlbertForNothing`", "AlbertForNothing"),
        ("![](site/README.png)", "image file not readable"),
    ],
)
def test_what_is_broken_stops_the_build(copy, tmp_path, text, complaint):
    (copy / "docs" / "page.md").write_text(f"# A page\n\n{text}\n")
    program = (
        "import build_site, pathlib, sys; sys.exit(build_site.build(*map(pathlib.Path, sys.argv[1:]), reference=False))"
    )
    done = run("-c", f"import sys; sys.path.insert(0, {str(copy / 'tools')!r}); {program}", copy, tmp_path / "out")
    assert done.returncode != 0
    assert complaint in done.stderr
