"""A program: the steps of a computation, written down first and then worked through by all threads together.

ALBERT's layer is written down once and its rows are repeated L times; Python's part of a forward is a fraction of a
millisecond, whatever the depth, and the threads meet between steps without it.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from albert_np.kernels.cpu import checks, native, threads
from albert_np.kernels.cpu.layout import ARGUMENTS, KERNEL, STEP, TILES
from albert_np.kernels.cpu.simd import are_tiles_emulated, is_checked

Array = np.ndarray[Any, np.dtype[Any]]
WORTH_SHARING = 2e6  # multiplications: some 50 µs, as long as a thread takes to wake


def address(x: Array) -> int:
    """Where the first element lies."""
    return x.__array_interface__["data"][0]


class Program:
    """Steps in order. Operands are kept alive with it: a step holds only their addresses."""

    def __init__(self, kind: str = "inference") -> None:
        self._library = native.library(kind)
        # once: scratch memory is for as many. Emulated tiles are there once, and not for each thread
        self.threads = 1 if are_tiles_emulated() else threads.get_num_threads()
        self.work = 0.0  # multiplications, about; little work is not worth waking a thread
        self._rows: list[list[int]] = []
        self._order: list[int] = []  # which row each step is
        self._alive: list[Array] = []
        self.scratch: dict[str, Array] = {}  # that every step may use, since one is done before the next begins

    def __len__(self) -> int:
        return len(self._order)

    def add(self, kernel: str, tiles: int, **operands: Any) -> None:
        """One step: `tiles` calls of a kernel. Operands by name: arrays (their first element's address), int, float, None (0).

        What is left out is 0. A float is passed as float32.
        """
        entry, names = self._library.kernels[kernel]
        row = [0] * STEP
        row[KERNEL], row[TILES] = entry, tiles
        for name, value in operands.items():
            if isinstance(value, np.ndarray):
                self._alive.append(value)
                value = address(value)
            elif isinstance(value, float):
                value = struct.unpack("i", struct.pack("f", value))[0]
            row[ARGUMENTS + names[name]] = value or 0
        self._order.append(len(self._rows))
        self._rows.append(row)

    def repeat(self, first: int, times: int) -> None:
        """The steps from `first` on, `times` times instead of once."""
        self._order.extend(self._order[first:] * (times - 1))

    def run(self) -> None:
        table = np.array(self._rows, np.int64)[self._order]
        work = self.work * len(self._order) / len(self._rows)  # about: some rows are several steps
        if is_checked():
            checks.run(self._library, table, self._alive)
        else:
            threads.run(self._library, table, self.threads if work > WORTH_SHARING else 1)
