"""Which precision a candidate has, from its values.

A half-precision program leaves tensors that the format holds exactly, whatever they are stored in: a float32 number is one
of bfloat16 by chance once in 65,536 times. TF32 leaves no such trace, since its results are float32, and neither do programs
that round only the operands of products to 16 bits. It shows in the products: they are far less exact than float32, and as
exact as float32 if the operands are rounded first. A fused program of that kind (our own bfloat16 on the CPU, autocast) writes
some of what products read rounded, and all else in float32: five of the ten tensors of a layer, and fewer where not all are
recorded. So a third of the tensors is enough. None of them is there by chance.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import Step, evaluate
from albert_np.golden.measures.ulps import rounded, ulp
from albert_np.golden.recording import Recording
from albert_np.ops import Array

OPERANDS = ("tf32", "bfloat16")  # those of float16 have the digits of TF32
LOOKED_AT = 24  # tensors, spread over the graph
# rounding the operands makes the error of a product of rounded operands this much smaller at least; measured: over 100
GAIN = 4


def detected(reference: Recording, values: Mapping[str, Array], stored: Mapping[str, str]) -> tuple[str, str]:
    """The name of a precision and what speaks for it."""
    steps = [one for one in reference.steps if one.name in values]
    some = steps[:: max(1, len(steps) // LOOKED_AT)]
    for name in ("float16", "bfloat16"):
        if sum(stored[one.name] == name for one in some) * 2 > len(some):
            return name, f"most of its tensors are stored in {name}"
    for name in ("bfloat16", "float16"):
        held = [_holds(name, values[one.name]) for one in some if _says_something(values[one.name])]
        if held and sum(held) * 3 > len(held):
            return name, f"{sum(held)} of {len(held)} tensors hold nothing that {name} does not"
    products = [one for one in steps if one.op == "linear" and all(name in values for name in one.inputs)]
    votes = [_operands(one, reference, values) for one in products[:: max(1, len(products) // 8)]]
    for name in OPERANDS:
        if votes.count(name) * 2 > len(votes):
            return name, f"{votes.count(name)} of {len(votes)} products are those of operands rounded to {name}"
    return "float32", "its values are float32, and its products not those of rounded operands"


def _says_something(x: Array) -> bool:
    """A tensor of zeros and ones is held by every format."""
    with np.errstate(invalid="ignore"):
        return bool(np.count_nonzero(np.isfinite(x) & (x != np.round(x))) >= min(8, x.size))


def _holds(name: str, x: Array) -> bool:
    return bool(np.array_equal(rounded(x, name), x, equal_nan=True))


def _operands(step: Step, reference: Recording, values: Mapping[str, Array]) -> str:
    """The format that the operands of a product were rounded to, as far as its result shows; or ""."""

    def error(operand: Mapping[str, Array], weights: Mapping[str, Array]) -> float:
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.asarray(evaluate(step, operand, weights, Exact())) - values[step.name]
        finite = difference[np.isfinite(difference)]
        return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else np.inf

    operand = {name: values[name] for name in step.inputs}
    weight, bias = step.weights
    weights = {weight: reference.weights[weight], bias: reference.weights[bias]}
    errors = {"": error(operand, weights) / GAIN}
    for name in OPERANDS:
        for narrow in (rounded, _cut):  # to nearest, or cut off, as tensor cores do
            cut = {key: narrow(x, name) for key, x in operand.items()}
            both = weights | {weight: narrow(weights[weight], name)}
            errors[name] = min(errors.get(name, np.inf), error(cut, both))
    return min(errors, key=errors.__getitem__)


def _cut(x: Array, name: str) -> Array:
    """x without the digits that the format does not have."""
    unit = ulp(x, name)
    return np.where(np.isfinite(x), np.trunc(x / unit) * unit, x)
