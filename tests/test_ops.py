"""What holds for every op of albert_np/ops.py: dtypes, layouts, shapes, the float32 rule; and the comparisons themselves.

Values are checked in test_ops_attention.py and test_ops_elementwise.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import FLOAT_DTYPES, assert_close, assert_float32_rule, gamma, relative_error

from albert_np import ops
from albert_np.config import ACTIVATIONS


def draw(*shape: int, seed: int = 0, scale: float = 1, dtype: type = np.float64) -> np.ndarray:
    """Normal numbers that float16 holds too, so that every dtype starts from the same input."""
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float16).astype(dtype)


# --- the comparisons themselves --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, 2.0])),
        (np.array([1.0, 2.0]), np.array([1.0, np.nan])),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan])),
        (np.array([np.inf]), np.array([-np.inf])),
        (np.array([np.inf]), np.array([1.0])),
        (np.ones((2, 3)), np.ones((3, 2))),
        (np.ones(1), np.float64(1)),
        (np.ones(2, np.float32), np.ones(2)),
        (np.ones((0, 3)), np.ones((0, 3))),
        (np.array([1e-300]), np.array([0.0])),
        (np.array([1.0, 2.1]), np.array([1.0, 2.0])),
    ],
)
def test_a_comparison_fails_on(actual, expected):
    with pytest.raises(AssertionError, match="name:"):
        assert_close("name", actual, expected, limit=0.01)


def test_a_comparison_passes_what_is_equal_and_says_where_it_is_not():
    x = np.array([1.0, np.inf, -np.inf, 4.0])
    assert relative_error(x, x.copy()) == 0
    assert relative_error(np.array([1.0, 3.0]), np.array([1.0, 4.0])) == 0.25
    with pytest.raises(AssertionError, match=r"0\.25, more than 0\.2; worst at \[1\]: got .*3\.0.*, expected .*4\.0"):
        assert_close("x", np.array([1.0, 3.0]), np.array([1.0, 4.0]), limit=0.2)


# --- what holds for every op -----------------------------------------------------------------------------------------

ALLOWED = np.tril(np.ones((5, 5), bool))[None, None]
LABELS = np.array([3, -100, 0, 6, 1, 2])

# name -> (op, the float arguments it is called with)
CALLS = {
    "linear": (ops.linear, [draw(2, 5, 7), draw(3, 7, seed=1), draw(3, seed=2)]),
    "embedding": (lambda table: ops.embedding(np.array([[4, 0], [4, 2]]), table), [draw(5, 3)]),
    "layer_norm": (lambda *a: ops.layer_norm(*a, 1e-12), [draw(2, 5, 7), draw(7, seed=1), draw(7, seed=2)]),
    "softmax": (ops.softmax, [draw(2, 5, 7)]),
    "masked_softmax": (lambda x: ops.masked_softmax(x, ALLOWED), [draw(2, 3, 5, 5)]),
    "split_heads": (lambda x: ops.split_heads(x, 3), [draw(2, 5, 6)]),
    "merge_heads": (ops.merge_heads, [draw(2, 3, 5, 2)]),
    "attention_scores": (ops.attention_scores, [draw(2, 3, 5, 7), draw(2, 3, 5, 7, seed=1)]),
    "relative_key_query": (
        lambda q, k, table: ops.attention_scores(q, k, table, position_type="relative_key_query"),
        [draw(2, 3, 5, 7), draw(2, 3, 5, 7, seed=1), draw(11, 7, seed=2)],
    ),
    "attention_context": (ops.attention_context, [draw(2, 3, 5, 5), draw(2, 3, 5, 7, seed=1)]),
    "sigmoid": (ops.sigmoid, [draw(5, 7)]),
    **{name: (lambda x, name=name: ops.activation(x, name), [draw(5, 7, scale=2)]) for name in ACTIVATIONS},
    "dropout": (lambda x: ops.dropout(x, 0.3, np.random.default_rng(0)), [draw(5, 7)]),
    "log_softmax": (ops.log_softmax, [draw(5, 7)]),
    "cross_entropy": (lambda x: ops.cross_entropy(x, LABELS), [draw(6, 7)]),
    "mse_loss": (ops.mse_loss, [draw(5, 7), draw(5, 7, seed=1)]),
    "bce_with_logits": (ops.bce_with_logits, [draw(5, 7), np.abs(draw(5, 7, seed=1))]),
}


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
@pytest.mark.parametrize("name", CALLS)
def test_dtype_in_is_dtype_out_and_inputs_stay_as_they_were(name, dtype):
    op, arguments = CALLS[name]
    given_arrays = [x.astype(dtype) for x in arguments]
    before = [x.copy() for x in given_arrays]
    result = op(*given_arrays)
    assert result.dtype == dtype
    assert np.all(np.isfinite(result))
    assert all(np.array_equal(x, y) for x, y in zip(given_arrays, before, strict=True))


@pytest.mark.parametrize("name", CALLS)
def test_strided_and_reversed_inputs_give_the_same(name):
    op, arguments = CALLS[name]

    def strided(x):  # the same values in the middle of a larger array, every axis backwards in memory
        room = np.full([2 * n for n in x.shape], np.nan)
        view = room[tuple(slice(None, None, -2) for _ in x.shape)]
        view[...] = x
        return view

    views = [strided(x) for x in arguments]
    assert not any(x.flags.c_contiguous for x in views)
    assert_close(name, op(*views), op(*arguments), limit=gamma(40, np.float64))  # another order of 5 to 7 terms


EMPTY = [name for name in CALLS if name not in ("embedding", "cross_entropy", "mse_loss", "bce_with_logits")]


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_leading_axis_gives_an_empty_result(name):
    op, arguments = CALLS[name]
    full = op(*arguments)
    batched = {"linear": 1, "layer_norm": 1, "relative_key_query": 2}.get(name, len(arguments))
    result = op(*(x[:0] if i < batched else x for i, x in enumerate(arguments)))
    assert result.shape == (0, *full.shape[1:])


@pytest.mark.parametrize("name", CALLS)
def test_same_input_same_bits(name):
    op, arguments = CALLS[name]
    assert np.array_equal(op(*arguments), op(*arguments))


def plain_gelu_new(x):
    return 0.5 * x * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)))


def plain_gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / np.float32(math.sqrt(2))).astype(np.float32))


def plain_layer_norm(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + np.float32(1e-12)) * weight + bias


def plain_softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


# what one writes without thinking of the last digits, in NumPy
PLAIN = {
    "linear": lambda x, weight, bias: np.einsum("bti,oi->bto", x, weight) + bias,
    "layer_norm": plain_layer_norm,
    "softmax": plain_softmax,
    "attention_scores": lambda q, k: np.einsum("bnid,bnjd->bnij", q, k) / np.float32(math.sqrt(q.shape[-1])),
    "attention_context": lambda p, v: np.einsum("bnij,bnjd->bnid", p, v),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "gelu_new": plain_gelu_new,
    "gelu": plain_gelu,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "log_softmax": lambda x: np.log(plain_softmax(x)),
    "cross_entropy": lambda x: -np.log(plain_softmax(x))[[0, 2, 3, 4, 5], [3, 0, 6, 1, 2]].mean(),
    "mse_loss": lambda x, y: ((x - y) ** 2).mean(),
    "bce_with_logits": lambda z, y: -(y * np.log(1 / (1 + np.exp(-z))) + (1 - y) * np.log(1 / (1 + np.exp(z)))).mean(),
}


@pytest.mark.parametrize("name", PLAIN)
def test_float32_is_at_most_twice_as_wrong_as_plain_numpy(name):
    op, arguments = CALLS[name]
    narrow = [x.astype(np.float32) for x in arguments]
    assert_float32_rule(name, op(*narrow), PLAIN[name](*narrow), op(*arguments))
