"""What holds for every op of a table of ops: dtypes, layouts, shapes, the float32 rule; and the comparisons themselves.

Values are checked in test_ops_attention.py and test_ops_elementwise.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.backends import NUMBA, NUMPY
from support.calls import CALLS, call

from albert_np.config import ACTIVATIONS
from albert_np.golden.stochastic import draws
from albert_np.golden.tolerances import FLOAT_DTYPES, assert_close, assert_float32_rule, gamma, relative_error

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


@on_tables(CALLS)
def test_float32_rule(backend, name):
    op, narrow = call(backend, name, np.float32)
    exact, wide = call(NUMPY, name)
    assert_float32_rule(name, op(*narrow), draws(exact, *wide), exact(*wide))


@pytest.mark.parametrize("name", PLAIN)
def test_plain_numpy_keeps_the_float32_rule(name):
    """Other formulas for the same, as one writes them: the rule asks for no cleverness."""
    exact, wide = call(NUMPY, name)
    plain = PLAIN[name](*(x.astype(np.float32) for x in wide))
    assert_float32_rule(name, plain, draws(exact, *wide), exact(*wide))
