"""The slopes of the activations, sixteen at a time, for the way back (ops.activation_backward).

The naive version, kept for teaching:

    def gelu_new_derivative(x):
        u = 0.7978845608 * (x + 0.044715 * x**3)
        s = 1 / (1 + math.exp(-2 * u))
        return s + x * s * (1 - s) * 2 * 0.7978845608 * (1 + 3 * 0.044715 * x**2)

Everything is made of q = σ(−|…|), the small one of the two: σ·(1 − σ) = q·(1 − q) on both sides of zero, and σ is q or 1 − q,
so that no tail is lost. Within a few ulp of the larger of the slope and 1; slopes are multiplied into gradients that are no
more exact than that.
"""

from __future__ import annotations

from albert_np.kernels.cpu.activations import (
    CUBIC,
    GELU_CODE,
    GELU_NEW_CODE,
    LINEAR,
    LOG2_E,
    LOG2_E_LOW,
    RELU_CODE,
    SILU_CODE,
    TANH_CODE,
    exp,
    normal_tail,
    over_one_plus_power,
    size_of,
)
from albert_np.kernels.cpu.vector import fma, helper, select, splat

LN_2 = 0.6931472
NORMAL = 0.3989423  # 1/√(2π)


@helper
def _gate_slope(x, q, slope):
    """d/dx x·σ(w(x)) = σ + x·σ·(1 − σ)·w′, from q = σ(−|w|) and w′."""
    return fma(x * slope, q * (1.0 - q), select(x > 0.0, 1.0 - q, q))


@helper
def _gelu_new_slope(x):
    size = size_of(x, 10.07)
    square = size * size
    b = fma(square, CUBIC, LINEAR)
    q = over_one_plus_power(splat(1.0), size, b, fma(square, CUBIC, LINEAR - b))
    return _gate_slope(x, q, fma(square, 3 * CUBIC * LN_2, LINEAR * LN_2))


@helper
def _gelu_slope(x):
    size = size_of(x, 13.27)
    tail, power = normal_tail(size, 1.0)
    q = tail * power
    return fma(x * NORMAL, exp(size * size * -0.5), select(x > 0.0, 1.0 - q, q))


@helper
def _silu_slope(x):
    size = size_of(x, 88.7)
    return _gate_slope(x, over_one_plus_power(splat(1.0), size, LOG2_E, LOG2_E_LOW), splat(1.0))


@helper
def _tanh_slope(x):
    """1 − tanh² = 4·σ(2x)·σ(−2x)."""
    q = over_one_plus_power(splat(1.0), size_of(x, 44.0), 2 * LOG2_E, 2 * LOG2_E_LOW)
    return 4.0 * q * (1.0 - q)


@helper
def slope(which, x):
    """f′(x), for the activation of that code in names.py; 1 for any other code."""
    if which == GELU_NEW_CODE:
        return _gelu_new_slope(x)
    if which == GELU_CODE:
        return _gelu_slope(x)
    if which == RELU_CODE:
        return select(x > 0.0, 1.0, 0.0)
    if which == SILU_CODE:
        return _silu_slope(x)
    if which == TANH_CODE:
        return _tanh_slope(x)
    return splat(1.0)
