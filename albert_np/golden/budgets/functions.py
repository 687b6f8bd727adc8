"""The budgets of activations, of tanh and of softmax: functions that hardware computes to some units in the last place.

i is the unit of the steps inside. A correct erf or exp is off by at most 2 ULP, which is up to 4i of its size: the bound of
CUDA's functions and of good vector libraries. A correct tanh may be off by 5 ULP, as OpenCL allows it: those that are rational
functions come near. An honest one of them is off by HONEST·i in the root mean square, also such a tanh. In 16 bits
each step may be rounded to 16 bits, or all of them may be float32 and rounded once.
"""

from __future__ import annotations

import math

import numpy as np

from albert_np.activations import ACTIVATIONS, DERIVATIVES, SQRT_2_OVER_PI, gelu, gelu_new, relu, silu
from albert_np.activations import tanh as true_tanh
from albert_np.golden.budgets.parts import (
    Bins,
    Budget,
    Rivals,
    Rows,
    coherent,
    flushable,
    gamma,
    rounded,
    sequential,
    stored,
    unrecorded,
)
from albert_np.golden.budgets.precisions import Precision
from albert_np.golden.budgets.rivals import of_activation
from albert_np.golden.stochastic import ROUNDING
from albert_np.ops import Array, MaskMode, masked_softmax

ULP2 = 4.0  # 2 ULP of y are up to 4u·|y|
TANH = 10.0  # 5 ULP; ONNX Runtime's float32 tanh, which all of its models run, is off by up to 5.5u·|y|
HONEST = 1.2  # u·|y|, the root mean square of a function whose largest error is 2 ULP
HONEST_HALF = 0.6  # the same of a function in 16 bits: computed wider, and rounded once
SYSTEMATIC = 1.5  # u·|y|: what all errors in one place of the argument may have in common, in float32
SYSTEMATIC_HALF = 0.1
COARSE = 0.25  # an exponent that is off by more is no small error: e^E − 1 is 14 % larger than E


def _constants(p: Precision) -> tuple[float, float, float]:
    """The unit of steps; an honest function; what errors may have in common."""
    i = p.unit
    return i, (HONEST_HALF if p.half else HONEST) * i, (SYSTEMATIC_HALF if p.half else SYSTEMATIC) * i


def _inside(x: Array, function: object) -> tuple[Array, Array, Array]:
    """What the textbook form does at x, for y = ½x·(1 + t(z)): |∂y/∂t|, |t|, and |z·t′(z)|.

    1 + t loses the digits of the left tail, where t is near −1: an error of t is that large in 1 + t. It is in the budget,
    because programs that compute so are everywhere, and correct by their own standard.
    """
    half = np.abs(x) / 2
    if function is gelu_new:  # t = tanh, z = √(2/π)(x + 0.044715x³)
        c = np.clip(x, -40, 40)
        z = SQRT_2_OVER_PI * (c + 0.044715 * c**3)
        t = np.tanh(z)
        return half, np.abs(t), np.abs(z) / np.cosh(np.clip(z, -350, 350)) ** 2
    if function is gelu:  # t = erf, z = x/√2; erf is 2Φ − 1
        z = np.clip(x, -40, 40) * math.sqrt(0.5)
        t = 2 * gelu(x) / np.where(x == 0, 1, x) - 1
        return half, np.abs(np.where(x == 0, 0, t)), np.abs(z) * 2 / math.sqrt(math.pi) * np.exp(-z * z)
    z = np.clip(x, -700, 700) / 2  # silu: t = tanh(x/2)
    return half, np.abs(np.tanh(z)), np.abs(z) / np.cosh(z) ** 2


def activation(x: Array, name: str, p: Precision) -> Budget:  # (...) -> (...)
    """relu is exact. Of the others, two forms are correct, and a budget is the larger of the two.

    ½x·(1 + t(z)): t is off by 2 ULP, or 5 if it is tanh, and by the relative error of z, 6 roundings, times z·t′; 1 + t and
    two products round.
    x·σ(2z), or erfc: exp is off by 2 ULP and by that of its argument; sum, quotient and product round.
    In 16 bits, x may have been wider before it was recorded: u·|x·f′(x)|.
    """
    function = ACTIVATIONS[name]
    y = function(x)
    i, honest, systematic = _constants(p)
    wider = unrecorded(x, p) * np.abs(DERIVATIVES[function](x))
    if function is true_tanh:
        return tanh(x, p)
    if function is relu:
        flushed = flushable(y, p)
        return Budget(flushed, flushed)
    half, t, slope = _inside(x, function)
    exponent = (
        np.abs(x) if function is silu else np.minimum(x * x, 2000)
    )  # of e, in the other form; its relative error counts
    exponent = np.where(np.abs(x) < 40, exponent, 0)
    with_t = half * ((ULP2 if function is gelu or p.half else TANH) * t + 6 * slope)
    size = np.abs(y)
    floor = 4 * p.smallest * np.abs(x)
    # where x is far to the left, 1 + t may be 0, and so may e
    worst = i * with_t * (1 + 8 * i) + i * size * (ULP2 + 6 + 6 * exponent * (x < 0)) + wider + floor
    worst_stored, stored_variance = stored(y, p, smaller_by=worst)
    own = (half * t * honest) ** 2 + (2 * ROUNDING * i * half * slope) ** 2 + (size * honest) ** 2
    own = own + (2 * ROUNDING * i * size) ** 2 + (ROUNDING * wider) ** 2 + stored_variance
    # 1 + t, for t near −1, is one of a few numbers
    lost = np.minimum(half * 2 * i, size) * (x < -1)
    own = own + (lost / 2) ** 2 + np.minimum(floor, size) ** 2
    shared = systematic * (half * t + size) + np.where(lost >= size / 4, lost, 0) + np.minimum(floor, size)
    shared = shared + np.where(size < 2 * p.smallest, size, 0)
    return Budget(
        worst + worst_stored, np.sqrt(own), bins=Bins(x, shared), rivals=of_activation(x, function, p), value=y
    )


def tanh(x: Array, p: Precision) -> Budget:  # (...) -> (...)
    """5 ULP; in 16 bits 2, and one rounding, and x may have been wider."""
    y = np.tanh(x)
    i, honest, systematic = _constants(p)
    wider = unrecorded(x, p) * (1 - y * y)
    worst = (ULP2 if p.half else TANH) * i * np.abs(y) + wider + np.minimum(np.abs(x), p.smallest)
    worst_stored, stored_variance = stored(y, p, smaller_by=worst)
    own = (honest * y) ** 2 + (ROUNDING * wider) ** 2 + stored_variance
    shared = systematic * np.abs(y) + np.where(np.abs(y) < 2 * p.smallest, np.abs(y), 0)
    return Budget(
        worst + worst_stored, np.sqrt(own), bins=Bins(x, shared), rivals=of_activation(x, true_tanh, p), value=y
    )


def probs(  # (B,N,T,T), (B,1,1|T,T) bool, (N,) -> (B,N,T,T)
    scores: Array, allowed: Array, head_mask: Array | None, mask_mode: MaskMode, p: Precision
) -> Budget:
    """e^(s − max)/Σ: the error of an exponent is a factor on its e.

    Exponent j is off by E_j: one rounding of s − max, a product with log₂e, and another difference in kernels that go by
    blocks and move their maximum; in 16 bits, s may have been wider before it was recorded, u·|s_j|, and the difference may be
    rounded to 16 bits. exp is off by 2 ULP. So probability k is at most p_k·e^(E_k)/Σ p_j·e^(−E_j), and at least the same with
    the signs exchanged. The sum is off by γ of itself, and quotient, products and storage round.
    What the sum is off, and what the exponents are off in the mean, is a factor that a row shares.
    """
    y = masked_softmax(scores, allowed, mask_mode)
    i, honest, systematic = _constants(p)
    T = scores.shape[-1]
    some = np.any(allowed, axis=-1, keepdims=True)
    s = np.where(allowed & some, scores, 0)
    top = np.max(np.where(allowed, scores, -np.inf), axis=-1, keepdims=True)
    below = np.where(allowed & some, np.where(some, top, 0) - scores, 0)
    wider = unrecorded(s, p)
    E = np.minimum(wider + 4 * i * below + ULP2 * i, 300.0)
    grown, shrunk = np.exp(E), np.exp(-E)
    high = y * (grown / np.sum(y * shrunk, axis=-1, keepdims=True) - 1)
    low = y * (1 - shrunk / np.sum(y * grown, axis=-1, keepdims=True))
    roundings = gamma(T + 4, p.accumulate) + 3 * i
    worst = np.maximum(high, low) * (1 + roundings) + roundings * y + np.where(some, T * p.smallest * y + p.smallest, 0)
    worst_stored, stored_variance = stored(y, p, smaller_by=worst)
    worst = worst + worst_stored

    exponents = (ROUNDING * wider) ** 2 + 2 * (ROUNDING * i * below) ** 2 + honest**2
    own = y * y * exponents + (ROUNDING * i * y) ** 2 + stored_variance
    # e^E is no longer 1 + E where a score may have been a large step away: any error inside the worst case is usual
    own = own + np.where(np.max(wider, axis=-1, keepdims=True) > COARSE, worst * worst, 0)
    first, second = sequential(T)
    squares = np.sum(y * y, axis=-1, keepdims=True)
    factor = (ROUNDING * p.accumulate) ** 2 * (first * squares + second) + (2 * ROUNDING * i) ** 2
    factor = factor + np.sum(y * y * exponents, axis=-1, keepdims=True)
    largest = np.where(below > 0, 0, y)  # e⁰ = 1: sums of ones are exact
    factor = factor + coherent(y - largest, p, np.sum(largest, axis=-1, keepdims=True)) ** 2
    if head_mask is not None:
        heads = np.abs(head_mask)[:, None, None]
        worst, own, y = worst * heads + p.unit * heads * y, (own + (ROUNDING * p.unit * y) ** 2) * heads**2, y * heads
    row = Rows(y, np.sqrt(factor), np.full_like(factor, 2 * i), math.inf)
    argument = rounded(-below, p) if p.half else -below  # steps of 16 bits have few exponents, and one error for each
    # log₂e is a constant that is rounded once; what is too small for the format may be 0
    shared = (systematic + 2.0**-24 * below) * y + np.where(y < 2 * p.smallest, y, 0)
    return Budget(
        worst, np.sqrt(own), rows=row, bins=Bins(argument, shared), rivals=Rivals((rounded(y, p) - y,)), value=y
    )
