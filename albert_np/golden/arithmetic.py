"""The ops of the graph in graph.py, as one table: the same methods compute exactly, in other precisions, or with mistakes.

`Exact` is the truth: the reference (albert_np.ops), run in float64. Whoever wants another arithmetic writes a table with the
same methods. The budgets (budgets/table.py) have them too, and answer with how far a correct program may be off.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from albert_np import ops
from albert_np.ops import Array, MaskMode


class Table(Protocol):
    """One arithmetic. Arrays come first, in the order of a step's inputs and weights; the step's attributes follow by name."""

    def gather(self, ids: Array, table: Array) -> Any: ...  # (...) int, (V,E) -> (...,E)
    def add(self, *terms: Array) -> Any: ...  # shapes that broadcast -> (...)
    def linear(self, x: Array, weight: Array, bias: Array, *, first_token: bool = False) -> Any: ...
    def layer_norm(self, x: Array, weight: Array, bias: Array, *, eps: float) -> Any: ...  # (...,H) -> (...,H)
    def mean(self, x: Array) -> Any: ...  # (...,H) -> (...,1)
    def variance(self, x: Array) -> Any: ...  # (...,H) -> (...,1)
    def heads(self, x: Array, *, num_heads: int) -> Any: ...  # (B,T,H) -> (B,N,T,D)
    def scores(  # 2 × (B,T,H), (2P−1,D) -> (B,N,T,T)
        self,
        query: Array,
        key: Array,
        distance_table: Array | None = None,
        *,
        num_heads: int,
        position_type: str = "absolute",
    ) -> Any: ...
    def masked_scores(self, scores: Array, allowed: Array) -> Any: ...  # (B,N,T,T), (B,1,1|T,T) bool -> (B,N,T,T)
    def probs(  # (B,N,T,T), (B,1,1|T,T) bool, (N,) -> (B,N,T,T)
        self, scores: Array, allowed: Array, head_mask: Array | None = None, *, mask_mode: MaskMode = "uniform"
    ) -> Any: ...
    def context(self, probs: Array, value: Array, *, num_heads: int) -> Any: ...  # (B,N,T,T), (B,T,H) -> (B,T,H)
    def activation(self, x: Array, *, name: str) -> Any: ...  # (...) -> (...)
    def tanh(self, x: Array) -> Any: ...  # (...) -> (...)


class Exact:
    """The reference, in the dtype of its arrays: in float64, the truth."""

    def gather(self, ids: Array, table: Array) -> Array:  # (...) int, (V,E) -> (...,E)
        """Rows of the table."""
        return ops.embedding(ids, table)

    def add(self, *terms: Array) -> Array:  # (...) -> (...)
        """The sum, added from left to right."""
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    def linear(  # (...,in), (out,in), (out,) -> (...,out)
        self, x: Array, weight: Array, bias: Array, *, first_token: bool = False
    ) -> Array:
        """x·Wᵀ + b; with first_token, of each sequence's first token alone (the pooler)."""
        return ops.linear(x[:, 0] if first_token else x, weight, bias)

    def layer_norm(self, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:  # (...,H) -> (...,H)
        """(x − mean)/√(variance + ε)·weight + bias."""
        return ops.layer_norm(x, weight, bias, eps)

    def mean(self, x: Array) -> Array:  # (...,H) -> (...,1)
        """LayerNorm's mean."""
        return np.mean(x, axis=-1, keepdims=True)

    def variance(self, x: Array) -> Array:  # (...,H) -> (...,1)
        """LayerNorm's variance: biased, without ε."""
        return np.mean((x - np.mean(x, axis=-1, keepdims=True)) ** 2, axis=-1, keepdims=True)

    def heads(self, x: Array, *, num_heads: int) -> Array:  # (B,T,H) -> (B,N,T,D)
        """The heads apart."""
        return ops.split_heads(x, num_heads)

    def scores(  # 2 × (B,T,H), (2P−1,D) -> (B,N,T,T)
        self,
        query: Array,
        key: Array,
        distance_table: Array | None = None,
        *,
        num_heads: int,
        position_type: str = "absolute",
    ) -> Array:
        """q·kᵀ/√D, with what relative positions add, and without the mask."""
        q, k = ops.split_heads(query, num_heads), ops.split_heads(key, num_heads)
        return ops.attention_scores(q, k, distance_table, None, position_type)

    def masked_scores(self, scores: Array, allowed: Array) -> Array:  # (B,N,T,T), (B,1,1|T,T) bool -> (B,N,T,T)
        """The scores, and the dtype's most negative finite value where a query may not look."""
        return np.where(allowed, scores, np.finfo(scores.dtype).min)

    def probs(  # (B,N,T,T), (B,1,1|T,T) bool, (N,) -> (B,N,T,T)
        self, scores: Array, allowed: Array, head_mask: Array | None = None, *, mask_mode: MaskMode = "uniform"
    ) -> Array:
        """Softmax over the keys that a query may attend to, times the factors of the heads."""
        probs = ops.masked_softmax(scores, allowed, mask_mode)
        return probs if head_mask is None else probs * head_mask[:, None, None]

    def context(self, probs: Array, value: Array, *, num_heads: int) -> Array:  # (B,N,T,T), (B,T,H) -> (B,T,H)
        """Each query's mixture of the values, the heads side by side."""
        return ops.merge_heads(ops.attention_context(probs, ops.split_heads(value, num_heads)))

    def activation(self, x: Array, *, name: str) -> Array:  # (...) -> (...)
        """The activation that the config names."""
        return ops.activation(x, name)

    def tanh(self, x: Array) -> Array:  # (...) -> (...)
        """The pooler's."""
        return ops.tanh(x)
