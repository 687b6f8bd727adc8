"""What tests share, one idea a module: tests import these and the package, and never one another.

Places, and the environment of child processes, are here. A child that is to import these modules runs with `with_helpers()`.
"""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
# a vocabulary of 1,000 pieces with the config of a tiny model, no weights: for what is not about the embedded model itself
TINY_MODEL = TESTS / "tiny_model"


def unmeasured() -> dict[str, str]:
    """This environment for a child process, without the coverage that would make its thousands of cases crawl."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


def with_helpers() -> dict[str, str]:
    """The same for a child that imports `support` and what lies beside it."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return unmeasured() | {"PYTHONPATH": os.pathsep.join(paths)}
