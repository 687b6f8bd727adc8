"""Where an error can enter the graph, how large it is, and what it does to the step that it is in.

An op may be off in its result, or in a function that it computes inside, which is where accelerators are weak: tanh inside
the tanh form of GELU (and the pooler's own), the exponentials of the softmax, the reciprocal root of LayerNorm. The last is
one number for a whole row, so its error moves the row as one.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from albert_np.activations import ACTIVATIONS, SQRT_2_OVER_PI, gelu_new, tanh
from albert_np.files import shown
from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import Step, evaluate
from albert_np.golden.measures.ulps import FORMATS, ulp
from albert_np.ops import Array

FUNCTIONS = ("tanh", "exp", "rsqrt")  # inside of ops
LAYER = "encoder.layer.*."  # how the name of a part begins that each application has
UNITS = (*FORMATS, "relative", "absolute")

Linear = Callable[[Array], Array]


@dataclass(frozen=True)
class Site:
    """One place where an error enters, in one application."""

    step: Step
    function: str  # one of FUNCTIONS, or "": the result of the op
    value: Array  # what is off
    spread: Linear  # an error of it (...) -> the error of the step's output; also with a leading axis
    collect: Linear  # its transpose: a cotangent of the step's output (P,...) -> one of the value

    @property
    def key(self) -> str:
        """The step's name, or that with the function behind it."""
        return f"{self.step.name}:{self.function}" if self.function else self.step.name

    @property
    def part(self) -> str:
        """The key with a * for the application: encoder.layer.*.attention.query."""
        return re.sub(r"^encoder\.layer\.\d+\.", LAYER, self.key)


def sites(step: Step, values: Mapping[str, Array], weights: Mapping[str, Array]) -> Iterator[Site]:
    """Every place of a step where an error can enter: its result, and what it computes inside."""
    y, same = values[step.name], _same
    yield Site(step, "", y, same, same)
    x = values[step.inputs[0]]
    if step.op == "tanh" or (step.op == "activation" and ACTIVATIONS[step.attributes["name"]] is tanh):
        yield Site(step, "tanh", y, same, same)
    elif step.op == "activation" and ACTIVATIONS[step.attributes["name"]] is gelu_new:  # ½x·(1 + tanh u)
        z = np.clip(x, -40, 40)
        half = _times(0.5 * x)
        yield Site(step, "tanh", np.tanh(SQRT_2_OVER_PI * (z + 0.044715 * z**3)), half, half)
    elif step.op == "layer_norm":  # r·(x − mean)·w + b
        r = 1 / np.sqrt(np.var(x, axis=-1, keepdims=True) + step.attributes["eps"])
        row = (y - weights[step.weights[1]]) / r
        yield Site(step, "rsqrt", r, _times(row), lambda c: np.sum(c * row, axis=-1, keepdims=True))
    elif step.op == "probs":  # e/Σe
        lowest = np.finfo(np.float64).min
        masked = x + np.where(values[step.inputs[1]], 0.0, lowest)
        e = np.exp(masked - np.max(masked, axis=-1, keepdims=True))
        total = np.sum(e, axis=-1, keepdims=True)
        p, factor = e / total, values[step.inputs[2]][:, None, None] if len(step.inputs) > 2 else 1.0
        yield Site(
            step,
            "exp",
            e,
            lambda d: factor * (d - p * np.sum(d, axis=-1, keepdims=True)) / total,
            lambda c: (factor * c - np.sum(p * (factor * c), axis=-1, keepdims=True)) / total,
        )


def deviation(value: Array, unit: str) -> Array:
    """What an error of one unit is for each element: its ULP in a format, its size ("relative"), or 1 ("absolute")."""
    if unit == "relative":
        return np.abs(value)
    return np.ones_like(value) if unit == "absolute" else ulp(value, unit)


def check_unit(unit: str) -> str:
    """ValueError for what is none of UNITS."""
    if unit not in UNITS:
        raise ValueError(f"precision must be one of {', '.join(UNITS)}; got {shown(unit, 40)!r}")
    return unit


def _same(x: Array) -> Array:
    return x


def _times(factor: Array) -> Linear:
    return lambda x: factor * x


def noisy(
    steps: list[Step],
    values: Mapping[str, Array],
    weights: Mapping[str, Array],
    sizes: Mapping[str, float],
    *,
    unit: str,
    seed: tuple[int, ...],
    repeated: bool = False,
) -> dict[str, Array]:
    """One run of the graph with normal noise. sizes: key of a place -> standard deviation, in units.

    values: of the run without noise, which is also what the steps before the first noise are. repeated: a part has the same
    noise in each of its applications. A place has the same noise wherever else there is some.
    """
    found = dict(values)
    changed: set[str] = set()
    keys = {key.partition(":")[0] for key in sizes}
    for one in steps:
        if not changed.intersection(one.inputs) and one.name not in keys:
            continue
        y = np.asarray(evaluate(one, found, weights, Exact()))
        found[one.name] = y
        total = y
        for site in sites(one, found, weights) if one.name in keys else ():
            size = sizes.get(site.key, 0.0)
            if size:
                z = generator(site.part if repeated else site.key, seed).standard_normal(site.value.shape)
                total = total + site.spread(size * deviation(site.value, unit) * z)
        found[one.name] = total
        changed.add(one.name)
    return found


def generator(name: str, seed: tuple[int, ...]) -> np.random.Generator:
    """Of the noise of that name."""
    return np.random.default_rng([*seed, zlib.crc32(name.encode())])
