"""The matmul on tensor cores, against float64: every kind, tile, epilogue and edge; one result for all tiles and any rows."""

import numpy as np
import pytest
from support.backends import CUDA_TESTS
from support.cuda import floats
from support.cuda.matmul_tensor import KINDS, check, multiply, operands
from support.cuda.mistakes import differs, mutant, unchanged

from albert_np.backends.cuda.precision import bfloat16_of, float32_of, row_of, tf32_of
from albert_np.golden.stochastic import draws
from albert_np.golden.tolerances import assert_float32_rule
from albert_np.kernels.cuda import matmul_tensor as kernels
from albert_np.kernels.cuda import tensor_tiles as tiles
from albert_np.kernels.cuda.kernel import ceil_div
from albert_np.kernels.cuda.run import get, put, run, unwritten

ACTIVATIONS = ("none", "gelu_new", "gelu", "relu", "silu", "tanh")


def test_roundings():
    """bfloat16: halves to the even one; tf32: away from zero, as cvt.rna does."""
    x = np.float32([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8 + 2**-20), np.inf, 3.4e38, np.nan])
    assert float32_of(bfloat16_of(x))[:-1].tolist() == [1, 1 + 2**-6, -(1 + 2**-7), np.inf, np.inf]
    y = np.float32([1 + 2**-11, 1 + 2**-12, -(1 + 3 * 2**-11), np.inf, 1e-40, np.nan])
    assert tf32_of(y)[:-2].tolist() == [1 + 2**-10, 1, -(1 + 2**-9), np.inf]
    assert np.isnan([float32_of(bfloat16_of(x))[-1], tf32_of(y)[-1]]).all()


@pytest.mark.parametrize("kind", ["bfloat16", "tf32"])
@pytest.mark.parametrize("size", [(16, 8, 16), (19, 13, 35), (1, 3, 2)])
def test_the_naive_kernel(kind, size, schedule):
    M, N, K = size
    a, w, bias, _ = operands(*size)
    out = unwritten(M, N)
    given = (bfloat16_of(a), bfloat16_of(w)) if kind == "bfloat16" else (a, w)
    grid = (ceil_div(N, 8), ceil_div(M, 16))
    run(kernels.naive_tensor_matmul(kind), grid, *map(put, given), put(bias), out, M, N, K)
    check(get(out), kind, a, w, bias)


# ragged in both directions, two tiles of k; one whole tile, as deep as its stages or deeper; several; one row; 8 bytes of k
SIZES = {
    256: [(200, 100, 40)],
    128: [(100, 70, 40)],
    64: [(64, 64, 96), (70, 66, 20), (1, 2, 4)],
    32: [(32, 32, 256), (33, 34, 75), (1, 2, 4), (9, 3, 7)],
}
CASES = [(kind, tile, size) for kind in KINDS for tile in tiles.TILES[kind] for size in SIZES[tile.rows]]


@pytest.mark.parametrize(("kind", "tile", "size"), CASES, ids=lambda x: str(getattr(x, "rows", x)))
def test_every_tile(kind, tile, size):
    a, w, bias, _ = operands(*size)
    check(multiply(kind, tile, a, w, bias), kind, a, w, bias)


@pytest.mark.parametrize("kind", KINDS)
def test_no_order_of_threads_and_copies_changes_a_bit(kind, schedule):
    for tile, size in ((tiles.SMALL, (20, 34, 140)), (tiles.MEDIUM, (40, 50, 72))):
        a, w, bias, _ = operands(*size)
        check(multiply(kind, tile, a, w, bias), kind, a, w, bias)


@pytest.mark.parametrize(("kind", "activation"), [("tf32", "gelu_new"), *[("bfloat16", name) for name in ACTIVATIONS]])
@pytest.mark.parametrize("N", [32, 30])
def test_every_epilogue(kind, activation, N):
    a, w, bias, residual = operands(9, N, 12)
    for added in (None, residual):
        for rounded in (False, True) if kind == "bfloat16" else (False,):
            actual = multiply(kind, tiles.SMALL, a, w, bias, added, activation, rounded=rounded)
            check(actual, kind, a, w, bias, added, activation, rounded=rounded)


def test_what_is_rounded_is_the_same_number_rounded():
    a, w, bias, residual = operands(9, 30, 40)
    for added in (None, residual):
        whole, rounded = (
            multiply("bfloat16", tiles.SMALL, a, w, bias, added, "gelu_new", rounded=x) for x in (False, True)
        )
        assert np.array_equal(rounded, float32_of(bfloat16_of(whole)))


@pytest.mark.parametrize(("kind", "rows"), [("bfloat16", (48, 56)), ("tf32", (44, 41)), ("tf32x3", (44, 41))])
def test_rows_of_a_may_lie_apart(kind, rows, schedule):
    a, w, bias, _ = operands(6, 5, 40)
    expected = multiply(kind, tiles.SMALL, a, w, bias)
    for a_row in rows:
        assert np.array_equal(multiply(kind, tiles.SMALL, a, w, bias, a_row=a_row), expected)


@pytest.mark.parametrize(
    "kind", ["bfloat16", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("tf32", "tf32x3"))]
)
def test_one_result_whatever_the_tile_and_the_rows(kind):
    a, w, bias, residual = operands(7, 6, 70)
    expected = multiply(kind, tiles.SMALL, a, w, bias, residual, "tanh")
    for tile in tiles.TILES[kind][:-1]:
        assert np.array_equal(multiply(kind, tile, a, w, bias, residual, "tanh"), expected)
    alone = multiply(kind, tiles.SMALL, a[3:4], w, bias, residual[3:4], "tanh")
    assert np.array_equal(alone[0], expected[3])
    check(expected, kind, a, w, bias, residual, "tanh")


@pytest.mark.parametrize("K", [8, 64, 256, pytest.param(1024, marks=pytest.mark.slow)])
def test_three_products_are_as_good_as_float32(K):
    """And one is not: by the bits that tf32 leaves out. Numbers of one sign, whose sums are cut off all in one direction."""
    rng = np.random.default_rng(K)
    a, w, bias = rng.random((8, K)).astype(np.float32), rng.random((8, K)).astype(np.float32), np.zeros(8, np.float32)
    truth = a.astype(np.float64) @ w.T.astype(np.float64)
    actual = multiply("tf32x3", tiles.SMALL, a, w, bias)
    assert_float32_rule("tf32x3", actual, draws(lambda a, w: a @ w.T, a, w), truth)
    assert np.max(np.abs(multiply("tf32", tiles.SMALL, a, w, bias) / truth - 1)) > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_nan_and_infinity_come_through(kind):
    a, w, bias, _ = operands(4, 4, 24)
    a[1, 5], a[2, 6] = np.nan, np.inf
    actual = multiply(kind, tiles.SMALL, a, w, bias)
    assert np.isnan(actual[1]).all()
    assert not np.isfinite(actual[2]).any()
    assert np.isfinite(actual[[0, 3]]).all()


def test_rows_are_rounded(schedule):
    rng = np.random.default_rng(0)
    for rows, columns, x_row in ((3, 8, 8), (5, 7, 9), (2, 1, 1)):
        x, out_row = floats(rng, rows, x_row), row_of("bfloat16", columns)
        out = put(np.full((rows, out_row), 0x7FC0, np.uint16))
        grid = (ceil_div(rows * out_row, 4 * kernels.ROUNDED),)
        run(kernels.round_rows, grid, put(x), x_row, out, out_row, rows, columns)
        assert np.array_equal(get(out), bfloat16_of(np.pad(x[:, :columns], [(0, 0), (0, out_row - columns)])))


def test_the_plan_fills_the_gpu():
    """Few rows take small tiles, many large ones."""
    for kind in KINDS:
        many = tiles.choose(kind, 8192, 8192, 8192, 132)
        assert many.rows * many.columns >= 64 * 128
        assert tiles.choose(kind, 16, 768, 768, 132) == tiles.TILES[kind][-1]
        assert (
            kind == "tf32x3" or many == tiles.LARGE
        )  # the second cache holds no such operands: who fetches least wins
        tile = tiles.choose(kind, 512, 2304, 768, 132)
        x, y = tile.blocks_of(512, 2304)
        assert x * y >= 132 * 0.4


# --- mistakes that must show --------------------------------------------------------------------------------------------


MISTAKES = [
    ("            arrived()  # this", "            pass  # this"),
    ("            cuda.syncthreads()  # everybody", "            pass  # everybody"),
    ("        cuda.syncthreads()  # the last tile", "        pass  # the last tile"),
    ("        cuda.syncwarp()\n", "        pass\n"),
    ("        cuda.syncwarp()  # the next rows", "        pass  # the next rows"),
    ("wait_for_copies(STAGES - 2)", "wait_for_copies(STAGES - 1)"),
    ("u32((STAGES - 1) * STAGE)", "u32((STAGES - 2) * STAGE)"),
    ("lane % u32(16), lane // u32(16))", "lane % u32(8), lane // u32(16))"),
    ("lane // u32(8) % u32(2))", "lane // u32(16))"),
    ("u32(a_at ^ u32(8))", "u32(a_at + u32(8))"),
    ("if row < rows else u32(0)", "if True else u32(0)"),
    ("u32(min(u32(given.K - k), u32(EACH)) * u32(BYTES))", "u32(16)"),
]


def of_mistakes(module):
    tile = tiles.Tile(32, 32, 32, 16, 3, 1)  # two warps, and two turns through one's stretch of shared memory
    a, w, bias, _ = operands(30, 31, 108)  # four tiles of k: the last lies where the sums leave by
    return multiply("bfloat16", tile, a, w, bias, module=module)


@pytest.mark.parametrize(("old", "new"), MISTAKES)
def test_every_mistake_shows(old, new):
    if CUDA_TESTS != "simulator":
        pytest.skip("the simulator is what must notice")
    expected = unchanged(of_mistakes, kernels)
    if "last tile" in old:
        assert not differs(of_mistakes, kernels, expected)
    assert differs(of_mistakes, mutant(kernels, old, new), expected)


def test_eight_rows_of_a_column_touch_all_banks_once():
    if CUDA_TESTS != "simulator":
        pytest.skip("plain Python there")
    for chunk in range(4):
        for first in (0, 8, 24):
            places = [kernels.place(first + row, chunk) for row in range(8)]
            assert len({place % 32 // 4 for place in places}) == 8
            assert {place // 16 for place in places} == set(range(first, first + 8))
