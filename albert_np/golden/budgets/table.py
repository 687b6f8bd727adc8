"""How far a correct program may be off, for every op and element: a table with the methods of arithmetic.py.

    Budgets(precision("bfloat16")).linear(x, weight, bias)      # Budget: .worst and .deviation, of the output's shape

The arrays are what the candidate computed from: its own recorded inputs and the weights, in float64. The truth is what
float64 makes of them. docs/golden_budgets.md derives the formulas in plain words; they stand beside their code in
parts.py (sums of products), norm.py and functions.py. judging.py compares an error with its budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, TypeVar

import numpy as np

from albert_np import ops
from albert_np.golden.budgets import functions as budgets_functions
from albert_np.golden.budgets import norm as budgets_norm
from albert_np.golden.budgets.parts import Budget, flushable, gamma, matmul, products, sequential, stored
from albert_np.golden.budgets.precisions import Precision, precision
from albert_np.golden.stochastic import ROUNDING
from albert_np.ops import Array, MaskMode

Method = TypeVar("Method", bound=Callable[..., Budget])


def _quiet(method: Method) -> Method:
    """A candidate may bring infinities and NaN. Its budget is then not a number, and judging fails it: no warning is due."""

    def quiet(*args: Any, **options: Any) -> Budget:
        with np.errstate(all="ignore"):
            return method(*args, **options)

    quiet.__doc__ = method.__doc__
    return quiet  # type: ignore[return-value]


def _sum(terms: Sequence[Array]) -> Array:
    return reduce(np.add, terms)


class Budgets:
    """The budgets of one precision."""

    def __init__(self, of: Precision) -> None:
        self.precision = of
        self._wider = of.unit if of.half else 0.0  # a value in 16 bits may have been wider before it was recorded

    @_quiet
    def gather(self, ids: Array, table: Array) -> Budget:  # (...) int, (V,E) -> (...,E)
        """Exact, but for numbers that are flushed to zero."""
        return self._copied(ops.embedding(ids, table))

    @_quiet
    def add(self, *terms: Array) -> Budget:  # (...) -> (...)
        """n − 1 sums of n terms, each of which may have been wider before it was recorded: u·|term|.

        In float32 too: a product whose epilogue adds the bias and the residual has the dense output in a register, or adds the
        residual before the bias, and what is recorded as dense was rounded once more (or not at all) on another way. That
        is one rounding of a term, and it may be far more than one of the sum where the terms cancel.
        """
        p, n = self.precision, len(terms)
        size, total, squares = (_sum(x) for x in zip(*((np.abs(x), x, x * x) for x in terms), strict=True))
        i = p.unit if p.half else p.accumulate
        lost = [np.where(np.abs(x) <= p.smallest, p.smallest, 0) if p.half else flushable(x, p) for x in terms]
        flushed = _sum(lost)
        worst = (gamma(max(n - 2, 0), i) + p.unit) * size + flushed
        worst_stored, variance = stored(total, p, smaller_by=worst)
        first, second = sequential(n)
        inside = (ROUNDING * i) ** 2 * np.maximum(first * squares + (second - 1) * total * total, 0) if n > 2 else 0
        variance = variance + inside + (ROUNDING * p.unit) ** 2 * squares + flushed**2
        return Budget(worst + worst_stored, np.sqrt(variance), value=total)

    @_quiet
    def linear(  # (...,in), (out,in), (out,) -> (...,out)
        self, x: Array, weight: Array, bias: Array, *, first_token: bool = False
    ) -> Budget:
        """A sum of products and a bias. In 16 bits the product may be stored before the bias is added."""
        p = self.precision
        x = x[:, 0] if first_token else x
        rows = x.reshape(-1, x.shape[-1])
        worst, variance, value = products(rows, weight.T, p, bias, operands=p.multiply)
        if p.half:
            before, before_variance = stored(value - bias, p, smaller_by=worst)
            worst, variance = worst * (1 + p.unit) + before, variance + before_variance
        worst_stored, stored_variance = stored(value, p, smaller_by=worst)
        worst = worst * (1 + p.unit) + worst_stored
        shape = (*x.shape[:-1], len(weight))
        own = np.sqrt(variance + stored_variance)
        return Budget(worst.reshape(shape), own.reshape(shape), value=value.reshape(shape))

    @_quiet
    def layer_norm(  # (...,H), (H,), (H,) -> (...,H)
        self, x: Array, weight: Array, bias: Array, *, eps: float, terms: Sequence[Array] = ()
    ) -> Budget:
        """See norm.py. terms: what x is the sum of, if the program did not hand x out."""
        return budgets_norm.layer_norm(x, weight, bias, eps, self.precision, terms)

    @_quiet
    def mean(self, x: Array) -> Budget:  # (...,H) -> (...,1)
        """See norm.py."""
        return budgets_norm.mean(x, self.precision)

    @_quiet
    def variance(self, x: Array) -> Budget:  # (...,H) -> (...,1)
        """See norm.py."""
        return budgets_norm.variance(x, self.precision)

    @_quiet
    def heads(self, x: Array, *, num_heads: int) -> Budget:  # (B,T,H) -> (B,N,T,D)
        """Exact, as gather."""
        return self._copied(ops.split_heads(x, num_heads))

    @_quiet
    def scores(  # 2 × (B,T,H), (2P−1,D) -> (B,N,T,T)
        self,
        query: Array,
        key: Array,
        distance_table: Array | None = None,
        *,
        num_heads: int,
        position_type: str = "absolute",
    ) -> Budget:
        """q·kᵀ, the division by √D, storage; and query and key may be scaled and rounded before they are multiplied."""
        p = self.precision
        q, k = ops.split_heads(query, num_heads), ops.split_heads(key, num_heads)
        T, D = q.shape[-2:]
        operands = max(p.multiply, p.unit)
        worst, variance, value = products(q / math.sqrt(D), k.swapaxes(-1, -2), p, operands=operands)
        lost = flushable(k / D**0.25, p) * D**0.25  # of keys that were scaled by ∜D; products has query/√D
        if np.any(lost):
            missing = matmul(np.abs(q) / math.sqrt(D), lost.swapaxes(-1, -2))
            worst, variance = worst + missing, variance + missing**2
        if position_type != "absolute":
            assert distance_table is not None
            a = distance_table[ops.distances(T, len(distance_table), None)]  # (T,T,D)
            by_query = products(q[..., None, :], a.swapaxes(-1, -2), p, operands=p.multiply)
            parts = [[x[..., 0, :] for x in by_query]]
            if position_type == "relative_key_query":
                by_key = products(k[..., None, :], a.transpose(1, 2, 0), p, operands=p.multiply)
                parts.append([x[..., 0, :].swapaxes(-1, -2) for x in by_key])
            for more_worst, more_variance, more in parts:
                worst = worst + more_worst + p.unit * (np.abs(more) + np.abs(value))
                variance = variance + more_variance + (ROUNDING * p.unit) ** 2 * (more * more + value * value)
                value = value + more
        # the division, which may be a product with a rounded 1/√D, and the values that are stored before it
        worst = worst + 3 * p.unit * (np.abs(value) + worst)
        worst_stored, stored_variance = stored(value, p, smaller_by=worst)
        variance = variance + 2 * (ROUNDING * p.unit * value) ** 2 + stored_variance
        return Budget(worst + worst_stored, np.sqrt(variance), value=value)

    @_quiet
    def masked_scores(self, scores: Array, allowed: Array) -> Budget:  # (B,N,T,T), (B,1,1|T,T) bool -> (B,N,T,T)
        """The scores where a query may look. Elsewhere anything that softmax turns into 0 is correct, and probs will say."""
        copied = self._copied(scores)
        worst = copied.worst + 2 * self._wider * np.abs(scores)
        own = np.hypot(copied.own, 2 * self._wider * np.abs(scores))
        seen = np.broadcast_to(allowed, scores.shape)
        return Budget(np.where(seen, worst, np.inf), np.where(seen, own, np.inf))

    @_quiet
    def probs(  # (B,N,T,T), (B,1,1|T,T) bool, (N,) -> (B,N,T,T)
        self, scores: Array, allowed: Array, head_mask: Array | None = None, *, mask_mode: MaskMode = "uniform"
    ) -> Budget:
        """See functions.py."""
        return budgets_functions.probs(scores, allowed, head_mask, mask_mode, self.precision)

    @_quiet
    def context(self, probs: Array, value: Array, *, num_heads: int) -> Budget:  # (B,N,T,T), (B,T,H) -> (B,T,H)
        """A sum of products. In 16 bits the probs may have been wider, or e^… may have been rounded in their place."""
        p = self.precision
        v = ops.split_heads(value, num_heads)
        worst, variance, total = products(probs, v, p, operands=max(p.multiply, self._wider))
        tiny = np.where(np.abs(probs) <= p.smallest, p.smallest, 0) if p.half else np.zeros(0)
        if np.any(tiny):  # what was recorded as 0 may have been as large as the smallest normal number
            worst = worst + tiny @ np.abs(v)
            variance = variance + (tiny * tiny) @ (v * v)
        i = p.unit if p.half else p.accumulate
        worst = worst + 3 * i * (np.abs(total) + worst)  # of kernels that divide by Σe at the end
        worst_stored, stored_variance = stored(total, p, smaller_by=worst)
        variance = variance + 2 * (ROUNDING * i * total) ** 2 + stored_variance
        own = np.sqrt(variance)
        return Budget(ops.merge_heads(worst + worst_stored), ops.merge_heads(own), value=ops.merge_heads(total))

    @_quiet
    def activation(self, x: Array, *, name: str) -> Budget:  # (...) -> (...)
        """See functions.py."""
        return budgets_functions.activation(x, name, self.precision)

    @_quiet
    def tanh(self, x: Array) -> Budget:  # (...) -> (...)
        """See functions.py."""
        return budgets_functions.tanh(x, self.precision)

    def _copied(self, y: Array) -> Budget:
        flushed = flushable(y, self.precision)
        return Budget(flushed, flushed)


def budget(op: str, *arrays: Any, dtype: str, accumulate: str = "float32", **attributes: Any) -> Budget:
    """How far a correct program may be off in one op, for each element of its output.

    op: "linear", "layer_norm", "scores", "probs", "context", "activation", … (the methods of Budgets). arrays: its inputs and
    weights, as the program has them. dtype: "float32", "tf32", "float16" or "bfloat16". attributes: as eps or num_heads.
    Returns a Budget: .worst, .deviation. Raises ValueError for an unknown op, dtype or accumulator.
    """
    table = Budgets(precision(dtype, accumulate))
    known = [name for name in vars(Budgets) if not name.startswith("_")]
    if op not in known:
        raise ValueError(f"op must be one of {', '.join(known)}; got {op!r:.80}")
    given = [x if x is None else np.asarray(x) for x in arrays]
    wide = [x.astype(np.float64) if x is not None and x.dtype.kind not in "iub" else x for x in given]
    made: Budget = getattr(table, op)(*wide, **attributes)
    return made
