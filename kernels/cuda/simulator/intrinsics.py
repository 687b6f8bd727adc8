"""What kernels/cuda/intrinsics.py does, said in NumPy, for the simulator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def _four(p: Any, index: Any) -> slice:
    """Where p[i … i+3] lies; a GPU takes it down if it does not begin at a multiple of 16 bytes."""
    index = int(index)
    if not 0 <= index <= len(p.array) - 4:
        raise IndexError(f"numbers {index} … {index + 3} of {len(p.array)}")
    if (p.address + 4 * index) % 16:
        raise ValueError(f"16 bytes from number {index} on, which is not at a multiple of them")
    return slice(index, index + 4)


def load4(p: Any, index: Any) -> tuple[np.float32, ...]:
    return tuple(p.array[_four(p, index)])


load4_constant = load4


def store4(p: Any, index: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    p.array[_four(p, index)] = a, b, c, d


def take4(p: Any, index: Any, x: np.ndarray, at: int) -> None:
    x[at : at + 4] = p.array[_four(p, index)]


def add_outer(rows: int, columns: int) -> Callable[..., None]:
    def add(sums: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        assert sums.shape == (rows, columns) == (len(x), len(y))
        sums += np.multiply(x[:, None], y)  # each product is rounded, which a GPU leaves out

    return add


def product(x: Any, y: Any) -> np.float32:
    """As every product is here. On a GPU only this one is rounded for sure before something is added: see activations.py."""
    return np.float32(x) * np.float32(y)


def exp(x: Any) -> np.float32:
    with np.errstate(over="ignore"):
        return np.exp(np.float32(x))


def erfc(x: Any) -> np.float32:
    return np.float32(math.erfc(x))


def tanh(x: Any) -> np.float32:
    return np.tanh(np.float32(x))


def sqrt(x: Any) -> np.float32:
    return np.sqrt(np.float32(x))
