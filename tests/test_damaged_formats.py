"""Thousands of damaged checkpoints in every format: each is refused in one readable line, or loads. None does anything else.

They run in a child process: what is tested is also that none of them crashes, hangs or takes the machine's memory.
"""

import collections
import json
import subprocess
import sys

import pytest
from support import TESTS, with_helpers

FORMATS = TESTS / "goldens" / "formats"


def run(cases, seed):
    program = [sys.executable, "-m", "support.damaged_formats", str(FORMATS), str(cases), seed]
    done = subprocess.run(program, env=with_helpers(), capture_output=True, text=True, timeout=3000, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    last = rows[-1] if rows else "nothing"
    assert done.returncode == 0, f"ended with {done.returncode} after {last}: {done.stderr[-3000:]}"
    assert len(rows) == cases
    strange = [row for row in rows if row[4] not in ("refused", "loaded")]
    assert not strange, f"{len(strange)} of {cases}, the first of them {strange[:5]}"
    return rows


def check(rows, cases):
    outcomes = collections.Counter(row[4] for row in rows)
    # both kinds must occur, or the test would say little
    assert outcomes["refused"] > cases // 3
    assert outcomes["loaded"] > cases // 20
    refused = {row[1] for row in rows if row[4] == "refused"}
    assert refused == {row[1] for row in rows}, "a folder that takes every damage"


def test_a_thousand_damaged_checkpoints_are_refused_or_load():
    check(run(1000, "1"), 1000)


@pytest.mark.slow
def test_twenty_thousand_damaged_checkpoints_are_refused_or_load():
    check(run(20_000, "2"), 20_000)
