"""How many processes a run of the tests takes."""

import os
from collections.abc import Sequence
from pathlib import Path

MOST = 8  # each takes some seconds to start, and 300 MB


def processes(chosen: str, arguments: Sequence[str]) -> int:
    """For an expression of markers and what was named to run: one a core, or 0, which is none but pytest's own.

    0 for tests on a GPU, of which there is one, and for test files given by name, which are soon done and may stop in a
    debugger.
    """
    on_gpu = "gpu" in chosen.replace("not gpu", "")
    named = all(Path(argument.partition("::")[0]).is_file() for argument in arguments)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if on_gpu or named or cores == 1 else min(cores, MOST)
