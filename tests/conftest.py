"""Fixtures that several test files share. A skip here always has a reason; in the parity run it is a failure instead."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from backends import BACKENDS, runnable

ROOT = Path(__file__).resolve().parent.parent


def unmeasured():
    """This environment for a child process, without the coverage that would make its thousands of cases crawl."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels():
    """Kernels are compiled before the first test, by a process whose every line is not measured: that is three times slower."""
    if importlib.util.find_spec("numba") is not None:
        for options in ("", ", '--training'"):
            command = f"import sys; from albert_np.cli import main; sys.exit(main(['warmup'{options}]))"
            subprocess.run(
                [sys.executable, "-c", command], env=unmeasured(), check=False, capture_output=True, timeout=600
            )


def require(name):
    """Import a module of the `parity` extra, or skip; with ALBERT_NP_REQUIRE_PARITY=1 a missing module fails."""
    try:
        return __import__(name)
    except ImportError as error:
        message = f"{name} is not installed (pip install 'albert-np[parity]'): {error}"
        if os.environ.get("ALBERT_NP_REQUIRE_PARITY") == "1":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(params=BACKENDS, ids=str, scope="module")
def backend(request):
    """Each backend in turn; `@pytest.mark.parametrize("backend", [NUMPY], ids=str, indirect=True)` chooses."""
    return runnable(request.param)


@pytest.fixture(scope="session")
def torch():
    return require("torch")


@pytest.fixture(scope="session")
def transformers():
    require("torch")
    return require("transformers")


@pytest.fixture(scope="session")
def fixtures_dir():
    """The folder of real data that is never committed (genuine vocabulary, published goldens)."""
    folder = Path(os.environ.get("ALBERT_NP_FIXTURES") or ROOT.parent / "shared" / "fixtures")
    if not folder.is_dir():
        pytest.skip(f"no fixtures at {folder}: set ALBERT_NP_FIXTURES to a folder that holds them")
    return folder


@pytest.fixture(scope="session")
def demo_dir():
    return ROOT / "albert_np" / "demo"
