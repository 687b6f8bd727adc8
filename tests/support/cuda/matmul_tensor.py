"""The matmul on tensor cores, and what it is held against."""

import numpy as np
from tolerances import tensor_matmul_limit

from albert_np import ops
from albert_np.backends.cuda.precision import bfloat16_of, float32_of, row_of, tf32_of
from albert_np.golden.stochastic import draws
from albert_np.golden.tolerances import MODEL_DRAWS, assert_close, assert_float32_rule
from albert_np.kernels.cuda import matmul_tensor as kernels
from albert_np.kernels.cuda import tensor_tiles as tiles
from albert_np.kernels.cuda.run import get, put, run, unwritten
from support.cuda import floats

KINDS = ("bfloat16", "tf32", "tf32x3")
NAN = {"bfloat16": np.uint16(0x7FC0), "tf32": np.float32(np.nan), "tf32x3": np.float32(np.nan)}


def operands(M, N, K, seed=0):
    rng = np.random.default_rng(seed)
    return floats(rng, M, K), floats(rng, N, K) / np.float32(np.sqrt(K)), floats(rng, N), floats(rng, M, N)


def seen(kind, x):
    """The numbers that tensor cores multiply."""
    return {"bfloat16": lambda: float32_of(bfloat16_of(x)), "tf32": lambda: tf32_of(x), "tf32x3": lambda: x}[kind]()


def apart(x, row, nothing):
    """Rows this far apart, with `nothing` in between, which nobody may read."""
    rows = np.full((len(x), row), nothing, x.dtype)
    rows[:, : x.shape[1]] = x
    return rows


def multiply(kind, tile, a, w, bias, residual=None, activation="none", *, rounded=False, a_row=None, module=kernels):
    """On the kernels, as albert_np/backends/cuda/program.py launches them."""
    (M, K), N = a.shape, len(w)
    a_row, out_row = row_of(kind, K) if a_row is None else a_row, row_of("bfloat16", N) if rounded else N
    ends = tiles.ends_of(kind, K, a_row * tiles.ITEM[kind] % 16 == 0)
    w, a = (bfloat16_of(w), bfloat16_of(a)) if kind == "bfloat16" else (w if kind == "tf32x3" else tf32_of(w), a)
    a, w = put(apart(a, a_row, NAN[kind])), put(apart(w, row_of(kind, K), NAN[kind]))
    out = put(np.full((M, out_row), 0x7FC0, np.uint16)) if rounded else unwritten(M, N)
    kernel = module.tensor_matmul(kind, tile, activation, residual is not None, rounded=rounded, ends=ends)
    bias, residual = put(np.pad(bias, (0, -N % 4))), None if residual is None else put(residual)
    run(kernel, tile.blocks_of(M, N), a, a_row, w, w.shape[1], bias, residual, N, out, out_row, M, N, K)
    return float32_of(get(out)[:, :N]) if rounded else get(out)


def check(actual, kind, a, w, bias, residual=None, activation="none", *, rounded=False):
    """Of what tensor cores are given, the sum is all but exact; with three products a sum, it is as good as float32's."""

    def function(a, w, bias, *residual):
        x = a @ w.T + bias
        x = x if activation == "none" else ops.activation(x, activation)
        return x + residual[0] if residual else x

    given = (seen(kind, a), seen(kind, w), bias) if residual is None else (seen(kind, a), seen(kind, w), bias, residual)
    truth = function(*(x.astype(np.float64) for x in given))
    if kind == "tf32x3":
        assert_float32_rule("matmul", actual, draws(function, *given, count=MODEL_DRAWS), truth)
        return
    size = float(np.max(np.abs(given[0]) @ np.abs(given[1]).T))
    added = sum(float(np.max(np.abs(x))) for x in given[2:])
    limit = tensor_matmul_limit(kind, a.shape[1], size, added, truth, rounded=rounded)
    assert_close("matmul", actual, truth, limit=limit, dtype=np.float32)
