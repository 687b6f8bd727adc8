"""Checked builds: with NUMBA_BOUNDSCHECK=1 every address that a kernel touches is looked up among the operands of its program.

Numba's own bounds checks see arrays; these kernels see addresses. So each load and store first asks whether it lies inside an
array that the program was given. One that does not is noted (the first of them) and raises IndexError when the program ends.
It is slow, and for tests.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from albert_np.kernels.cpu.layout import COUNTERS

MOST = 4096  # arrays of one program

_lock = threading.Lock()


def _forget_lock() -> None:
    """In a forked child: the thread that holds it may not be here."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)

# [0] how many spans; [1] address, [2] bytes and [3] write? of the first fault; then low, high of each span
_spans = np.zeros(4 + 2 * MOST, np.int64)


def run(library: Any, table: np.ndarray, arrays: list[np.ndarray]) -> None:
    """Runs a program in this thread alone, with its operands as the only memory there is."""
    with _lock:
        spans = sorted({_span(x) for x in [*arrays, table]})
        assert len(spans) <= MOST
        _spans[:4] = len(spans), 0, 0, 0
        _spans[4 : 4 + 2 * len(spans)] = np.array(spans).ravel()
        library.set_spans(_spans.ctypes.data)
        counters = np.zeros((len(table), COUNTERS), np.int64)
        library.walk(table.ctypes.data, len(table), counters.ctypes.data, 0)
        where, size, writes = _spans[1:4].tolist()
    if size:
        verb = "wrote" if writes else "read"
        raise IndexError(f"a kernel {verb} {size} bytes at {where:#x}, outside the arrays it was given")


def _span(x: np.ndarray) -> tuple[int, int]:
    """First byte and the one after the last, strides and all; a stride may lead backwards."""
    first = x.__array_interface__["data"][0]
    ways = [(n - 1) * stride for n, stride in zip(x.shape, x.strides, strict=True)]
    return first + sum(way for way in ways if way < 0), first + sum(way for way in ways if way > 0) + x.itemsize
