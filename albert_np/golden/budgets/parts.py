"""What budgets are made of: the pair (worst, deviation), γₙ, sums of products, and where numbers become too small.

A worst case adds absolute values, since errors may all have one sign. A deviation adds squares, since those of an honest
program are as good as independent (Higham and Mary 2019). One rounding of y is off by ROUNDING·u·|y| in the root mean square
(stochastic.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from albert_np.golden.budgets.precisions import Precision
from albert_np.golden.measures.ulps import rounded as nearest
from albert_np.golden.stochastic import ROUNDING, steps
from albert_np.ops import Array

# A number that is cut off is too small by up to 2u of its size, evenly: by this many u in the mean
CUT = 1 / (2 * math.log(2))  # 0.72: the mean of 1/m over 1 ≤ m < 2, of which no place is likelier


@dataclass(frozen=True)
class Rows:
    """An error that the elements of a row share: a factor, 1 + δ, on all of `basis`."""

    basis: Array  # (..., n)
    deviation: Array  # (..., 1): of δ, of an honest program
    unit: Array  # (..., 1): one unit in the last place of the factor, relative to it
    systematic: float  # δ may be this many of these units in the mean over rows


@dataclass(frozen=True)
class Bins:
    """The argument of an elementwise function, and what of its error may be the same for all elements with that argument."""

    argument: Array
    systematic: Array  # a size


@dataclass(frozen=True)
class Rivals:
    """The errors of whole programs, as large as the output: see rivals.py."""

    correct: tuple[Array, ...]  # roundings of neighbours may agree, and here they are known
    wrong: tuple[Array, ...] = ()  # of a function that is often taken for the right one
    rounding: Array | None = None  # the largest error of one rounding of the output
    difference: Array | None = None  # that function − the right one, not rounded
    argument: Array | None = None  # of both


@dataclass(frozen=True)
class Budget:
    """How far a correct program may be from what float64 makes of the same inputs.

    worst: no correct program is further off. deviation: the root mean square of the error of an honest program. own is the
    part of the deviation that elements do not share with their row. Infinity: anything is correct there.
    """

    worst: Array
    own: Array
    rows: Rows | None = None
    bins: Bins | None = None
    rivals: Rivals | None = None
    value: Array | None = None  # about what the output is: elements that agree are rounded alike

    @property
    def deviation(self) -> Array:
        """Of the shape of the output."""
        if self.rows is None:
            return self.own
        return np.hypot(self.own, self.rows.basis * self.rows.deviation)


def sequential(K: int) -> tuple[float, float]:
    """(α, β): the squares of the partial sums of K terms, from left to right, add up to α·Q + β·S².

    `steps` has the mean over all orders of the terms. A row with one large channel has its own order, and if that comes first
    all partial sums are as large: α + β is K, where it would be K/2.
    """
    second = steps(K, K)[1]
    return K - second, second


def gamma(n: float, unit: float) -> float:
    """γₙ = n·u/(1 − n·u): n roundings in a row. Where n·u comes near 1 a bound says little, and this stays finite: eⁿᵘ − 1."""
    nu = n * unit
    return nu / (1 - nu) if nu < 0.5 else math.expm1(2 * math.log(2) * nu)


def stored(size: Array, p: Precision, *, smaller_by: Array | float = 0.0) -> tuple[Array, Array]:
    """(worst, square of the deviation) of storing values of that size: one rounding, and 0 for what is below normal numbers.

    smaller_by: how much smaller than that the values of a correct program may be.
    """
    size = np.abs(size)
    flushed = np.where(size - smaller_by <= p.smallest, np.minimum(size + smaller_by, p.smallest), 0)
    spacing = p.unit * p.smallest  # half of the distance of two numbers down there
    variance = (ROUNDING * p.unit * size) ** 2 + np.minimum(flushed, size) ** 2 + spacing**2
    return p.unit * size + flushed + spacing, variance


def flushable(x: Array, p: Precision) -> Array:
    """|x| where hardware may give 0. The smallest normal number is among them: it may be what a smaller one was rounded to."""
    return np.where(np.abs(x) <= p.smallest, np.abs(x), 0)


def unrecorded(x: Array, p: Precision) -> Array:
    """How far x may be from what a fused kernel goes on with, in 16 bits: one rounding, and what was flushed when x was
    recorded and not in the kernel. 0 in float32, which kernels do not hold wider."""
    if not p.half:
        return np.zeros_like(x)
    return p.unit * np.abs(x) + np.where(np.abs(x) <= p.smallest, p.smallest, 0)


def rounded(x: Array, p: Precision) -> Array:
    """x as it is stored, to the nearest number, of two the even one."""
    return nearest(x, "float32" if p.name == "tf32" else p.name)


def coherent(terms: Array, p: Precision, beside: Array | float = 0.0) -> Array:  # (..., n) -> (..., 1)
    """What a sum from left to right may be off because errors are *not* independent.

    Equal terms are rounded the same way as long as the sum does not double: half of u·|partial sum| each time, at most, a
    quarter on average. Terms that nearly agree are as good as equal. And terms below the last place of the sum are lost.
    beside: what else is in the sum, without an error of its own.
    """
    n, u = terms.shape[-1], p.accumulate
    total, size = np.sum(terms, axis=-1, keepdims=True), np.sum(np.abs(terms), axis=-1, keepdims=True) + beside
    in_order = np.sort(terms, axis=-1)
    place = 2 * u * size / 4
    run = np.zeros(terms.shape[:-1], int)
    for length in (
        n // 2**k for k in range(n.bit_length())
    ):  # is there a run of that length? a power of two is near enough
        if length < 2:
            break
        close = np.abs(in_order[..., length - 1 :] - in_order[..., : n - length + 1]) <= place
        nonzero = np.minimum(np.abs(in_order[..., length - 1 :]), np.abs(in_order[..., : n - length + 1])) > place
        found = np.any(close & nonzero, axis=-1)
        run = np.maximum(run, np.where(found, 2 * length, 0))
    small = np.where(np.abs(terms) <= 4 * u * size, np.abs(terms), 0)
    runs = np.minimum(run, n)[..., None]
    equal: Array = runs * u * (np.abs(total) + beside) / 4 + np.sum(small, axis=-1, keepdims=True) * (n > 2)
    return equal


def scaled(x: Array) -> tuple[Array, float]:
    """x / 2ᵉ in float32, and 2ᵉ, so that nothing is above 1. What is lost below is far too small to count."""
    largest = float(np.max(np.abs(x), initial=0))
    power = math.ldexp(1.0, math.frexp(largest)[1]) if 0 < largest < 2.0**1000 else 1.0
    return (x / power).astype(np.float32), power


def matmul(a: Array, b: Array) -> Array:  # (..., R, K), (..., K, C) -> (..., R, C)
    """a·b in float32: good to 2⁻²⁴·K of |a|·|b|, enough for a budget."""
    (narrow_a, of_a), (narrow_b, of_b) = scaled(a), scaled(b)
    return (narrow_a @ narrow_b).astype(np.float64) * (of_a * of_b)


def products(  # (..., R, K), (..., K, C), (C,) -> 2 × (..., R, C), and the product
    a: Array, b: Array, p: Precision, bias: Array | float = 0.0, *, operands: float = 0.0
) -> tuple[Array, Array, Array]:
    """(worst, square of the deviation, value) of a·b + bias, not yet stored.

    Let P = |a|·|b| + |bias|, S = a·b + bias and Q = a²·b², sums over the K products.
    Worst: K + 1 roundings of sums and products in any order, γ·P (Higham 2002, section 3.1). With separate products, sums
    from left to right, a bias at either end, or one in K parts, no product goes through more of them.
    Deviation: sums from left to right and products rounded apart, which is the least accurate usual order: (ROUNDING·u)² times
    the squares of all partial sums, α·Q + β·V² (stochastic.py, `steps`), and Q for the products. V is the sum of the products
    alone if the bias is added at the end; if the sum begins with it, V² becomes V² + 3·V·bias + 3·bias², the mean square
    between bias and S. The larger counts: where the bias cancels the products, S says nothing about the partial sums.
    operands: each factor may be rounded once more, by this unit (tf32; a query that was scaled before).
    Products and sums below the accumulator's normal numbers may be lost, and so may factors below those of storage.
    """
    K = a.shape[-1]
    (narrow_a, of_a), (narrow_b, of_b) = scaled(a), scaled(b)
    power = of_a * of_b
    size = (np.abs(narrow_a) @ np.abs(narrow_b)).astype(np.float64) * power
    value = (narrow_a @ narrow_b).astype(np.float64) * power
    squares = (np.square(narrow_a) @ np.square(narrow_b)).astype(np.float64) * (power * power)
    total, S = size + np.abs(bias), value + bias
    cut = 2 if p.truncates else 1
    worst = gamma(K + 1, cut * p.accumulate) * total + 2 * operands * (1 + operands) * size
    first, second = sequential(K)
    between = value * value + np.maximum(3 * bias * (value + bias), 0)
    variance = (ROUNDING * cut * p.accumulate) ** 2 * ((first + 1) * squares + second * between + S * S)
    if p.truncates:  # and every partial sum is too small, by CUT·u on average
        variance = variance + (CUT * p.accumulate) ** 2 * ((K + 1) / 2) ** 2 * (between + squares)
    variance = variance + 2 * (ROUNDING * operands) ** 2 * squares + (CUT * p.multiply * value) ** 2
    lost = K * p.smallest_sum + flushable(np.asarray(bias), p) + np.zeros_like(size)
    for x, other, left in ((a, b, True), (b, a, False)):
        tiny = flushable(x, p)
        if np.any(tiny):
            lost = lost + (matmul(tiny, np.abs(other)) if left else matmul(np.abs(other), tiny))
    # what float32 may have got wrong above is far smaller than the constant
    worst = worst * (1 + 1e-3) + lost
    return worst, variance + np.minimum(lost, total) ** 2, S
