"""A pack as a test file with its data beside it."""

from __future__ import annotations

from collections.abc import Iterator

from albert_np.golden.packs.arrays import as_npz
from albert_np.golden.packs.pack import Pack, stored

TEST = '''"""{name}: your function against the truth, each element against its own budget. From albert-np golden extract.

    GOLDEN_CANDIDATE=my_package.my_module:my_function pytest test_op.py

my_function is called with arrays by name, and returns one array of shape {shape}:

{arguments}
{note}
Without GOLDEN_CANDIDATE the tests fail, and say so. A function can also come from a fixture of the name `candidate` in
conftest.py, if the fixture below is taken away.
"""

import os
import pkgutil
from pathlib import Path

import numpy as np
import pytest

with np.load(Path(__file__).with_name("op_data.npz"), allow_pickle=False) as file:
    DATA = {{name: file[name] for name in file.files}}
ARGUMENTS = {{name: DATA[name] for name in {names}}}
EXPECTED, BUDGET = DATA["expected"], DATA["budget"]


@pytest.fixture(scope="module")
def candidate():
    """The function that is tested."""
    name = os.environ.get("GOLDEN_CANDIDATE")
    if not name:
        pytest.fail("set GOLDEN_CANDIDATE to the function to test, as package.module:function", pytrace=False)
    return pkgutil.resolve_name(name)


@pytest.fixture(scope="module")
def output(candidate):
    """What it answers, in float64."""
    return np.asarray(candidate(**{{name: x.copy() for name, x in ARGUMENTS.items()}})).astype(np.float64)


def test_shape(output):
    assert output.shape == EXPECTED.shape


def test_nan_only_where_it_is_expected(output):
    assert output.shape == EXPECTED.shape
    wrong = np.argwhere(np.isnan(output) != np.isnan(EXPECTED))
    assert len(wrong) == 0, f"{{len(wrong)}} elements, the first at {{wrong[0].tolist()}}"


def test_every_element_is_within_its_budget(output):
    assert output.shape == EXPECTED.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(output == EXPECTED, 0.0, np.abs(output - EXPECTED))
        right = (error <= BUDGET) | (np.isnan(output) & np.isnan(EXPECTED))
        share = np.where(right, 0.0, np.where(np.isnan(error), np.inf, error / BUDGET))
    if not right.all():
        at = np.unravel_index(np.argmax(share), share.shape)
        pytest.fail(
            f"{{np.count_nonzero(~right)}} of {{right.size}} elements are outside their budget. The worst is at "
            f"{{[int(i) for i in at]}}: got {{output[at]:.9g}}, expected {{EXPECTED[at]:.9g}}, off by {{error[at]:.3g}}, "
            f"allowed {{BUDGET[at]:.3g}} ({{share[at]:.3g}} times as much)",
            pytrace=False,
        )
'''


def pytest_file(pack: Pack) -> Iterator[tuple[str, bytes]]:
    """The files of the format: name and contents. The half precisions come in float32, which holds their values exactly."""
    narrow = pack.dtype in ("float16", "bfloat16")
    wide = "float32" if narrow else pack.dtype
    data = {one.name: stored(one.value, wide) for one in pack.arguments}
    lines = [f"    {one.name}: {data[one.name].dtype.name} {one.value.shape}, {one.source}" for one in pack.arguments]
    note = f"\nAll values are {pack.dtype}'s, in float32 arrays; the budget is {pack.dtype}'s.\n" if narrow else ""
    names = tuple(one.name for one in pack.arguments)
    text = TEST.format(name=pack.name, shape=pack.expected.shape, arguments="\n".join(lines), note=note, names=names)
    yield "test_op.py", text.encode()
    yield "op_data.npz", as_npz(data | {"expected": pack.expected, "budget": pack.budget})
