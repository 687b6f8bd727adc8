"""In 16 bits: is what a candidate computed another function, whose values lie inside the budget of the right one?

The two forms of GELU differ by 0.0005 at most, an unbiased variance of 768 numbers by 0.07 %: less than one rounding to
bfloat16. Yet the roundings are known: a program that computes in float32 and rounds once gives round(f(x)), and one that
rounds each step gives nearly what the same steps give here. So the errors of such programs are computed, for the right
function (`correct`) and for one that is often taken for it (`rivals`), and judging.py asks which explains the candidate.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from albert_np.activations import SQRT_2_OVER_PI, gelu, gelu_new, silu
from albert_np.golden.budgets.parts import Rivals, rounded
from albert_np.golden.budgets.precisions import Precision
from albert_np.ops import Array

Function = Callable[[Array], Array]


def of_activation(x: Array, function: Function, p: Precision) -> Rivals:  # (...) -> (...)
    """Computed for each different number once, and for all elements that have it."""
    distinct, place = np.unique(x, return_inverse=True)
    y = function(distinct)

    def everywhere(z: Array) -> Array:
        return (z - y)[place].reshape(x.shape)

    others: dict[Function, Function] = {gelu_new: gelu, gelu: gelu_new}
    other = others.get(function)
    correct = tuple(everywhere(z) for z in programs(distinct, function, p))
    if other is None:
        return Rivals(correct)
    wrong = tuple(everywhere(z) for z in programs(distinct, other, p))
    rounding = (p.unit * (np.abs(y) + p.smallest))[place].reshape(x.shape)
    return Rivals(correct, wrong, rounding, everywhere(other(distinct)), x)


def programs(x: Array, function: Function, p: Precision) -> list[Array]:  # (...) -> (...)
    """What correct programs give: rounded once; and if the format has 16 bits, with every step rounded.

    The constants of a formula may be rounded like everything else, or be exact, as a number in Python is for PyTorch.
    """

    def r(z: Array) -> Array:
        return rounded(z, p)

    found = [r(function(x))]
    if not p.half:
        return found
    c, half = np.clip(x, -40, 40), r(x / 2)
    if function is silu:
        found.append(r(x * r(1 / r(1 + r(np.exp(-c))))))
    for constant in (lambda z: rounded(np.array(z), p), np.array):
        if function is gelu:
            z = r(c * constant(math.sqrt(0.5))) * math.sqrt(2)
            erf = np.where(z == 0, 0, 2 * gelu(z) / np.where(z == 0, 1, z) - 1)
            found.append(r(half * r(1 + r(erf))))
        if function is gelu_new:
            root, cubic = constant(SQRT_2_OVER_PI), constant(0.044715)
            z = r(root * r(c + r(cubic * r(c * r(c * c)))))
            found += [r(half * r(1 + r(np.tanh(z)))), r(x * r(1 / r(1 + r(np.exp(r(-2 * z))))))]
    return found


def of_layer_norm(x: Array, weight: Array, bias: Array, eps: float, p: Precision) -> Rivals:  # (..., H) -> (..., H)
    """The other ε in use, 1e-5 or 1e-12, and the unbiased variance; in float32 and rounded once."""
    n = x.shape[-1]
    d = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(d * d, axis=-1, keepdims=True)

    def once(variance: Array, eps: float) -> Array:
        return d / np.sqrt(variance + eps) * weight + bias

    y = once(variance, eps)
    others = [once(variance, other) for other in (1e-5, 1e-12) if other != eps]
    if n > 1:
        others.append(once(variance * n / (n - 1), eps))
    rounding = p.unit * (np.abs(y) + p.smallest)
    return Rivals((rounded(y, p) - y,), tuple(rounded(z, p) - y for z in others), rounding)
