"""What some tests need and not every machine has. Where it is missing they skip, and the reason says what to do.

ALBERT_NP_REQUIRE lists what must be there ("numba,simulator"): for these, a skip is a failure. `.ci/run` sets it.
"""

import importlib
import os
from typing import Any, NoReturn

import pytest

TEST_CUDA = "pip install -e '.[test-cuda]'"
# every name that ALBERT_NP_REQUIRE may hold, and how to get what it stands for
NEEDS = {
    "browser": "apt-get install chromium, or Google Chrome",
    "cc": "a C compiler, as cc",
    "cuda-compiler": TEST_CUDA,
    "data": "optional data, not in the repository: ALBERT_NP_FIXTURES may name a folder that holds it",
    "docs": "pip install -e '.[docs]'",
    "gpu": "pytest -m gpu, on a machine that has one",
    "numba": "pip install numba",
    "others": "pip install -e '.[distributed]'",
    "parity": "pip install -e '.[parity]'",
    "runtimes": "pip install onnxruntime onnxscript openvino",
    "simulator": TEST_CUDA,
    "test": "pip install -e '.[test]'",
    "transformers-5": "ALBERT_NP_TRANSFORMERS_5 may name the python of an environment with transformers 5.24.0 and torch",
}


def required() -> set[str]:
    """What must be there. Raises pytest.UsageError where a name is unknown."""
    names = {name.strip() for name in os.environ.get("ALBERT_NP_REQUIRE", "").split(",")} - {""}
    if names - set(NEEDS):
        unknown = ", ".join(sorted(names - set(NEEDS)))
        raise pytest.UsageError(f"ALBERT_NP_REQUIRE: unknown {unknown}; it may name {', '.join(NEEDS)}")
    return names


def missing(need: str, what: str) -> NoReturn:
    """Skips the test, or the module; fails instead where the need is required."""
    reason = f"{what} ({NEEDS[need]})"
    if need in required():
        pytest.fail(f"{reason}; ALBERT_NP_REQUIRE has {need}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def module(need: str, name: str) -> Any:
    """A module, or `missing`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(need, f"{name.partition('.')[0]} is not installed")
