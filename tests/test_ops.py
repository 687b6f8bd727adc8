"""What holds for every op of a table of ops: dtypes, layouts, shapes, the float32 rule; and the comparisons themselves.

Values are checked in test_ops_attention.py and test_ops_elementwise.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.backends import NUMBA, NUMPY
from tolerances import FLOAT_DTYPES, assert_close, assert_float32_rule, gamma, relative_error

from albert_np.config import ACTIVATIONS
from albert_np.ops import Attending


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

LABELS = np.array([3, -100, 0, 6, 1, 2])


def attention(ops, query, key, value, table=None):
    """Causal, with relative positions where there is a table of them."""
    allowed = np.tril(np.ones((len(query), 1, 5, 5), bool))
    position_type = "absolute" if table is None else "relative_key_query"
    return ops.attention(query, key, value, Attending(allowed, 3, position_type=position_type, distance_table=table))


ALLOWED = np.tril(np.ones((5, 5), bool))[None, None]

# name -> (op of a table, the float arguments it is called with)
CALLS = {
    "linear": (lambda ops, *a: ops.linear(*a), [draw(2, 5, 7), draw(3, 7, seed=1), draw(3, seed=2)]),
    "embedding": (lambda ops, table: ops.embedding(np.array([[4, 0], [4, 2]]), table), [draw(5, 3)]),
    "layer_norm": (lambda ops, *a: ops.layer_norm(*a, 1e-12), [draw(2, 5, 7), draw(7, seed=1), draw(7, seed=2)]),
    "softmax": (lambda ops, x: ops.softmax(x), [draw(2, 5, 7)]),
    "masked_softmax": (lambda ops, x: ops.masked_softmax(x, ALLOWED), [draw(2, 3, 5, 5)]),
    "split_heads": (lambda ops, x: ops.split_heads(x, 3), [draw(2, 5, 6)]),
    "merge_heads": (lambda ops, x: ops.merge_heads(x), [draw(2, 3, 5, 2)]),
    "attention_scores": (lambda ops, *a: ops.attention_scores(*a), [draw(2, 3, 5, 7), draw(2, 3, 5, 7, seed=1)]),
    "relative_key_query": (
        lambda ops, q, k, table: ops.attention_scores(q, k, table, position_type="relative_key_query"),
        [draw(2, 3, 5, 7), draw(2, 3, 5, 7, seed=1), draw(11, 7, seed=2)],
    ),
    "attention_context": (lambda ops, *a: ops.attention_context(*a), [draw(2, 3, 5, 5), draw(2, 3, 5, 7, seed=1)]),
    **{
        f"attention: {name}": (
            lambda ops, *a, i=i: attention(ops, *a)[i],
            [draw(2, 5, 21), draw(2, 5, 21, seed=1), draw(2, 5, 21, seed=2)],
        )
        for i, name in enumerate(["context", "scores", "probs"])
    },
    "attention: relative scores": (
        lambda ops, *a: attention(ops, *a)[1],
        [draw(2, 5, 21), draw(2, 5, 21, seed=1), draw(2, 5, 21, seed=2), draw(11, 7, seed=3)],
    ),
    "sigmoid": (lambda ops, x: ops.sigmoid(x), [draw(5, 7)]),
    **{name: (lambda ops, x, name=name: ops.activation(x, name), [draw(5, 7, scale=2)]) for name in ACTIVATIONS},
    "tanh of the pooler": (lambda ops, x: ops.tanh(x), [draw(5, 7)]),
    "dropout": (lambda ops, x: ops.dropout(x, 0.3, np.random.default_rng(0)), [draw(5, 7)]),
    "log_softmax": (lambda ops, x: ops.log_softmax(x), [draw(5, 7)]),
    "cross_entropy": (lambda ops, x: ops.cross_entropy(x, LABELS), [draw(6, 7)]),
    "mse_loss": (lambda ops, *a: ops.mse_loss(*a), [draw(5, 7), draw(5, 7, seed=1)]),
    "bce_with_logits": (lambda ops, *a: ops.bce_with_logits(*a), [draw(5, 7), np.abs(draw(5, 7, seed=1))]),
}

# what models call, so what every table has; the rest is the reference's own, and the losses are computed by it
TABLE = [
    name for name in CALLS if name in ("linear", "embedding", "layer_norm", "dropout", *ACTIVATIONS) or ": " in name
]
TABLE.append("tanh of the pooler")


def on_tables(names, *arguments):
    """Each op on each backend that has it: ops.py in every dtype, the kernels in float32."""
    cases = [(NUMPY, name) for name in names] + [(NUMBA, name) for name in names if name in TABLE]
    if "dtype" in arguments:
        cases = [(*case, dtype) for case in cases for dtype in FLOAT_DTYPES if case[0] is NUMPY or dtype == np.float32]
    ids = ["-".join(getattr(x, "__name__", str(x)) for x in case) for case in cases]
    return pytest.mark.parametrize(("backend", "name", *arguments), cases, ids=ids, indirect=["backend"])


def call(backend, name, dtype=None):
    """The op of a fresh table, and its arguments."""
    op, arguments = CALLS[name]
    table = backend.ops
    return lambda *a: op(table, *a), [x.astype(dtype or backend.dtype) for x in arguments]


@on_tables(CALLS, "dtype")
def test_dtype_in_is_dtype_out_and_inputs_stay_as_they_were(backend, name, dtype):
    op, given_arrays = call(backend, name, dtype)
    before = [x.copy() for x in given_arrays]
    result = op(*given_arrays)
    assert result.dtype == dtype
    assert np.all(np.isfinite(result))
    assert all(np.array_equal(x, y) for x, y in zip(given_arrays, before, strict=True))


@on_tables(CALLS)
def test_strided_and_reversed_inputs_give_the_same(backend, name):
    op, arguments = call(backend, name)

    def strided(x):  # the same values in the middle of a larger array, every axis backwards in memory
        room = np.full([2 * n for n in x.shape], np.nan, x.dtype)
        view = room[tuple(slice(None, None, -2) for _ in x.shape)]
        view[...] = x
        return view

    views = [strided(x) for x in arguments]
    assert not any(x.flags.c_contiguous for x in views)
    limits = {"float64": gamma(40, np.float64)}  # another order of 5 to 7 terms
    backend.assert_same(name, op(*views), op(*arguments), limits=limits)


EMPTY = [name for name in CALLS if name not in ("embedding", "cross_entropy", "mse_loss", "bce_with_logits")]


@on_tables(EMPTY)
def test_an_empty_leading_axis_gives_an_empty_result(backend, name):
    op, arguments = call(backend, name)
    full = op(*arguments)
    batched = {"linear": 1, "layer_norm": 1, "relative_key_query": 2, "attention: relative scores": 3}
    result = op(*(x[:0] if i < batched.get(name, len(arguments)) else x for i, x in enumerate(arguments)))
    assert result.shape == (0, *full.shape[1:])


@on_tables(CALLS)
def test_same_input_same_bits(backend, name):
    op, arguments = call(backend, name)
    assert np.array_equal(op(*arguments), op(*arguments))


def plain_gelu_new(x):
    return 0.5 * x * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)))


def plain_gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / np.float32(math.sqrt(2))).astype(np.float32))


def plain_layer_norm(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + np.float32(1e-12)) * weight + bias


def plain_softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def plain_attention(q, k, v):
    """Scores, probs and context of three causal heads."""
    q, k, v = (x.reshape(2, 5, 3, 7) for x in (q, k, v))
    scores = np.einsum("bind,bjnd->bnij", q, k) / np.float32(math.sqrt(7))
    e = np.exp(scores) * np.tril(np.ones((5, 5), np.float32))
    probs = e / e.sum(-1, keepdims=True)
    return np.einsum("bnij,bjnd->bind", probs, v).reshape(2, 5, 21), scores, probs


# what one writes without thinking of the last digits, in NumPy
PLAIN = {
    "linear": lambda x, weight, bias: np.einsum("bti,oi->bto", x, weight) + bias,
    "layer_norm": plain_layer_norm,
    "softmax": plain_softmax,
    "attention_scores": lambda q, k: np.einsum("bnid,bnjd->bnij", q, k) / np.float32(math.sqrt(q.shape[-1])),
    "attention_context": lambda p, v: np.einsum("bnij,bnjd->bnid", p, v),
    "attention: context": lambda *a: plain_attention(*a)[0],
    "attention: scores": lambda *a: plain_attention(*a)[1],
    "attention: probs": lambda *a: plain_attention(*a)[2],
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "gelu_new": plain_gelu_new,
    "gelu": plain_gelu,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "log_softmax": lambda x: np.log(plain_softmax(x)),
    "cross_entropy": lambda x: -np.log(plain_softmax(x))[[0, 2, 3, 4, 5], [3, 0, 6, 1, 2]].mean(),
    "mse_loss": lambda x, y: ((x - y) ** 2).mean(),
    "bce_with_logits": lambda z, y: -(y * np.log(1 / (1 + np.exp(-z))) + (1 - y) * np.log(1 / (1 + np.exp(z)))).mean(),
}


@on_tables(PLAIN)
def test_float32_is_at_most_twice_as_wrong_as_plain_numpy(backend, name):
    op, narrow = call(backend, name, np.float32)
    exact, wide = call(NUMPY, name)
    assert_float32_rule(name, op(*narrow), PLAIN[name](*narrow), exact(*wide))
