"""The fixture golden_compare for pytest, which finds this file by itself where albert_np is installed.

    def test_my_port(golden_compare):
        golden_compare("goldens/", run_my_port())          # arrays by name, or a file

Nothing of the kit is imported before a test calls it, so that other people's tests start as fast as without.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from albert_np.golden.comparing.comparison import Comparison

PRECISIONS = ("float32", "tf32", "float16", "bfloat16")


def pytest_addoption(parser: pytest.Parser) -> None:
    """--golden-precision, for all tests of a run that do not say it themselves."""
    parser.getgroup("albert_np.golden").addoption(
        "--golden-precision",
        choices=PRECISIONS,
        help="what the candidates of golden_compare compute in (default: found from their values)",
    )


@pytest.fixture
def golden_compare(request: pytest.FixtureRequest) -> Callable[..., Comparison]:
    """A function of a recording and a candidate: a Comparison that passes, or an AssertionError that says what is wrong.

    It takes what golden.compare takes: partial=True, name_map=…, ignore_padding=True …
    """

    def check(recording: Any, candidate: Any, **options: Any) -> Comparison:
        __tracebackhide__ = True
        from albert_np.golden.comparing.comparison import compare

        if options.get("precision") is None:
            options["precision"] = request.config.getoption("golden_precision")
        comparison = compare(recording, candidate, **options)
        if not comparison.passed:
            raise AssertionError(failure(comparison, recording, candidate))
        return comparison

    return check


def failure(comparison: Comparison, recording: Any, candidate: Any) -> str:
    """What a failed test prints: the comparison, and the commands that go on from there."""
    from albert_np.golden.comparing.text import as_text

    folder = getattr(recording, "folder", recording)
    lines = [as_text(comparison), "", "to go on:"]
    if isinstance(candidate, Mapping):
        lines.append("  np.savez('candidate.npz', **candidate)   # in the test, to have its tensors on disk")
    named = "candidate.npz" if isinstance(candidate, Mapping) else os.fspath(candidate)
    lines.append(f"  albert-np golden compare {folder} {named}")
    bad = next((one for one in comparison.ops if one.name == comparison.first_bad_op), None)
    if bad is not None:
        op = bad.name if bad.application is None else f"{bad.name.split('.', 3)[3]}:{bad.application}"
        lines.append(
            f"  albert-np golden extract {folder} {op} -o pack   # this op alone, with its inputs and its output"
        )
    return "\n".join(lines)
