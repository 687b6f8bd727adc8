"""The product on the CPU's kernels, C = activation(A·B + bias) + residual: within the bound of its sums, at every edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import NUMBA, runnable

from albert_np.backends.cpu.ops import CpuOps
from albert_np.golden.tolerances import gamma
from albert_np.kernels.cpu.layout import CHUNK, PACKED, Element, padded
from albert_np.kernels.cpu.names import ACTIVATION_CODES
from albert_np.kernels.cpu.operands import add_gemm, pack, padded_vector, rows_of
from albert_np.kernels.cpu.program import Program

DEPTHS = [1, 2, 127, 128, 129, 255, 256, 257, 600]
ROWS = [1, 3, 4, 5, 8, 13, 129]
COLUMNS = [1, 2, 3, 16, 17, 47, 48, 49, 100]


@pytest.fixture(autouse=True, scope="module")
def _kernels():
    runnable(NUMBA)


def draw(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def product(a, b, *, onto=None, bias=None, residual=None, activation="none"):  # (M,K), (K,N) -> (M,N)
    """The kernel's C, which must not touch a row beyond M nor a column beyond the padding. onto: C += A·B."""
    (M, _), N = a.shape, b.shape[1]
    room = rows_of(M + 2, padded(N) + 16)
    room[:] = 7
    c = room[1 : M + 1]
    if onto is not None:
        c[:, :N] = onto
    program = Program("inference" if a.strides[1] == 4 else "training")
    add_gemm(
        program,
        a,
        pack(b),
        c,
        M,
        bias=None if bias is None else padded_vector(bias),
        residual=residual,
        activation=ACTIVATION_CODES[activation],
        add=onto is not None,
    )
    program.run()
    assert np.all(room[[0, M + 1]] == 7)
    assert np.all(c[:, padded(N) : padded(N) + 16] == 7)
    return c[:, :N].copy()


def bound(a, b, more=0):
    """|error| of each number at most: k in chains of CHUNK products, a rounding each or two, and the chains' sums."""
    K = a.shape[1]
    sizes = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    return gamma(min(K, CHUNK) + 1 + -(-K // CHUNK) + more, np.float32) * sizes


@pytest.mark.parametrize("K", DEPTHS)
def test_each_number_is_within_the_bound_of_its_sum(K):
    for i, (M, N) in enumerate((M, N) for M in ROWS for N in COLUMNS):
        a, b = draw(M, K, seed=i), draw(K, N, seed=i + 1)
        error = np.abs(product(a, b) - a.astype(np.float64) @ b)
        assert np.all(error <= bound(a, b)), (M, N)


@pytest.mark.parametrize(("M", "K", "N"), [(1, 1, 1), (3, 17, 2), (128, 256, 48), (129, 257, 49), (300, 520, 210)])
def test_whole_numbers_are_exact(M, K, N):
    random = np.random.default_rng(0)
    a, b = (random.integers(-64, 65, shape).astype(np.float32) for shape in ((M, K), (K, N)))
    assert np.array_equal(product(a, b), a.astype(np.float64) @ b)


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e15, 1e30])
def test_large_and_tiny_numbers(scale):
    """To the edges of float32: what is subnormal is rounded to a multiple of the smallest number, at each step."""
    a, b = draw(5, 300, scale=scale), draw(300, 17, seed=1)
    error = np.abs(product(a, b) - a.astype(np.float64) @ b)
    assert np.all(error <= bound(a, b) + 300 * np.finfo(np.float32).smallest_subnormal)


def test_sums_beyond_float32_are_infinite():
    a, b = np.full((5, 300), 1e38, np.float32), np.ones((300, 17), np.float32)
    assert np.all(product(a, b) == np.inf)
    assert np.all(product(-a, b) == -np.inf)


# --- where the operands lie ------------------------------------------------------------------------------------------


def views(x):
    """The same numbers, otherwise in memory."""
    room = np.full([2 * n for n in x.shape], np.nan, np.float32)
    backwards = room[::-2, ::-2]
    backwards[...] = x
    wide = np.full((x.shape[0], x.shape[1] + 9), np.nan, np.float32)
    wide[:, 4:-5] = x
    return {"transposed": np.asfortranarray(x), "backwards": backwards, "part of wider rows": wide[:, 4:-5]}


@pytest.mark.parametrize("which", ["transposed", "backwards", "part of wider rows"])
@pytest.mark.parametrize("K", [1, 7, 257])
def test_operands_of_any_strides_give_the_same_bits(K, which):
    a, b = draw(13, K), draw(K, 49, seed=1)
    expected = product(a, b)
    assert np.array_equal(product(views(a)[which], b), expected)
    assert np.array_equal(product(a, views(b)[which]), expected)


def test_a_transposed_view_as_a():
    x, b = draw(257, 13), draw(257, 49, seed=1)
    assert np.array_equal(product(x.T, b), product(np.ascontiguousarray(x.T), b))


def test_a_residual_of_any_rows():
    a, b, wide = draw(13, 20), draw(20, 49, seed=1), draw(13, 80, seed=2)
    with_room = wide[:, 3:]
    assert np.array_equal(product(a, b, residual=with_room), product(a, b) + with_room[:, :49])


def test_what_is_packed_is_a_copy():
    b = draw(20, 17)
    packed, before = pack(b), b.copy()
    b[:] = 0
    c, program = rows_of(20, 17), Program()
    add_gemm(program, np.eye(20, dtype=np.float32), packed, c, 20)
    program.run()
    assert np.array_equal(c[:, :17], before)


def test_panels_say_what_their_numbers_are():
    packed = pack(draw(20, 17))
    assert packed.element == PACKED
    assert packed.panels.dtype == PACKED.dtype
    assert packed.panels.itemsize == PACKED.bytes
    bytes_alone = replace(packed, element=Element("bfloat16", "uint16", 2))
    with pytest.raises(AssertionError, match="panels of float32, not of bfloat16"):
        add_gemm(Program(), draw(3, 20), bytes_alone, rows_of(3, 17), 3)


# --- what follows the sum --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATION_CODES)
@pytest.mark.parametrize(("M", "K", "N"), [(1, 1, 1), (5, 70, 17), (131, 257, 100)])
def test_bias_activation_and_residual_have_the_bits_of_the_steps_taken_alone(M, K, N, activation):
    a, b, bias = draw(M, K), draw(K, N, seed=1, scale=K**-0.5), draw(N, seed=2)
    residual = draw(M, padded(N), seed=3)
    biased = product(a, b) + bias
    activated = biased if activation == "none" else CpuOps().activation(biased, activation)
    assert np.array_equal(product(a, b, bias=bias), biased)
    assert np.array_equal(product(a, b, bias=bias, activation=activation), activated)
    everything = product(a, b, bias=bias, activation=activation, residual=residual)
    assert np.array_equal(everything, activated + residual[:, :N])


@pytest.mark.parametrize("K", DEPTHS)
def test_a_product_may_be_added_to_what_is_there(K):
    for M, N in ((1, 1), (5, 17), (129, 100)):
        a, b, onto = draw(M, K), draw(K, N, seed=1), draw(M, N, seed=2, scale=10)
        result = product(a, b, onto=onto)
        truth = onto + a.astype(np.float64) @ b
        chunks = -(-K // CHUNK)
        assert np.all(np.abs(result - truth) <= bound(a, b, more=1) + gamma(chunks, np.float32) * np.abs(onto))
        if K <= CHUNK:
            assert np.array_equal(result, onto + product(a, b))


# --- what does not matter --------------------------------------------------------------------------------------------

A, B = draw(140, 300), draw(300, 120, seed=1)


@st.composite
def parts(draw):
    """Some rows of A and some columns of B, and how much of k."""
    depth = draw(st.sampled_from([1, 3, 4, 127, 128, 129, 255, 256, 257, 300]))
    first_row, first_column = draw(st.integers(0, 139)), draw(st.integers(0, 119))
    rows = slice(first_row, draw(st.integers(first_row + 1, 140)))
    columns = slice(first_column, draw(st.integers(first_column + 1, 120)))
    return depth, rows, columns


@settings(deadline=None)
@given(parts())
def test_a_number_has_the_same_bits_whatever_rows_and_columns_stand_around_it(part):
    depth, rows, columns = part
    a, b = A[:, :depth], B[:depth]
    assert np.array_equal(product(a[rows], b[:, columns]), product(a, b)[rows, columns])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("K", [5, 257])
def test_nan_and_infinity_stay_in_their_row_and_column(K, bad):
    a, b = draw(13, K), draw(K, 49, seed=1)
    expected = product(a, b)
    spoilt_a, spoilt_b = a.copy(), b.copy()
    spoilt_a[6, K // 2] = spoilt_b[K // 2, 20] = bad
    with np.errstate(invalid="ignore"):
        for x, y, rows, columns in ((spoilt_a, b, [6], range(49)), (a, spoilt_b, range(13), [20])):
            result, truth = product(x, y), x.astype(np.float64) @ y
            there = np.zeros(result.shape, bool)
            there[np.ix_(rows, columns)] = True
            assert np.array_equal(result[~there], expected[~there])
            assert np.array_equal(result[there], truth[there].astype(np.float32), equal_nan=True)
        zero = np.zeros_like(a)
        assert np.array_equal(np.isnan(product(zero, spoilt_b)), np.isnan(zero @ spoilt_b))  # 0·∞ is NaN


def test_no_rows_are_no_work():
    assert product(draw(0, 20), draw(20, 17)).shape == (0, 17)
