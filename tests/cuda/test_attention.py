"""Attention, fused and over scores in memory, against float64: masks, lengths, head sizes, relative positions."""

import math
from functools import partial

import numpy as np
import pytest
from support.cuda import floats
from support.cuda.attention import allowed_of, fused, qkv

from albert_np import ops
from albert_np.backends.cuda.ops import CudaOps
from albert_np.golden.stochastic import draws
from albert_np.golden.tolerances import assert_close, assert_float32_rule, gamma
from albert_np.kernels.cuda import attention as kernels
from albert_np.kernels.cuda.run import get, put, run, unwritten


def references(q, k, v, N, allowed, mode="uniform", factors=None):
    """In float64, and the draws of it."""
    given = (q, k, v) if factors is None else (q, k, v, factors)

    def function(q, k, v, factors=None):
        return ops.attention(q, k, v, ops.Attending(allowed, N, mask_mode=mode, head_mask=factors))[0]

    return function(*(x.astype(np.float64) for x in given)), draws(function, *given)


# less than a tile, one, and several; a head as wide as its kernel, narrower, of single numbers; one key more than a tile
@pytest.mark.parametrize("size", [(1, 1, 8), (2, 7, 32), (1, 33, 64), (1, 40, 24), (1, 20, 128), (2, 5, 10)], ids=str)
def test_without_a_mask(size, schedule):
    B, T, D = size
    N = 2 if T < 20 else 1
    q, k, v = qkv(B, T, N, D)
    truth, drawn = references(q, k, v, N, np.ones((B, 1, 1, T), bool))
    assert_float32_rule("attention", fused(q, k, v, N), drawn, truth)


@pytest.mark.parametrize("mask", ["keys", "pairs"])
@pytest.mark.parametrize("mode", ops.MASK_MODES)
@pytest.mark.parametrize("D", [32, 6])
def test_masks(mask, mode, D):
    B, T, N = 2, 35, 1
    rng = np.random.default_rng(1)
    (q, k, v), allowed, factors = qkv(B, T, N, D), allowed_of(rng, B, T, mask), floats(rng, N)
    broadcast = allowed[:, None, None] if mask == "keys" else allowed[:, None]
    truth, drawn = references(q, k, v, N, broadcast, mode, factors)
    actual, numbers = fused(q, k, v, N, mask, allowed, mode, factors), ~np.isnan(truth)
    assert np.array_equal(np.isnan(actual), ~numbers)
    assert_float32_rule("attention", actual[numbers], [x[numbers] for x in drawn], truth[numbers])


def test_padding_changes_no_bit(schedule):
    q, k, v = qkv(1, 40, 1, 32)
    alone = fused(q[:, :33], k[:, :33], v[:, :33], 1)
    padded = fused(q, k, v, 1, "keys", np.arange(40)[None] < 33)
    assert np.array_equal(padded[:, :33], alone)


def test_sequences_end_to_end():
    """33 + 4 + 3 rows of three sequences."""
    q, k, v = qkv(1, 40, 2, 8)
    actual, first = fused(q, k, v, 2, lengths=[33, 4, 3])[0], 0
    for length in (33, 4, 3):
        part = [x[:, first : first + length] for x in (q, k, v)]
        assert np.array_equal(actual[first : first + length], fused(*part, 2)[0])
        first += length


def test_naive_attention():
    B, T, N, D = 2, 5, 2, 4
    (q, k, v), out = qkv(B, T, N, D), unwritten(B, T, N * D)
    allowed = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)
    run(
        kernels.naive_attention, (1,), put(q), put(k), put(v), put(allowed, np.uint8), out, B, N, T, D, 1 / math.sqrt(D)
    )
    truth, drawn = references(q, k, v, N, allowed[:, None, None])
    assert_float32_rule("attention", get(out), drawn, truth)


def test_scores_far_apart_do_not_overflow():
    q, k, v = qkv(1, 40, 1, 32)
    q *= 30
    truth, _ = references(q, k, v, 1, np.ones((1, 1, 1, 40), bool))
    # a score is a sum of 32 products and a few roundings more; its error is one of the exponent, for two of them
    score = gamma(40, np.float32) * np.max(np.abs(q[0]) @ np.abs(k[0]).T) / math.sqrt(32)
    assert_close("attention", fused(q, k, v, 1), truth, limit=2 * score, dtype=np.float32)


@pytest.mark.parametrize("position_type", ["absolute", "relative_key", "relative_key_query"])
@pytest.mark.parametrize("size", [(2, 1, 3), (2, 9, 8), (1, 18, 130)], ids=str)
@pytest.mark.parametrize("mask", ["keys", "pairs"])
def test_over_scores_in_memory(position_type, size, mask):
    B, T, D = size
    N, P = 2, 20
    rng = np.random.default_rng(2)
    q, k, v = qkv(B, T, N, D)
    allowed = rng.random((B, 1, 1 if mask == "keys" else T, T)) < 0.7
    allowed[0, 0, 0] = False
    table, head_mask = floats(rng, 2 * P - 1, D) / np.float32(D), floats(rng, N)
    positions = np.sort(rng.choice(P, T, replace=False))
    options = {"mask_mode": "uniform", "position_type": position_type, "positions": positions}

    def function(table_of_ops, *arrays):
        q, k, v, head_mask, table = arrays
        how = ops.Attending(allowed, N, head_mask=head_mask, distance_table=table, **options)
        return table_of_ops.attention(q, k, v, how)

    given = (q, k, v, head_mask, table)
    actual, drawn = function(CudaOps(), *given), draws(partial(function, ops), *given)
    truth = function(ops, *(x.astype(np.float64) for x in given))
    for name, *triple in zip(("context", "scores", "probs"), actual, zip(*drawn, strict=True), truth, strict=True):
        assert_float32_rule(name, *triple)
