"""The products that notebook 11 climbs: each is right, and says truly which ones have the same bits."""

import importlib.util
import sys

import numpy as np
import pytest
from support import ROOT
from support.backends import NUMBA, runnable

from albert_np.kernels.cpu.simd import chosen_level


@pytest.fixture(scope="module")
def rungs():
    """notebooks/support/gemm_rungs.py, by its path: its folder has the name of the tests' own helpers."""
    runnable(NUMBA)
    specification = importlib.util.spec_from_file_location(
        "gemm_rungs", ROOT / "notebooks" / "support" / "gemm_rungs.py"
    )
    module = importlib.util.module_from_spec(specification)
    sys.modules["gemm_rungs"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["gemm_rungs"]


def test_each_rung_is_within_the_bound_of_its_sums(rungs):
    for M, K, N in ((12, 1, 48), (24, 150, 96)):
        a, b = rungs.operands(M, K, N)
        truth, sizes = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
        for rung in rungs.rungs():
            error = np.abs(rungs.product(rung, a, b) - truth)
            assert np.all(error <= (K + 1) * 2.0**-24 * sizes), rung.name
        assert np.any(rungs.product(rungs.rungs()[1], a, b) != truth) or K == 1  # the bound is not met by chance


def test_loops_in_another_order_have_the_same_bits_and_multiply_adds_other_ones(rungs):
    a, b = rungs.operands(12, 150, 48)
    loops, blocks = rungs.rungs()[:4], rungs.rungs()[4:6]
    first = rungs.product(loops[0], a, b)
    for rung in loops:
        assert np.array_equal(rungs.product(rung, a, b), first), rung.name
    assert np.array_equal(*(rungs.product(rung, a, b) for rung in blocks))
    assert (
        np.array_equal(rungs.product(blocks[0], a, b), first) != chosen_level().fma
    )  # without it, two roundings there too


def test_what_a_rung_moves_is_counted_as_its_loop_has_it(rungs):
    moved = {rung.name: rung.bytes for rung in rungs.rungs()}
    assert moved["compiled"] == 4 + 4  # a number of A and one of B
    assert moved["row by row"] == 4 + 4 + 4  # B, and C forth and back
    assert moved["four rows at once"] == (4 + 4 * 8) / 4
    assert moved["B in panels"] == (64 + 6 * 4) / (6 * 16)


def test_operands_that_no_rung_computes_are_refused(rungs):
    with pytest.raises(AssertionError, match="multiple of 12"):
        rungs.product(rungs.rungs()[0], *rungs.operands(11, 3, 48))
