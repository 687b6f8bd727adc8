"""Stored tensors in another dtype: each number is rounded once, to the nearest, ties to even; and what that loses."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.formats.values import FLOATS
from albert_np.files import shown
from albert_np.golden.measures.formats import FORMATS
from albert_np.ops import Array

WORDS = {name: word for word, name in FLOATS.items()}  # what a caller may name -> safetensors' word
SHORT = {"double": "float64", "float": "float32", "half": "float16", "fp64": "float64", "fp32": "float32"} | {
    "fp16": "float16",
    "bf16": "bfloat16",
}
BLOCK = 1 << 20  # numbers that are compared at once


class Loss(NamedTuple):
    """What rounding one tensor changed."""

    changed: int  # how many numbers
    largest: float  # the largest difference
    relative: float  # the largest difference in parts of the number
    to_zero: int  # how many numbers other than zero became zero


def word_of(dtype: object) -> str | None:
    """Safetensors' word for the dtype that is asked for, "" or None meaning each tensor's own. ValueError for another."""
    if dtype is None or dtype == "":
        return None
    name = getattr(dtype, "__name__", None) or getattr(dtype, "name", None) or str(dtype)
    name = name.removeprefix("torch.")
    name = SHORT.get(name, name)
    if name not in WORDS:
        raise ValueError(
            f"dtype must be one of {', '.join(WORDS)}, or None for each tensor's own; got {shown(name, 60)}"
        )
    return WORDS[name]


def rounded(tensor: Tensor, word: str) -> Tensor:
    """The tensor in another dtype, rounded when it is loaded."""
    if tensor.dtype == word:
        return tensor
    return tensor._replace(dtype=word, load=partial(_load, tensor, word))


def values_in(x: Array, word: str) -> Array:
    """Each number rounded to the nearest that the dtype has, ties to even. bfloat16 numbers come as float32."""
    if word == "BF16":
        return FORMATS["bfloat16"].round(x)
    with np.errstate(over="ignore", under="ignore"):  # the caller looks for what became infinite
        return x.astype(FLOATS[word])


def loss(before: Array, after: Array) -> Loss | None:
    """What rounding changed, or None if nothing. Some numbers at a time: float64 copies of a whole table would be large."""
    x, y = before.reshape(-1), after.reshape(-1)
    parts = [_loss(x[i : i + BLOCK], y[i : i + BLOCK]) for i in range(0, x.size, BLOCK)]
    found = [part for part in parts if part is not None]
    if not found:
        return None
    return Loss(
        changed=sum(part.changed for part in found),
        largest=max(part.largest for part in found),
        relative=max(part.relative for part in found),
        to_zero=sum(part.to_zero for part in found),
    )


def _loss(before: Array, after: Array) -> Loss | None:
    x, y = before.astype(np.float64), after.astype(np.float64)
    changed = (x != y) & ~(np.isnan(x) & np.isnan(y))
    if not changed.any():
        return None
    x, y = x[changed], y[changed]
    difference = np.abs(y - x)
    return Loss(int(changed.sum()), float(difference.max()), float((difference / np.abs(x)).max()), int((y == 0).sum()))


def _load(tensor: Tensor, word: str) -> Array:
    x = tensor.load()
    y = values_in(x, word)
    lost = np.isinf(y) & np.isfinite(x)
    if lost.any():
        where = tuple(int(i) for i in np.argwhere(lost)[0])
        raise ValueError(
            f"tensor {shown(tensor.name)} holds {x[where]:.6g} at {list(where)}, which is too large for {FLOATS[word]}: "
            "choose a dtype with a wider range, such as bfloat16"
        )
    return y
