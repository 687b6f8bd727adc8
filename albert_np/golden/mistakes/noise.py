"""What a precision costs a program that makes no mistake: which precision values are in, and draws of a noisy run.

A draw runs the steps in float64, and each result is off by a random rounding. In float32 and wider these roundings are those
inside every op (stochastic.py). In 16 bits they are those of what an op hands on, since its sums are wider; every second draw
also rounds inside the ops that a program may compute step by step (LayerNorm, softmax, activation). tf32 keeps float32's
values and rounds the factors of products.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from albert_np.golden.measures.ulps import format_of
from albert_np.golden.stochastic import drawn
from albert_np.ops import Array

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "tf32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
NARROW = ("float16", "bfloat16")
PRODUCTS = ("linear", "scores", "context")
STEPWISE = ("layer_norm", "activation", "probs", "tanh", "add")


def precision_of(arrays: Iterable[Array], stored: Iterable[str] = ()) -> str:
    """The narrowest format that holds all values of most arrays. stored: the dtypes of the file; one of 16 bits settles it.

    Most, since a program in 16 bits may hand on one output that it has kept wider. Arrays of whole numbers say nothing.
    """
    kinds = set(stored)
    for name in NARROW:
        if kinds == {name}:
            return name
    found = [x for a in arrays if (x := _telling(np.ravel(a).astype(np.float64))).size]
    for name in ("bfloat16", "float16"):
        if 2 * sum(np.array_equal(rounded(x, name), x) for x in found) > len(found):
            return name
    return "float32" if all(np.array_equal(rounded(x, "float32"), x) for x in found) else "float64"


def _telling(x: Array) -> Array:  # (n,) -> (m,)
    """The numbers that have a fraction; all that are finite and not zero, if none has."""
    x = x[np.isfinite(x) & (x != 0)]
    return fractions if (fractions := x[x != np.round(x)]).size else x


def rounded(x: Array, precision: str) -> Array:
    """x, rounded to the format in which that precision stores, in x's dtype."""
    return format_of("float32" if precision == "tf32" else precision).round(x).astype(x.dtype)


def rounded_weights(weights: Mapping[str, Array], precision: str) -> dict[str, Array]:
    """All weights, rounded to the format: what a program in 16 bits reads."""
    return {name: rounded(x, precision) for name, x in weights.items()}


class Noisy:
    """A table whose results are off by random roundings of a precision."""

    def __init__(self, table: Any, precision: str, rng: np.random.Generator, *, stepwise: bool = False) -> None:
        self._table, self._precision, self._rng, self._stepwise = table, precision, rng, stepwise
        self._unit = UNIT[precision]

    def __getattr__(self, op: str) -> Any:
        method = getattr(self._table, op)

        def noisy(*arrays: Any, **attributes: Any) -> Array:
            narrow = self._precision in NARROW
            if not narrow or (self._stepwise and op in STEPWISE):
                arrays = tuple(map(self._drawn, arrays))
            if self._precision == "tf32" and op in PRODUCTS:
                arrays = tuple(map(self._cut, arrays))
            out = np.asarray(method(*arrays, **attributes))
            return out + self._rounding(out) if narrow else out

        return noisy

    def _drawn(self, x: Array) -> Any:
        return drawn(x, self._rng, self._unit) if x.dtype.kind == "f" else x

    def _cut(self, x: Array) -> Any:
        if x.dtype.kind != "f":
            return x
        return drawn(np.asarray(x) * (1 + 2.0**-11 * (2 * self._rng.random(x.shape) - 1)), self._rng, self._unit)

    def _rounding(self, x: Array) -> Array:
        """Uniform, up to half a unit of the last place either way."""
        size = np.ldexp(self._unit, np.frexp(np.where(np.isfinite(x), x, 0))[1] - 1)
        return np.asarray((2 * self._rng.random(x.shape) - 1) * size)


def tables(table: Any, precision: str, count: int, seed: int = 0) -> Iterator[Noisy]:
    """One table for each draw."""
    for i in range(count):
        yield Noisy(table, precision, np.random.default_rng([seed, i]), stepwise=i % 2 == 1)
