"""The activations a config may name, and their derivatives: plain NumPy, any float dtype in, the same dtype out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
SQRT_2_OVER_PI = 0.7978845608028654  # √(2/π) rounded to float64


def sigmoid(x: Array) -> Array:  # (...,) -> (...,)
    """1 / (1 + e⁻ˣ). The exponent is never positive, so nothing overflows and the left tail keeps its digits."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def gelu_new(x: Array) -> Array:  # (...,) -> (...,)
    """x·½(1 + tanh u), u = √(2/π)(x + 0.044715 x³): the tanh form of GELU, ALBERT's activation.

    It is computed as x·sigmoid(2u), which is the same function: in float64, 1 + tanh u is 0.7 % off at x = −7, and 0 below
    −7.2.
    """
    dtype = x.dtype.type
    z = np.clip(x, -40, 40)  # beyond, the sigmoid is 0 or 1 in every dtype, and the cube would overflow
    u = dtype(SQRT_2_OVER_PI) * (z + dtype(0.044715) * (z * z * z))
    return x * sigmoid(2 * u)


def gelu_new_derivative(x: Array) -> Array:  # (...,) -> (...,)
    """d/dx x·σ(2u) = σ + x·σ·(1 − σ)·2u′, u′ = √(2/π)(1 + 3·0.044715 x²)."""
    dtype = x.dtype.type
    z = np.clip(x, -40, 40)
    u = dtype(SQRT_2_OVER_PI) * (z + dtype(0.044715) * (z * z * z))
    slope = dtype(SQRT_2_OVER_PI) * (1 + dtype(3 * 0.044715) * (z * z))
    return sigmoid(2 * u) + z * sigmoid(2 * u) * sigmoid(-2 * u) * (2 * slope)


def gelu(x: Array) -> Array:  # (...,) -> (...,)
    """x·Φ(x) = x·½ erfc(−x/√2): the erf form of GELU (Hendrycks & Gimpel 2016, eq. 2).

    It uses erfc of the standard library, in float64 for every dtype: 1 + erf(x) would lose the left tail.
    """
    phi = 0.5 * _erfc(np.asarray(x, np.float64) * -math.sqrt(0.5))
    return (x * phi).astype(x.dtype)


def gelu_derivative(x: Array) -> Array:  # (...,) -> (...,)
    """d/dx x·Φ(x) = Φ(x) + x·φ(x), φ the normal density."""
    wide = np.asarray(x, np.float64)
    density = np.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
    return (0.5 * _erfc(wide * -math.sqrt(0.5)) + wide * density).astype(x.dtype)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def relu(x: Array) -> Array:  # (...,) -> (...,)
    """max(x, 0), and NaN stays NaN."""
    return np.maximum(x, 0)


def relu_derivative(x: Array) -> Array:  # (...,) -> (...,)
    """1 above 0, else 0. It is 0 at 0 too, as in torch."""
    return (x > 0).astype(x.dtype)


def silu(x: Array) -> Array:  # (...,) -> (...,)
    """x·sigmoid(x), also known as swish."""
    return x * sigmoid(x)


def silu_derivative(x: Array) -> Array:  # (...,) -> (...,)
    """d/dx x·σ = σ + x·σ·(1 − σ)."""
    return sigmoid(x) + x * sigmoid(x) * sigmoid(-x)


def tanh(x: Array) -> Array:  # (...,) -> (...,)
    return np.tanh(x)


def tanh_derivative(x: Array) -> Array:  # (...,) -> (...,)
    """1 − tanh² = 4·σ(2x)·σ(−2x), which keeps its digits in the tails."""
    return 4 * sigmoid(2 * x) * sigmoid(-2 * x)


# the names a config may use (transformers, ACT2FN); gelu_fast is the same tanh form with u factored as x·√(2/π)·(1 + …x²)
ACTIVATIONS = {
    "gelu_new": gelu_new,
    "gelu_pytorch_tanh": gelu_new,
    "gelu_fast": gelu_new,
    "gelu": gelu,
    "gelu_python": gelu,
    "relu": relu,
    "silu": silu,
    "swish": silu,
    "tanh": tanh,
}


def activation(x: Array, name: str) -> Array:  # (...,) -> (...,)
    """The activation that a config names. `gelu` is the erf form here and in transformers; google-research means tanh."""
    return ACTIVATIONS[name](x)


DERIVATIVES = {
    gelu_new: gelu_new_derivative,
    gelu: gelu_derivative,
    relu: relu_derivative,
    silu: silu_derivative,
    tanh: tanh_derivative,
}


def activation_backward(dy: Array, x: Array, name: str) -> Array:  # (...,), (...,) -> (...,)
    """y = f(x): dx = dy·f′(x)."""
    return dy * DERIVATIVES[ACTIVATIONS[name]](x)
