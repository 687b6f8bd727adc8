"""The table of ops on the CPU's kernels, in awkward shapes and sizes: the float32 rule, and NaN where the reference has it.

What holds for every table stands in test_ops.py and test_ops_attention.py, activations in test_cpu_activations.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.backends import NUMBA

from albert_np import ops
from albert_np.golden.stochastic import draws
from albert_np.golden.tolerances import (
    MODEL_DRAWS,
    assert_close,
    assert_float32_rule,
    assert_float32_rule_in_the_mean,
    gamma,
)

pytestmark = pytest.mark.parametrize("backend", [NUMBA], ids=str, indirect=True)


@pytest.fixture
def table(backend):
    return backend.ops


def draw(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def wide(*arrays):
    return [x.astype(np.float64) if x.dtype == np.float32 else x for x in arrays]


# --- linear ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3, 129])
@pytest.mark.parametrize(
    ("n_in", "n_out"), [(1, 1), (1, 17), (5, 3), (70, 64), (255, 2), (257, 17), (600, 100), (64, 1), (3072, 24)]
)
def test_linear(table, rows, n_in, n_out):
    x, weight, bias = draw(rows, n_in), draw(n_out, n_in, seed=1, scale=n_in**-0.5), draw(n_out, seed=2)
    arguments = wide(x, weight, bias)
    sizes = ops.linear(*map(np.abs, arguments))  # of the products of each sum, and its bias
    result = table.linear(x, weight, bias)
    assert np.all(np.abs(result - ops.linear(*arguments)) <= gamma(n_in + 2, np.float32) * sizes)
    assert_float32_rule("linear", result, draws(ops.linear, x, weight, bias), ops.linear(*arguments))


def test_linear_with_the_same_weights_again_and_with_others(table):
    """Panels are packed once for each weight, and found again by it alone."""
    x = draw(5, 20)
    weights = [(draw(9, 20, seed=seed), draw(9, seed=seed + 50)) for seed in range(8)]
    first = [table.linear(x, *pair) for pair in weights]
    again = [table.linear(x, *pair) for pair in weights]
    crossed = table.linear(x, weights[0][0], weights[1][1])
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for result, pair in zip(first, weights, strict=True):
        assert_close("linear", result, ops.linear(*wide(x, *pair)), limit=gamma(100, np.float32), dtype=np.float32)
    assert_close("crossed", crossed - weights[1][1], first[0] - weights[0][1], limit=gamma(100, np.float32))


# --- layer_norm ------------------------------------------------------------------------------------------------------

WIDTHS = [1, 2, 3, 5, 15, 16, 17, 31, 64, 70, 100, 768]


@pytest.mark.parametrize("eps", [1e-12, 1e-5])
@pytest.mark.parametrize("rows", [1, 3, 8, 9])
@pytest.mark.parametrize("H", WIDTHS)
def test_layer_norm(table, rows, H, eps):
    x, weight, bias = draw(rows, H), draw(H, seed=1), draw(H, seed=2)
    truth = ops.layer_norm(*wide(x, weight, bias), eps)
    limit = 2 * gamma(2 * (H + 4), np.float32) + gamma(1, np.float32)  # as in test_ops_attention.py
    assert_close("layer_norm", table.layer_norm(x, weight, bias, eps), truth, limit=limit, dtype=np.float32)


@pytest.mark.parametrize("offset", [0, 3, 100, -1e4])
@pytest.mark.parametrize("scale", [1e-15, 1e-4, 1, 1e4, 1e15])
@pytest.mark.parametrize("H", [5, 64, 100, 768])
def test_layer_norm_of_many_rows_keeps_the_float32_rule(table, H, scale, offset):
    x = draw(129, H) * np.float32(scale) + np.float32(offset * scale)
    weight, bias = draw(H, seed=1), draw(H, seed=2)
    eps = 1e-5 if scale == 1 else 1e-37
    truth = ops.layer_norm(*wide(x, weight, bias), eps)
    drawn = draws(partial(ops.layer_norm, eps=eps), x, weight, bias)
    assert_float32_rule("layer_norm", table.layer_norm(x, weight, bias, eps), drawn, truth)


# --- attention -------------------------------------------------------------------------------------------------------

# sequences, heads, tokens, numbers a head: one and odd ones, more keys and deeper heads than a block of the product
SHAPES = [
    (1, 1, 1, 1),
    (2, 1, 2, 1),
    (2, 3, 3, 5),
    (1, 2, 17, 8),
    (3, 2, 33, 5),
    (1, 1, 100, 64),
    (2, 2, 40, 70),
    (1, 1, 129, 3),
    (1, 1, 300, 4),
    (1, 1, 7, 260),
    (1, 12, 16, 64),
]
MASKS = {
    "none": lambda rng, B, T: np.ones((B, 1, 1, T), bool),
    "keys": lambda rng, B, T: (rng.random((B, 1, 1, T)) < 0.5) | (np.arange(T) == 0),
    "pairs": lambda rng, B, T: rng.random((B, 1, T, T)) < 0.5,
}


def attended(table, shape, mask, kind="absolute", scale=1.0, seed=0):
    """Scores, probs and context by name: the table's, draws and the truth."""
    B, N, T, D = shape
    q, k, v = (draw(B, T, N * D, seed=4 * seed + i, scale=scale if i < 2 else 1) for i in range(3))
    distances = draw(2 * (T + 3) - 1, D, seed=4 * seed + 3, scale=scale)
    how = ops.Attending(MASKS[mask](np.random.default_rng(seed), B, T), N, position_type=kind)

    def function(table, q, k, v, distances):
        return table.attention(q, k, v, replace(how, distance_table=distances))

    actual, truth = function(table, q, k, v, distances), function(ops, *wide(q, k, v, distances))
    drawn = zip(*draws(partial(function, ops), q, k, v, distances, count=MODEL_DRAWS), strict=True)
    return dict(zip(("context", "scores", "probs"), zip(actual, drawn, truth, strict=True), strict=True))


@pytest.mark.parametrize("kind", ["absolute", "relative_key", "relative_key_query"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_attention_keeps_the_float32_rule(table, shape, kind):
    B, N, T, _ = shape
    seeds = max(3, 64 // (B * N * T * T))  # of few scores there must be many
    cases = {(mask, seed): attended(table, shape, mask, kind, seed=seed) for mask in MASKS for seed in range(seeds)}
    for name in ("scores", "probs", "context"):
        assert_float32_rule_in_the_mean(name, {case: arrays[name] for case, arrays in cases.items()})


@pytest.mark.parametrize("scale", [1e-15, 1e-3, 5, 30, 1e4])
def test_attention_with_scores_of_any_size(table, scale):
    """From all keys alike to a single one."""
    cases = [attended(table, (2, 2, 40, 16), "keys", scale=scale, seed=seed) for seed in range(8)]
    for name in ("scores", "probs", "context"):
        assert_float32_rule_in_the_mean(name, {seed: arrays[name] for seed, arrays in enumerate(cases)})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("where", ["query", "key", "value", "query and key"])
def test_nan_and_infinity_go_where_they_go_in_the_reference(table, where, bad):
    """Where a token may be seen; what a mask leaves out plays no part here, NaN or not."""
    q, k, v = (draw(2, 20, 12, seed=seed) for seed in range(3))
    for name, x in (("query", q), ("key", k), ("value", v)):
        if name in where:
            x[1, 7, 5] = bad
    how = ops.Attending(np.ones((2, 1, 1, 20), bool), 3)
    with np.errstate(all="ignore"):
        expected = ops.attention(q, k, v, how)
    for name, x, y in zip(("context", "scores", "probs"), table.attention(q, k, v, how), expected, strict=True):
        assert np.array_equal(np.isnan(x), np.isnan(y)), name
        numbers = ~np.isnan(y)
        assert_close(name, x[numbers], y[numbers], limit=gamma(60, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_in_their_row(table, bad):
    x, weight, bias = draw(9, 20), draw(7, 20, seed=1), draw(7, seed=2)
    gain, shift = draw(20, seed=3), draw(20, seed=4)
    others = np.arange(9) != 4
    for op in (
        lambda table, x: table.linear(x, weight, bias),
        lambda table, x: table.layer_norm(x, gain, shift, 1e-12),
        lambda table, x: table.activation(x, "gelu_new"),
        lambda table, x: table.tanh(x),
    ):
        spoilt = x.copy()
        spoilt[4, 3] = bad
        result = op(table, spoilt)
        assert np.array_equal(result[others], op(table, x)[others])
        with np.errstate(all="ignore"):
            expected = op(ops, spoilt)[4]
        assert np.array_equal(np.isnan(result[4]), np.isnan(expected))
        numbers = ~np.isnan(expected)
        if numbers.any():
            assert_close("the rest", result[4][numbers], expected[numbers], limit=gamma(60, np.float32))


@pytest.mark.parametrize("shape", [(1,), (17,), (3, 1), (2, 3, 5), (2, 1, 4, 33)])
def test_elementwise_ops_take_any_number_of_axes(table, shape):
    x = draw(*shape)
    for name in ("gelu_new", "gelu", "relu", "silu", "tanh"):
        assert_close(name, table.activation(x, name), ops.activation(x, name), limit=gamma(16, np.float32))
    assert np.array_equal(table.tanh(x), table.activation(x, "tanh"))
