"""LayerNorm, softmax, activations and the embedding against float64, in every layout that a row can have."""

import numpy as np
import pytest
from support.cuda import floats
from tolerances import LEFT_TAIL_FLOAT32

from albert_np import ops
from albert_np.golden.stochastic import draws
from albert_np.golden.tolerances import assert_float32_rule
from albert_np.kernels.cuda import activations, embeddings, layer_norm, softmax
from albert_np.kernels.cuda.kernel import ceil_div
from albert_np.kernels.cuda.rows import row_of
from albert_np.kernels.cuda.run import get, put, run, unwritten

EPS = 1e-12


def both(function, *arrays):
    """In float64, and the draws of it."""
    return function(*(x.astype(np.float64) for x in arrays)), draws(function, *arrays)


# a lane's groups: one, some of them empty; whole; single numbers; two warps a row, and more, ragged and whole
@pytest.mark.parametrize("H", [1, 7, 24, 128, 130, 768, 1040, 2048, 1031])
@pytest.mark.parametrize("rows", [1, 5])
def test_layer_norm(H, rows, schedule):
    rng = np.random.default_rng(H)
    x, weight, bias = 3 * floats(rng, rows, H) + 2, floats(rng, H), floats(rng, H)
    grid = (ceil_div(rows, row_of(H).rows_a_block),)
    out = unwritten(rows, H)
    run(layer_norm.layer_norm(H), grid, put(x), put(weight), put(bias), out, rows, EPS)
    truth, drawn = both(lambda *a: ops.layer_norm(*a, EPS), x, weight, bias)
    assert_float32_rule("layer_norm", get(out), drawn, truth)


def test_naive_layer_norm():
    rng = np.random.default_rng(0)
    x, weight, bias, out = 3 * floats(rng, 5, 24), floats(rng, 24), floats(rng, 24), unwritten(5, 24)
    run(layer_norm.naive_layer_norm, (1,), put(x), put(weight), put(bias), out, 5, 24, EPS)
    truth, drawn = both(lambda *a: ops.layer_norm(*a, EPS), x, weight, bias)
    assert_float32_rule("layer_norm", get(out), drawn, truth)


def masks(rng, B, T):
    """By kind: who may be seen, with a sequence, or a query, that sees nothing."""
    keys, pairs = rng.random((B, T)) < 0.7, rng.random((B, T, T)) < 0.7
    keys[-1], pairs[0, 1 % T] = False, False
    return {"keys": keys, "pairs": pairs}


@pytest.mark.parametrize("mask", ["keys", "pairs"])
@pytest.mark.parametrize("T", [1, 4, 13, 128, 200])
@pytest.mark.parametrize("mode", ["uniform", "zeros", "nan"])
def test_softmax(mask, T, mode, monkeypatch):
    B, N = 2, 2
    rng = np.random.default_rng(T)
    scores, allowed, head_mask = floats(rng, B, N, T, T, scale=3), masks(rng, B, T)[mask], floats(rng, N)
    broadcast = allowed[:, None, None] if mask == "keys" else allowed[:, None]

    def function(scores, head_mask):
        return ops.masked_softmax(scores, broadcast, mode) * head_mask[:, None, None]

    truth, drawn = both(function, scores, head_mask)
    rows, code = min(B * N * T, 9 if T > 20 else 999), {"uniform": 0, "zeros": 1, "nan": 2}[mode]
    truth, *drawn = (x.reshape(-1, T)[:rows] for x in (truth, *drawn))  # few are enough where they are long
    numbers = ~np.isnan(truth)
    for longest in (softmax.LONGEST, 0):  # in registers, and read three times
        monkeypatch.setattr(softmax, "LONGEST", longest)
        out, grid = unwritten(rows, T), (ceil_div(rows, softmax.ROWS),)
        kernel = softmax.softmax(T, mask, True)
        assert kernel.name == ("softmax" if longest else "long_softmax")
        run(kernel, grid, put(scores), put(allowed, np.uint8), put(head_mask), out, rows, N, T, code)
        actual = get(out)
        assert np.array_equal(np.isnan(actual), ~numbers)
        if numbers.any():
            assert_float32_rule("softmax", actual[numbers], [x[numbers] for x in drawn], truth[numbers])


def test_naive_softmax():
    rng = np.random.default_rng(0)
    scores, allowed, out = floats(rng, 2, 3, 5, 5), masks(rng, 2, 5)["keys"], unwritten(2, 3, 5, 5)
    run(softmax.naive_softmax, (1,), put(scores), put(allowed, np.uint8), out, 30, 3, 5)
    truth, drawn = both(lambda x: ops.masked_softmax(x, allowed[:, None, None]), scores)
    assert_float32_rule("softmax", get(out), drawn, truth)


def test_softmax_of_nan_is_nan_and_of_large_numbers_is_finite():
    scores = np.array([[[[300, 310, -3e38, 0], [1, 2, np.nan, 3]]]], np.float32)
    out = unwritten(1, 1, 2, 4)
    run(softmax.softmax(4, "keys", False), (1,), put(scores), put([[1, 1, 1, 1]], np.uint8), None, out, 2, 1, 4, 0)
    actual = get(out)[0, 0]
    assert np.all(np.isnan(actual[1]))
    truth, drawn = both(ops.softmax, scores[0, 0, 0])
    assert_float32_rule("softmax", actual[0], drawn, truth)


@pytest.mark.parametrize("name", ["gelu_new", "gelu", "relu", "silu", "tanh"])
def test_activations(name, schedule):
    x = np.linspace(-9, 9, 1027).astype(np.float32)

    def activated(x):
        out = unwritten(*x.shape)
        run(activations.activate(name), (ceil_div(len(x), 4 * activations.THREADS),), put(x), out, len(x))
        return get(out)

    whole = activated(x)
    truth, drawn = both(lambda x: ops.activation(x, name), x)
    assert_float32_rule(name, whole, drawn, truth)
    for n in (1, 6):
        assert np.array_equal(activated(x[470 : 470 + n]), whole[470 : 470 + n])


@pytest.mark.parametrize("name", ["gelu_new", "gelu", "silu"])
def test_the_left_tail_keeps_its_digits(name):
    """Relative to each value, not to the largest: 0.5·x·(1 + tanh u) has none left at −6."""
    x, out = np.linspace(-8, -1, 57).astype(np.float32), unwritten(57)
    run(activations.activate(name), (1,), put(x), out, 57)
    truth = ops.activation(x.astype(np.float64), name)
    assert np.max(np.abs(get(out) / truth - 1)) < LEFT_TAIL_FLOAT32
    if name == "gelu_new":
        run(activations.naive_gelu_new, (1,), put(x), out, 57)
        assert np.max(np.abs(get(out) / truth - 1)) > 0.5


def test_nan_stays_nan():
    for name in ("gelu_new", "gelu", "relu", "silu", "tanh"):
        out = unwritten(4)
        run(activations.activate(name), (1,), put([0, np.nan, 1, -1], np.float32), out, 4)
        assert np.isnan(get(out)).tolist() == [False, True, False, False], name


@pytest.mark.parametrize(("gathered", "absolute"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("E", [12, 128, 130])
def test_embed(E, gathered, absolute, schedule):
    rng = np.random.default_rng(E)
    R, V, P = 6, 9, 11
    words, types, positions = floats(rng, V, E), floats(rng, 2, E), floats(rng, P, E)
    rows, weight, bias = floats(rng, R, E), floats(rng, E), floats(rng, E)
    ids, kinds, places = (rng.integers(0, n, R) for n in (V, 2, P))

    def function(words, types, positions, rows, weight, bias):
        x = (words[ids] if gathered else rows) + types[kinds]
        return ops.layer_norm(x + positions[places] if absolute else x, weight, bias, EPS)

    truth, drawn = both(function, words, types, positions, rows, weight, bias)
    arguments = [
        put(ids, np.int32) if gathered else None,
        put(words if gathered else rows),
        put(kinds, np.int32),
        put(types),
        put(places, np.int32),
        put(positions) if absolute else None,
        put(weight),
        put(bias),
    ]
    out, grid = unwritten(R, E), (ceil_div(R, row_of(E).rows_a_block),)
    run(embeddings.embed(E, gathered, absolute), grid, *arguments, out, R, EPS)
    assert_float32_rule("embed", get(out), drawn, truth)
    if gathered and absolute:
        out = unwritten(R, E)
        run(embeddings.naive_embed, (1,), *arguments, out, R, E, EPS)
        assert_float32_rule("naive", get(out), drawn, truth)


def test_rows_are_taken_and_spread():
    rng = np.random.default_rng(0)
    x, which = floats(rng, 5, 7), np.array([4, 0, 0, 3])
    out = unwritten(4, 7)
    run(embeddings.take_rows, (1,), put(x), 7, put(which, np.int32), out, 4, 7)
    assert np.array_equal(get(out), x[which])
    out, source = unwritten(6, 7), np.array([-1, 2, 0, -1, 4, -1])
    run(embeddings.spread_rows, (1,), put(x), put(source, np.int32), out, 6, 7)
    assert np.array_equal(get(out), np.where(source[:, None] < 0, 0, x[source]))
