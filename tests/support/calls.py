"""Every op of a table, and what it is called with."""

from __future__ import annotations

import numpy as np

from albert_np.config import ACTIVATIONS
from albert_np.ops import Attending


def draw(*shape: int, seed: int = 0, scale: float = 1, dtype: type = np.float64) -> np.ndarray:
    """Normal numbers that float16 holds too, so that every dtype starts from the same input."""
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float16).astype(dtype)


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


def call(backend, name, dtype=None):
    """The op of a fresh table, and its arguments."""
    op, arguments = CALLS[name]
    table = backend.ops
    return lambda *a: op(table, *a), [x.astype(dtype or backend.dtype) for x in arguments]
