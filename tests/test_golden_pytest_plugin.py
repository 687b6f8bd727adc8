"""The fixture golden_compare, in runs of pytest of its own: what passes, what a failure says, and that others lose no time."""

import configparser
import importlib
import subprocess
import sys

import numpy as np
import pytest
from support import ROOT

from albert_np import AlbertConfig, AlbertModel, golden
from albert_np.golden.cases import PARTS, TINY, batch, trained_like

pytest_plugins = ["pytester"]
PLUGIN = "albert_np.golden.pytest_plugin"


@pytest.fixture(scope="module")
def goldens(tmp_path_factory):
    """(folder of a recording, a candidate's file: the same in float32, a file with a mistake in application 2)."""
    folder = tmp_path_factory.mktemp("plugin")
    config = AlbertConfig(**TINY)
    model = AlbertModel(config, tensors=trained_like(config, PARTS["AlbertModel"], 3), backend="numpy")
    call = batch(config, "AlbertModel", 5, padding=True)
    recording = golden.record(model, call, folder / "goldens")
    candidate = {name: x.astype(np.float32) for name, x in model(**call, trace="unfused").trace.items()}
    np.savez(folder / "right.npz", **candidate)
    candidate["encoder.layer.2.ffn"] = candidate["encoder.layer.2.ffn"] * np.float32(1.001)
    np.savez(folder / "wrong.npz", **candidate)
    assert "encoder.layer.2.ffn" in recording
    return folder


@pytest.fixture
def run(pytester, goldens, monkeypatch):
    """Runs the text of a test file."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # with or without an installed entry point
    monkeypatch.setenv("COLUMNS", "300")

    def run(text, *options):
        pytester.makepyfile(text.replace("FOLDER", str(goldens)))
        return pytester.runpytest_inprocess("-p", PLUGIN, *options)

    return run


def test_a_right_candidate_passes_and_the_comparison_is_returned(run):
    done = run("""
        def test_port(golden_compare):
            found = golden_compare("FOLDER/goldens", "FOLDER/right.npz")
            assert (found.verdict, found.precision, found.first_bad_op) == ("pass", "float32", None)
        """)
    done.assert_outcomes(passed=1)


def test_a_failure_names_the_op_and_shows_elements_and_the_commands_that_go_on(run):
    done = run("""
        def test_port(golden_compare):
            golden_compare("FOLDER/goldens", "FOLDER/wrong.npz")
        """)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "*AssertionError: FAIL: the first bad op is encoder.layer.2.ffn",
            "*precision: float32*",
            "*encoder.layer.2.ffn *",
            "*worst elements of encoder.layer.2.ffn:",
            "*got * a correct program *",
            "*albert-np golden compare */goldens */wrong.npz",
            "*albert-np golden extract */goldens ffn:2 -o pack*",
        ]
    )
    assert "golden/comparing/comparison.py" not in done.stdout.str()  # the test's own line is what the traceback shows


def test_arrays_in_memory_are_compared_and_a_failure_says_how_to_keep_them(run):
    done = run("""
        import numpy as np

        def test_port(golden_compare):
            with np.load("FOLDER/right.npz") as file:
                candidate = {name: file[name] for name in file.files}
            candidate["pooler"] = candidate["pooler"] * np.nan
            golden_compare("FOLDER/goldens", candidate)
        """)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*first bad op is pooler", "*np.savez('candidate.npz', **candidate)*", "*candidate.npz"])


def test_options_are_those_of_compare_and_a_missing_tensor_fails_without_partial(run):
    done = run("""
        def test_port(golden_compare):
            golden_compare("FOLDER/goldens", {"pooler": __import__("numpy").load("FOLDER/right.npz")["pooler"]}, partial=True)

        def test_without(golden_compare):
            golden_compare("FOLDER/goldens", {"pooler": __import__("numpy").load("FOLDER/right.npz")["pooler"]})
        """)
    done.assert_outcomes(passed=1, failed=1)


def test_the_precision_of_a_run_is_an_option_and_a_test_may_say_another(run):
    text = """
        def test_port(golden_compare):
            assert golden_compare("FOLDER/goldens", "FOLDER/right.npz").precision == "bfloat16"

        def test_own(golden_compare):
            assert golden_compare("FOLDER/goldens", "FOLDER/right.npz", precision="float16").precision == "float16"
        """
    run(text, "--golden-precision", "bfloat16").assert_outcomes(passed=2)
    run(text).assert_outcomes(passed=1, failed=1)


def test_a_run_that_does_not_use_it_imports_nothing_of_the_kit():
    """Everybody's pytest imports the plugin, wherever the package is installed."""
    code = (
        "import sys, pytest; before = set(sys.modules)\n"
        f"import {PLUGIN}\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(name for name in sys.modules if name.startswith('albert_np')), 'numpy' in new, 'numba' in new)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{['albert_np', 'albert_np.golden', PLUGIN, 'albert_np.version']} False False"


def test_pytest_finds_it_by_the_packages_entry_point():
    file = configparser.ConfigParser()
    file.read(ROOT / "setup.cfg")
    entry = file["options.entry_points"]["pytest11"].strip()
    assert entry == f"albert_np_golden = {PLUGIN}"
    assert callable(importlib.import_module(PLUGIN).pytest_addoption)
