"""The budgets of LayerNorm and of its statistics.

y = d·r·w + b, with d = x − mean and r = 1/√(variance + ε). The statistics are sums; each of the other steps rounds once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from albert_np.golden.budgets.parts import Budget, Rows, coherent, flushable, gamma, sequential, stored
from albert_np.golden.budgets.precisions import Precision
from albert_np.golden.budgets.rivals import of_layer_norm
from albert_np.golden.stochastic import ROUNDING
from albert_np.ops import Array

RSQRT = 4.0  # 2 ULP of r are up to 4u of its size
HONEST_RSQRT = 1.2  # u: what a good 2-ULP function, or a root and a quotient, are off in the root mean square


def mean_error(x: Array, p: Precision) -> tuple[Array, Array]:  # (..., n) -> 2 × (..., 1)
    """(worst, variance) of the mean: n − 1 sums and the quotient."""
    n = x.shape[-1]
    mean, size = np.mean(x, axis=-1, keepdims=True), np.mean(np.abs(x), axis=-1, keepdims=True)
    squares = np.mean(x * x, axis=-1, keepdims=True) / n  # of the terms divided by n
    first, second = sequential(n)
    variance = (ROUNDING * p.accumulate) ** 2 * (first * squares + (second + 1) * mean * mean)
    variance = variance + (coherent(x, p) / n) ** 2
    return gamma(n + 1, p.accumulate) * size + p.smallest_sum, variance


def recorded(x: Array, wider: float) -> Array:  # (..., n) -> (..., 1)
    """What the mean of x, rounded with this unit, differs from that of x before: the square of the deviation."""
    variance: Array = (ROUNDING * wider) ** 2 * np.mean(x * x, axis=-1, keepdims=True) / x.shape[-1]
    return variance


def square_error(d: Array, p: Precision) -> Array:  # (..., n) -> (..., 1)
    """The square of the deviation of Σd²/n: products and sums from left to right."""
    n = d.shape[-1]
    value, fourth = np.mean(d * d, axis=-1, keepdims=True), np.mean(d**4, axis=-1, keepdims=True) / n
    first, second = sequential(n)
    variance: Array = (ROUNDING * p.accumulate) ** 2 * ((first + 1) * fourth + (second + 1) * value**2)
    return variance + (coherent(d * d, p) / n) ** 2


def layer_norm(  # (..., H), (H,), (H,) -> (..., H)
    x: Array, weight: Array, bias: Array, eps: float, p: Precision, terms: Sequence[Array] = ()
) -> Budget:
    """Two passes, statistics in the accumulator's format, and every other step rounded: in the stored format at worst.

    i is the unit of a step. The mean is off by M, so that d is off by M + i|d|; in 16 bits, x may have been wider before it
    was recorded, by u|x|. A mean that is off by M makes the variance larger by M², exactly, since Σd = 0. Beside this the
    variance is off by γ of itself and by four roundings of i. r is at worst the same function of the largest and smallest
    variance, and a function of 2 ULP. Products with r and w round twice and the sum with b once.

    One pass, E[x²] − mean², is another algorithm: its error is γ·(mean² + variance), which has no bound in terms of the
    variance. It stays inside while mean² is small beside the variance, and where it does not, it is worth being told.

    terms: of the residual sum x, if it was not recorded. A program that fuses the sum has each term wider than it is recorded
    (see Budgets.add): x is off by u·Σ|term|, which is more than u·|x| where the terms cancel, and u·√Σterm² in the root mean
    square, which is about as much as u·|x|.
    """
    n, i = x.shape[-1], p.unit if p.half else p.accumulate
    wider = p.unit if p.half or terms else 0.0
    size = sum((np.abs(term) for term in terms[1:]), np.abs(terms[0])) if terms else np.abs(x)
    usual = np.sqrt(sum((term * term for term in terms[1:]), terms[0] * terms[0])) if terms else np.abs(x)
    mean = np.mean(x, axis=-1, keepdims=True)
    d = x - mean
    variance = np.mean(d * d, axis=-1, keepdims=True)
    r = 1 / np.sqrt(variance + eps)
    M, M_variance = mean_error(x, p)
    M = M + (i + wider) * np.abs(mean) + wider * np.mean(size, axis=-1, keepdims=True)
    M_variance = M_variance + (ROUNDING * i * mean) ** 2 + recorded(usual, wider)

    # worst
    flush = p.smallest
    moved = M + i * np.abs(d) + wider * size + flush  # of d
    relative = gamma(n + 2, p.accumulate) + 4 * i
    moved_variance = np.mean(2 * np.abs(d) * (i * np.abs(d) + wider * size) + moved**2, axis=-1, keepdims=True)
    moved_variance = moved_variance + relative * (variance + moved_variance) + i * eps + flush
    low = np.maximum(variance + eps - moved_variance, 0)
    with np.errstate(divide="ignore"):
        largest = np.minimum(1 / np.sqrt(low), p.largest)
    smallest = 1 / np.sqrt(variance + eps + moved_variance)
    off = np.maximum(largest - r, r - smallest) + RSQRT * i * largest
    normalised = d * r
    scaled = np.abs(weight) * (moved * (r + off) + np.abs(d) * off)
    sizes = np.abs(weight * normalised)
    worst_stored, stored_variance = stored(normalised * weight + bias, p)
    flushed = flushable(weight, p) * np.abs(normalised) + flushable(bias, p)
    worst = (scaled + 3 * i * (sizes + scaled)) * (1 + 4 * i) + flushed + worst_stored

    # deviation: what is each element's own
    own = (weight * r) ** 2 * (M_variance + (ROUNDING * wider * usual) ** 2) + 4 * (ROUNDING * i * sizes) ** 2
    lost = (
        np.where(np.abs(x) <= p.smallest, p.smallest, 0) if p.half else np.zeros_like(x)
    )  # from a sum that was recorded
    own = own + stored_variance + flushed**2 + (weight * r * lost) ** 2
    # and the factor that a row shares: half of what the variance is off, and r itself
    added = square_error(d, p) + M_variance**2 + (2 * ROUNDING * i * variance) ** 2
    added = added + np.mean((2 * ROUNDING * wider * usual * d) ** 2, axis=-1, keepdims=True) / n
    factor = added / (2 * (variance + eps)) ** 2 + (HONEST_RSQRT * i) ** 2
    place = 2 * i / np.ldexp(np.frexp(r)[0], 1)  # one unit in the last place of r, relative to it
    rows = Rows(normalised * weight, np.sqrt(factor), place, 1.5)
    rivals = of_layer_norm(x, weight, bias, eps, p) if p.half else None
    return Budget(worst, np.sqrt(own), rows=rows, rivals=rivals, value=normalised * weight + bias)


def mean(x: Array, p: Precision) -> Budget:  # (..., n) -> (..., 1)
    """The mean, stored."""
    worst, variance = mean_error(x, p)
    wider = p.unit if p.half else 0.0
    variance = variance + recorded(x, wider)
    worst_stored, stored_variance = stored(np.mean(x, axis=-1, keepdims=True), p, smaller_by=worst)
    worst = worst + wider * np.mean(np.abs(x), axis=-1, keepdims=True) + worst_stored
    own = variance + stored_variance + (ROUNDING * wider) ** 2 * np.mean(x * x, axis=-1, keepdims=True) / x.shape[-1]
    return Budget(worst, np.sqrt(own))


def variance(x: Array, p: Precision) -> Budget:  # (..., n) -> (..., 1)
    """The variance, without ε, stored: see layer_norm."""
    n, i, wider = x.shape[-1], p.unit if p.half else p.accumulate, p.unit if p.half else 0.0
    d = x - np.mean(x, axis=-1, keepdims=True)
    value = np.mean(d * d, axis=-1, keepdims=True)
    M, M_variance = mean_error(x, p)
    M = M + (i + wider) * np.abs(x - d) + wider * np.mean(np.abs(x), axis=-1, keepdims=True)
    M_variance = M_variance + (ROUNDING * i * (x - d)) ** 2 + recorded(x, wider)
    moved = M + i * np.abs(d) + wider * np.abs(x) + p.smallest
    off = np.mean(2 * np.abs(d) * (i * np.abs(d) + wider * np.abs(x)) + moved**2, axis=-1, keepdims=True)
    worst_stored, stored_variance = stored(value, p, smaller_by=off)
    worst = off + (gamma(n + 2, p.accumulate) + 2 * i) * (value + off) + worst_stored + p.smallest
    own = square_error(d, p) + stored_variance
    shift = np.mean(M_variance, axis=-1, keepdims=True)
    own = own + shift**2 + (2 * ROUNDING * i * value) ** 2
    own = own + np.mean((2 * ROUNDING * wider * x * d) ** 2, axis=-1, keepdims=True) / n
    return Budget(worst, np.sqrt(own))
