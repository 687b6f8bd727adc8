"""What a kernel is before it is compiled: its Python function and how it wants to be launched. Imports no Numba."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Kernel:
    function: Callable[..., None]
    parameters: str  # a letter each: F, I, B, H, W point to float32, int32, uint8, uint16, uint32; f, u, i are numbers
    threads: int | tuple[int, int]  # a block
    blocks: int = 1  # that an SM shall hold at once, or more: what the compiler limits registers by
    shared: int = 0  # bytes of shared memory whose size is given at launch

    @property
    def name(self) -> str:
        return self.function.__name__


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


class OutOfMemoryError(Exception):
    """The GPU has not that many bytes to give; nothing else was changed."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(f"{nbytes:,} bytes of GPU memory are not to be had")
        self.nbytes = nbytes


@dataclass(frozen=True)
class Buffer:
    """A stretch of GPU memory that holds numbers of one type, side by side."""

    memory: Any  # device.Memory
    offset: int  # bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def behind(self, count: int) -> Buffer:
        """What is left behind the first numbers: where a kernel shall begin."""
        return replace(self, offset=self.offset + count * self.dtype.itemsize, shape=(self.size - count,))
