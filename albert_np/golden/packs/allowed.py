"""What each element of a pack's output may be off: the budget of its op, or of several ops one behind the other.

A single op has the budget of golden/budgets/table.py. Behind it, in a fused op, the next op's input is off by as much as that
budget allows, and each function below says what this does to its output: a bound for perturbations of any size, not a
derivative. The next op's own budget is taken at both ends of what its input may be, and the larger one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from albert_np.golden.budgets.precisions import Precision, precision
from albert_np.golden.budgets.table import Budgets
from albert_np.golden.graph import Step, evaluate
from albert_np.golden.packs.pack import Argument
from albert_np.ops import Array

# the largest slope of each activation: GELU's, in both forms, is 1.1290 at x = ±√2 (the erf form's has its maximum where
# (2 − x²)·φ(x) = 0; the tanh form's is 1.1290 at 1.4136); silu's is 1.0999 at 2.3994; relu's and tanh's is 1
STEEPEST = {"silu": 1.1, "swish": 1.1, "relu": 1.0, "tanh": 1.0}
STEEPEST_GELU = 1.13
# everything in float64: no candidate is recorded so, but a pack can be checked so
FLOAT64 = Precision(
    name="float64",
    unit=2.0**-53,
    smallest=2.0**-1022,
    largest=float(np.finfo(np.float64).max),
    multiply=0.0,
    accumulate=2.0**-53,
    smallest_sum=2.0**-1022,
    truncates=False,
)


def allowed(steps: Sequence[Step], given: Sequence[Argument], values: Mapping[str, Array], dtype: str) -> Array:
    """The budget of the last step's output, of its shape. values: what each step gives, in float64.

    In float64 the truth itself is a program of that precision, so that two programs may be off: the budget is twice as large.
    """
    budgets = Budgets(FLOAT64 if dtype == "float64" else precision(dtype))
    known = {one.source: one.value for one in given} | dict(values)
    off: dict[str, Array] = {}
    with np.errstate(invalid="ignore", over="ignore"):
        for one in steps:
            inherited = [name for name in one.inputs if name in off]
            own = [_worst(budgets, one, known)]
            for name in inherited:
                for sign in (-1, 1):
                    own.append(_worst(budgets, one, known | {name: known[name] + sign * off[name]}))
            off[one.name] = np.max(own, axis=0) + sum(_spread(one, name, off[name], known) for name in inherited)
    worst = np.broadcast_to(off[steps[-1].name], values[steps[-1].name].shape)
    worst = np.where(np.isnan(values[steps[-1].name]), 0.0, worst)  # nothing but NaN is right there
    return 2 * worst if dtype == "float64" else worst


def _worst(budgets: Budgets, step: Step, known: Mapping[str, Array]) -> Array:
    return np.asarray(evaluate(step, known, known, budgets).worst, np.float64)


def _spread(step: Step, name: str, off: Array, known: Mapping[str, Array]) -> Array:
    """How far the output moves if one input is off by that much."""
    y = known[step.name]
    if step.op == "activation":
        return STEEPEST.get(step.attributes["name"], STEEPEST_GELU) * off
    if step.op == "layer_norm":
        return _of_layer_norm(known[name], off, known[step.weights[0]], step.attributes["eps"])
    if step.op == "probs":  # p·e^δ/Σ p·e^δ lies between p·e^(−δ−max δ) and p·e^(δ+max δ)
        known_off = np.where(known[step.inputs[1]], off, 0.0)
        return np.abs(y) * np.expm1(known_off + np.max(known_off, axis=-1, keepdims=True))
    assert step.op == "context", f"nothing says how {step.op} passes an error on"
    num_heads = step.attributes["num_heads"]
    value = np.abs(known[step.inputs[1]])
    B, T, H = value.shape
    heads = value.reshape(B, T, num_heads, H // num_heads).transpose(0, 2, 1, 3)
    return np.asarray((off @ heads).transpose(0, 2, 1, 3).reshape(B, T, H))


def _of_layer_norm(x: Array, off: Array, weight: Array, eps: float) -> Array:  # (...,H), (...,H), (H,) -> (...,H)
    """n′ − n = (c′ − c)/s′ + n·(s − s′)/s′, where c is x without its mean, s = √(variance + ε), and n = c/s.

    c moves by no more than off + mean(off); s, the norm of (c/√H, √ε), by no more than the norm of off/√H.
    """
    centred = x - np.mean(x, axis=-1, keepdims=True)
    s = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + eps)
    moved = np.sqrt(np.mean(off * off, axis=-1, keepdims=True))
    least = np.maximum(s - moved, np.sqrt(eps))
    return np.abs(weight) * (off + np.mean(off, axis=-1, keepdims=True) + np.abs(centred) / s * moved) / least
