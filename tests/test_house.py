"""What surrounds the code: one version, one set of tools, and a run that says what it left out."""

import inspect
import re
import sys
from configparser import ConfigParser
from types import SimpleNamespace

import pytest
from support import ROOT, needs
from support.processes import MOST, processes
from support.summary import LEFT_OUT, Summary

import albert_np

SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")
PYPROJECT = (ROOT / "pyproject.toml").read_text()
CI = (ROOT / ".ci" / "run").read_text()
EXTRAS = SETUP["options.extras_require"]


def names(extra):
    """The packages of an extra, without versions."""
    return {re.split(r"[\[<>=; ]", line)[0] for line in EXTRAS[extra].strip().splitlines() if line[0] != "#"}


def test_the_version_is_the_same_everywhere():
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M)[1]
    assert (
        SETUP["metadata"]["version"] == "attr: albert_np.version.__version__"
    )  # tests/test_packaging.py has what it gives
    assert {changelog, citation} == {albert_np.__version__}


def test_hooks_before_a_commit_are_the_tools_that_ci_runs_and_have_no_version_of_their_own():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (\S+)", hooks) == ["local"]
    assert set(re.findall(r"language: (\S+)", hooks)) == {"system"}
    commands = {entry.removesuffix(" --force-exclude") for entry in re.findall(r"entry: (.+)", hooks)}
    assert commands == {"ruff check", "ruff format --check", "mypy"}
    assert all(re.search(rf"^{command}", CI, re.M) for command in commands)
    assert {"ruff", "mypy"} <= names("test")


def test_every_python_that_is_promised_is_tested():
    promised = re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r'"(3\.\d+)"', re.search(r"python-version: \[(.*)\]", workflow)[1]) == promised
    assert "- run: .ci/run\n" in workflow
    assert SETUP["options"]["python_requires"] == f">={promised[0]}"


def test_the_tests_of_a_newcomer_need_no_cuda_package():
    heavy = {"cuda-toolkit", "numba-cuda", "greenlet"}
    assert heavy <= names("test-cuda")
    assert not [name for name in names("test") if name in heavy or name.startswith("nvidia")]


def test_everything_public_has_a_docstring():
    lacking = []
    for name in albert_np.__all__:
        found = getattr(albert_np, name)
        members = inspect.getmembers(found) if inspect.isclass(found) else []
        for member, value in [(name, found), *members]:
            function = value.fget if isinstance(value, property) else value
            ours = str(getattr(function, "__module__", "")).startswith("albert_np")
            if callable(function) and ours and member[0] != "_" and not inspect.getdoc(value):
                lacking.append((name, member))
    assert not lacking


# --- what is missing ------------------------------------------------------------------------------------------------------


def test_ci_requires_what_it_installs_and_every_name_is_known(monkeypatch):
    asked = re.findall(r'ALBERT_NP_REQUIRE="(\S+)"', CI)
    for names in asked:
        monkeypatch.setenv("ALBERT_NP_REQUIRE", names)
        needs.required()
    assert {"numba", "test", "docs", "cuda-compiler", "simulator", "parity"} == set(",".join(asked).split(","))


def test_an_unknown_need_is_refused(monkeypatch):
    monkeypatch.setenv("ALBERT_NP_REQUIRE", "numba, pariti")
    with pytest.raises(pytest.UsageError, match="unknown pariti; it may name browser, cc, cuda-compiler"):
        needs.required()


def test_what_is_missing_skips_and_fails_where_it_is_required(monkeypatch):
    monkeypatch.delenv("ALBERT_NP_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"nowhere is not installed \(pip install -e '.\[parity\]'\)"):
        needs.module("parity", "nowhere.inside")
    monkeypatch.setenv("ALBERT_NP_REQUIRE", "test")
    with pytest.raises(pytest.skip.Exception):
        needs.module("parity", "nowhere")
    monkeypatch.setenv("ALBERT_NP_REQUIRE", "test,parity")
    with pytest.raises(pytest.fail.Exception, match="ALBERT_NP_REQUIRE has parity"):
        needs.module("parity", "nowhere")
    assert needs.module("parity", "json.decoder") is sys.modules["json.decoder"]


# --- how a run goes -------------------------------------------------------------------------------------------------------


def item(*markers):
    return SimpleNamespace(get_closest_marker=lambda name: name if name in markers else None)


def test_the_summary_counts_each_reason_once_however_many_workers_collected():
    worker, controller = Summary(), Summary()
    worker.pytest_deselected([item("parity"), item("parity", "slow"), item("parity"), item("cuda")])
    config = SimpleNamespace(workeroutput={})
    worker.pytest_sessionfinish(SimpleNamespace(config=config))
    controller.pytest_testnodedown(SimpleNamespace(workeroutput=config.workeroutput))
    controller.pytest_testnodedown(SimpleNamespace(workeroutput=config.workeroutput))
    controller.pytest_testnodedown(SimpleNamespace())  # it died

    lines = []
    skipped = [SimpleNamespace(longrepr=("file", 1, f"Skipped: {reason}")) for reason in ("no b", "no a", "no b")]
    table = SimpleNamespace(user_properties=[("registers", "12 of 255")])
    stats = {"skipped": skipped, "passed": [table]}
    controller.pytest_terminal_summary(SimpleNamespace(stats=stats, section=lines.append, line=lines.append))
    assert lines == [
        "not run here",
        "    2 skipped: no b",
        "    1 skipped: no a",
        f"    2 left out, marker parity: {LEFT_OUT['parity']}",
        f"    1 left out, marker slow: {LEFT_OUT['slow']}",
        "registers",
        "12 of 255",
    ]


def test_what_is_left_out_has_a_line_in_the_summary():
    (chosen,) = re.findall(r"^addopts = .* -m '(.*)'\"$", PYPROJECT, re.M)
    assert set(chosen.split(" and ")) == {f"not {name}" for name in LEFT_OUT}
    assert all(f'"{name}: ' in PYPROJECT for name in LEFT_OUT)


@pytest.mark.parametrize(
    ("chosen", "named", "cores", "expected"),
    [
        ("not slow and not gpu", ["tests"], 2, 2),
        ("not slow and not gpu", ["tests", "tests/test_house.py"], 64, MOST),
        ("not slow and not gpu", ["tests"], 1, 0),
        ("gpu", ["tests"], 8, 0),
        ("slow and not gpu", ["tests"], 8, 8),
        ("not slow", ["tests/test_house.py::test_a", "tests/test_ops.py"], 8, 0),
    ],
)
def test_processes_of_a_run(chosen, named, cores, expected, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert processes(chosen, named) == expected


def test_the_walks_lead_to_functions():
    """CONTRIBUTING.md's maps: each file has the function that the map names."""
    walks = (ROOT / "CONTRIBUTING.md").read_text().split("## Three walks through the code")[1]
    steps = re.findall(r"^\| [^|]+ \| `([^`]+)` \| `([^`]+)` \|$", walks, re.M)
    assert len(steps) > 25
    for file, function in steps:
        assert re.search(rf"^ *def {function}\(", (ROOT / file).read_text(), re.M), (file, function)
