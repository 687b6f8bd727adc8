"""Buffers that are kept: a call takes a set of them, and the next call of that size allocates nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from albert_np.kernels.cpu.layout import row_stride
from albert_np.kernels.cpu.operands import aligned

Array = np.ndarray[Any, np.dtype[Any]]
KEPT = 4  # sets of buffers; Python threads that call at once use one each


class Buffers:
    """Named buffers of one call. Each is as long as the longest use so far."""

    def __init__(self) -> None:
        self._memory: dict[str, Array] = {}

    def numbers(self, name: str, count: int) -> Array:  # -> (count,) float32
        memory = self._memory.get(name)
        if memory is None or len(memory) < count:
            memory = self._memory[name] = aligned(count)
        return memory[:count]

    def rows(self, name: str, count: int, columns: int) -> Array:  # -> (count, stride)
        stride = row_stride(columns)
        return self.numbers(name, count * stride).reshape(count, stride)


class Arena:
    def __init__(self) -> None:
        self._free: list[Buffers] = []

    @contextlib.contextmanager
    def buffers(self) -> Iterator[Buffers]:
        """A set that nobody else uses meanwhile."""
        try:
            mine = self._free.pop()  # one step for the interpreter: no lock is needed
        except IndexError:
            mine = Buffers()
        try:
            yield mine
        finally:
            if len(self._free) < KEPT:
                self._free.append(mine)
