"""The matmul on its kernels, and what it is held against."""

import numpy as np

from albert_np import ops
from albert_np.golden.stochastic import draws
from albert_np.golden.tolerances import DRAWS, MODEL_DRAWS, assert_float32_rule
from albert_np.kernels.cuda import matmul as kernels
from albert_np.kernels.cuda.kernel import ceil_div
from albert_np.kernels.cuda.run import get, put, run, unwritten
from support.cuda import floats

TILES = {"large": kernels.LARGE, "medium": kernels.MEDIUM, "small": kernels.SMALL}


def operands(M, N, K, seed=0):
    rng = np.random.default_rng(seed)
    return floats(rng, M, K), floats(rng, K, N) / np.float32(np.sqrt(K)), floats(rng, N), floats(rng, M, N)


def padded(x):
    """Rows, or a vector, filled up with zeros to a multiple of four numbers."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % 4)])


def multiply(tile, a, b, bias, residual=None, activation="none", *, split=False, a_row=None):
    """On the kernels, as albert_np/backends/cuda/program.py launches them. a_row: rows of A this far apart, NaN in between."""
    (M, K), N = a.shape, b.shape[1]
    a_row = K if a_row is None else a_row
    apart = np.full((M, a_row), np.nan, np.float32)
    apart[:, :K] = a
    vector = K % 4 == 0 and a_row % 4 == 0
    x, y = tile.blocks_of(M, N)
    weight, bias, out = put(padded(b)), put(padded(bias)), unwritten(M, N)
    residual = None if residual is None else put(residual)
    if not split:
        kernel = kernels.matmul(tile, activation, residual is not None, vector=vector)
        run(kernel, (x, y), put(apart), a_row, weight, weight.shape[1], bias, residual, N, out, N, M, N, K)
        return get(out)
    chunks, row = ceil_div(K, kernels.CHUNK), ceil_div(N, 4) * 4
    sums = unwritten(chunks, M, row)
    kernel = kernels.matmul(tile, vector=vector, split=True)
    run(kernel, (x, y, chunks), put(apart), a_row, weight, weight.shape[1], bias, None, 0, sums, row, M, N, K)
    kernel = kernels.add_chunks(activation, residual is not None)
    run(kernel, (ceil_div(M * row // 4, kernels.ADDED),), sums, row, chunks, bias, residual, N, out, N, M, N)
    return get(out)


def check(actual, a, b, bias, residual=None, activation="none"):
    def function(a, b, bias, *residual):
        x = a @ b + bias
        x = x if activation == "none" else ops.activation(x, activation)
        return x + residual[0] if residual else x

    given = (a, b, bias) if residual is None else (a, b, bias, residual)
    count = DRAWS if actual.size < 100_000 else MODEL_DRAWS  # so many numbers are as wrong in each draw
    truth = function(*(x.astype(np.float64) for x in given))
    assert_float32_rule("matmul", actual, draws(function, *given, count=count), truth)
