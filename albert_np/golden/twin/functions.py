"""exp, tanh, 1/√ and erf as a device may have them: correctly rounded, somewhat off, from a table, or written by you."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from albert_np.golden.measures.formats import Format
from albert_np.ops import Array

Function = Callable[[Array], Array]  # float64 -> float64
Given = Function | str | tuple[Any, Any] | None  # how a caller says which

EXACT: dict[str, Function] = {
    "exp": np.exp,
    "tanh": np.tanh,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
}
_FAULT = re.compile(r"([+-]?)(\d+(?:\.\d+)?) ?ulp")


def function(name: str, given: Given, format: Format) -> Function:
    """The function `name` as `given` says, float64 to float64.

    None: the exact one. A callable: itself. "4 ulp": off by up to four units in the last place of `format`, either way; how far
    depends on x alone, without a pattern, as of a polynomial with too few terms. "+4 ulp" and "-4 ulp": by four units, always
    up or always down. A pair of arrays (x, y): straight lines between these points, and flat beyond them: a lookup table.
    Raises ValueError for anything else.
    """
    exact = EXACT[name]
    if given is None:
        return exact
    if callable(given):
        return given
    if isinstance(given, str):
        found = _FAULT.fullmatch(given)
        if found is None:
            raise ValueError(f"{name}: a fault is written like '4 ulp', '+4 ulp' or '-4 ulp'; got {given!r:.60}")
        sign, ulps = found[1], float(found[2])

        def off(x: Array) -> Array:
            y = exact(x)
            share = _share(x) if sign == "" else float(f"{sign}1")
            return np.where(y == 0, y, y + share * ulps * format.place(y))

        return off
    if isinstance(given, tuple) and len(given) == 2:
        points, values = (np.asarray(part, np.float64) for part in given)
        if points.ndim == 1 and points.shape == values.shape and len(points) > 1 and np.all(np.diff(points) > 0):
            return lambda x: np.interp(x, points, values)
        raise ValueError(
            f"{name}: a lookup table is two arrays of one length, and its points rise from each to the next"
        )
    raise ValueError(
        f"{name} is None, a function of an array, a fault like '4 ulp', or a pair (points, values); got {given!r:.60}"
    )


def _share(x: Array) -> Array:  # (...) -> (...)
    """Between −1 and 1, from the bits of x: the same for the same x, and unrelated for its neighbour."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    mixed = (bits * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)  # Fibonacci hashing: the upper 24 bits
    return mixed.astype(np.float64) / 2**23 - 1
