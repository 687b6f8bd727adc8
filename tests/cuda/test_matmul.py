"""The matmul, step by step of its ladder, against float64: every tile, epilogue and edge; one result for all of them."""

import numpy as np
import pytest
from support.cuda.matmul import TILES, check, multiply, operands

from albert_np.kernels.cuda import matmul as kernels
from albert_np.kernels.cuda.costs import Cost, cycles
from albert_np.kernels.cuda.kernel import ceil_div
from albert_np.kernels.cuda.run import get, put, run, unwritten


@pytest.mark.parametrize("kernel", [kernels.naive_matmul, kernels.tiled_matmul], ids=["naive", "tiled"])
@pytest.mark.parametrize("size", [(16, 16, 16), (19, 21, 35), (1, 3, 2)])
def test_the_first_steps_of_the_ladder(kernel, size, schedule):
    M, N, K = size
    a, b, bias, _ = operands(*size)
    out = unwritten(M, N)
    run(kernel, (ceil_div(N, 16), ceil_div(M, 16)), put(a), put(b), put(bias), out, M, N, K)
    check(get(out), a, b, bias)


# one tile; ragged in every direction, rows of B padded; one row; single numbers of A; more than one chunk
SIZES = {
    "large": [(128, 128, 8), (130, 66, 20)],
    "medium": [(64, 64, 16), (70, 66, 20), (1, 2, 4), (3, 5, 7)],
    "small": [(32, 32, 16), (33, 34, 20), (1, 2, 4), (9, 3, 7), (5, 3, 264)],
}


@pytest.mark.parametrize(("tile", "size"), [(tile, size) for tile, sizes in SIZES.items() for size in sizes], ids=str)
def test_every_tile(tile, size, schedule):
    a, b, bias, _ = operands(*size)
    check(multiply(TILES[tile], a, b, bias), a, b, bias)


@pytest.mark.parametrize("activation", ["none", "gelu_new", "gelu", "relu", "silu", "tanh"])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("N", [32, 30])
def test_every_epilogue(activation, with_residual, N):
    a, b, bias, residual = operands(9, N, 12)
    residual = residual if with_residual else None
    for tile in ("small", "medium"):
        actual = multiply(TILES[tile], a, b, bias, residual, activation)
        check(actual, a, b, bias, residual, activation)
    assert np.array_equal(multiply(kernels.SMALL, a, b, bias, residual, activation, split=True), actual)


def test_rows_of_a_may_lie_apart(schedule):
    a, b, bias, _ = operands(6, 5, 8)
    expected = multiply(kernels.SMALL, a, b, bias)
    for a_row in (12, 13):
        assert np.array_equal(multiply(kernels.SMALL, a, b, bias, a_row=a_row), expected)


def test_one_result_whatever_the_tile_the_split_and_the_rows():
    """K of three chunks, the last one short."""
    a, b, bias, residual = operands(5, 6, 300)
    results = [multiply(kernels.SMALL, a, b, bias, residual, "tanh")]
    results.append(multiply(kernels.MEDIUM, a, b, bias, residual, "tanh"))
    results.append(multiply(kernels.SMALL, a, b, bias, residual, "tanh", split=True))
    results.append(multiply(kernels.SMALL, a, b, bias, residual, "tanh", a_row=301))
    assert all(np.array_equal(x, results[0]) for x in results)
    assert np.array_equal(multiply(kernels.SMALL, a[3:4], b, bias, residual[3:4], "tanh")[0], results[0][3])
    check(results[0], a, b, bias, residual, "tanh")


@pytest.mark.slow
def test_one_result_in_the_largest_tile_too():
    a, b, bias, residual = operands(5, 6, 300)
    assert np.array_equal(multiply(kernels.LARGE, a, b, bias, residual), multiply(kernels.SMALL, a, b, bias, residual))


def test_short_chunks_halve_the_error_of_long_sums():
    """The reason for a second set of sums: a chain of 1024 roundings against eight of 128."""
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 1024)).astype(np.float32), rng.random((1024, 4)).astype(np.float32)
    bias, truth, chain = np.zeros(4, np.float32), a.astype(np.float64) @ b, np.zeros((4, 4), np.float32)
    for k in range(1024):
        chain += a[:, k : k + 1] * b[k]
    actual = multiply(kernels.SMALL, a, b, bias)
    assert np.sqrt(np.mean((actual - truth) ** 2)) < 0.5 * np.sqrt(np.mean((chain - truth) ** 2))


def test_what_a_plan_costs():
    """Blocks that an SM has at once share their waiting; what does not fit waits for its turn."""
    cost = Cost(start=100, wait=10, each=3)
    assert cycles(cost, 132, 4, 20, 132) == 100 + 20 * (10 + 3)
    assert cycles(cost, 133, 4, 20, 132) == 100 + 20 * (10 + 2 * 3)
    assert cycles(cost, 9 * 132, 4, 20, 132) == 2 * (100 + 20 * (10 + 4 * 3)) + 100 + 20 * (10 + 3)


def test_the_plan_fills_the_gpu():
    """Few rows take small tiles, or split a long sum; many take the largest."""
    choices = {size: kernels.choose(*size, 132) for size in [(16, 768, 3072), (128, 2304, 768), (4096, 3072, 768)]}
    assert choices[16, 768, 3072][1]
    assert choices[4096, 3072, 768] == (kernels.LARGE, False)
    for (M, N, K), (tile, split) in choices.items():
        x, y = tile.blocks_of(M, N)
        assert x * y * (ceil_div(K, kernels.CHUNK) if split else 1) >= 132 * 0.4, (M, N, K, tile, split)
    assert kernels.choose(1, 1, 1, 1)[1] is False
