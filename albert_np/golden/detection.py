"""Which precision a candidate has, from its values.

A half-precision program leaves tensors that the format holds exactly, whatever they are stored in: a float32 number is one
of bfloat16 by chance once in 65,536 times. TF32 leaves no such trace, since its results are float32. It shows in the
products: they are far less exact than float32, and as exact as float32 if the operands are rounded to TF32 first.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import Step, evaluate
from albert_np.golden.recording import Recording
from albert_np.golden.ulps import rounded, ulp
from albert_np.ops import Array

LOOKED_AT = 24  # tensors, spread over the graph
GAIN = (
    4  # rounding the operands to TF32 makes the error of a TF32 product this much smaller at least; measured: over 100
)


def detected(reference: Recording, values: Mapping[str, Array], stored: Mapping[str, str]) -> tuple[str, str]:
    """The name of a precision and what speaks for it."""
    steps = [one for one in reference.steps if one.name in values]
    some = steps[:: max(1, len(steps) // LOOKED_AT)]
    for name in ("float16", "bfloat16"):
        if sum(stored[one.name] == name for one in some) * 2 > len(some):
            return name, f"most of its tensors are stored in {name}"
    for name in ("bfloat16", "float16"):
        held = [_holds(name, values[one.name]) for one in some if _says_something(values[one.name])]
        if held and sum(held) * 2 > len(held):
            return name, f"{sum(held)} of {len(held)} tensors hold nothing that {name} does not"
    products = [one for one in steps if one.op == "linear" and all(name in values for name in one.inputs)]
    votes = [_is_tf32(one, reference, values) for one in products[:: max(1, len(products) // 8)]]
    if votes and sum(votes) * 2 > len(votes):
        return "tf32", f"{sum(votes)} of {len(votes)} products are those of operands rounded to TF32"
    return "float32", "its values are no half precision, and its products not those of TF32"


def _says_something(x: Array) -> bool:
    """A tensor of zeros and ones is held by every format."""
    with np.errstate(invalid="ignore"):
        return bool(np.count_nonzero(np.isfinite(x) & (x != np.round(x))) >= min(8, x.size))


def _holds(name: str, x: Array) -> bool:
    return bool(np.array_equal(rounded(x, name), x, equal_nan=True))


def _is_tf32(step: Step, reference: Recording, values: Mapping[str, Array]) -> bool:
    def error(operand: Mapping[str, Array], weights: Mapping[str, Array]) -> float:
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.asarray(evaluate(step, operand, weights, Exact())) - values[step.name]
        finite = difference[np.isfinite(difference)]
        return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else np.inf

    operand = {name: values[name] for name in step.inputs}
    weight, bias = step.weights
    weights = {weight: reference.weights[weight], bias: reference.weights[bias]}
    plain = error(operand, weights)
    for narrow in (lambda x: rounded(x, "tf32"), _cut):  # to nearest, or cut off, as tensor cores do
        cut = {name: narrow(x) for name, x in operand.items()}
        both = weights | {weight: narrow(weights[weight])}
        if plain > GAIN * error(cut, both):
            return True
    return False


def _cut(x: Array) -> Array:
    """x without the digits that TF32 does not have."""
    unit = ulp(x, "tf32")
    return np.where(np.isfinite(x), np.trunc(x / unit) * unit, x)
