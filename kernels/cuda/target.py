"""The only import of numba.cuda, and of cuda.core below it: every kernel takes `cuda`, its number types and `device` from here.

So there is one place for another compiler of the same dialect, and one to put a simulator in (simulator/).

Indices are uint32 throughout: signed ones add a wrap-around to each access and take half as many registers again. Constants
are wrapped in f32(…): a bare 0.5 is a float64, and drags the whole expression with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba_cuda  # noqa: F401  without it numba.cuda is an older one, of Numba itself
import numpy as np
from cuda.bindings import driver  # noqa: F401  taken from here by device.py
from cuda.core import Device, LaunchConfig, ObjectCode, Stream, launch  # noqa: F401  taken from here by device.py
from numba import cuda
from numba.cuda import float32, int32, types, uint8, uint16, uint32
from numba.cuda.core import config  # noqa: F401  taken from here by device.py

f32, u32 = float32, uint32

if not hasattr(np, "row_stack"):
    # NumPy 2.5 has it no more, and numba-cuda 0.30.4 wants it once: when this is imported, before the first kernel is compiled
    vars(np)["row_stack"] = np.vstack
    try:
        import numba.cuda.np.arrayobj  # noqa: F401
    finally:
        del vars(np)["row_stack"]

POINTERS = {"F": float32, "I": int32, "B": uint8, "H": uint16, "W": uint32}
SCALARS = {"f": float32, "u": uint32, "i": int32}


def device(function: Callable[..., Any]) -> Any:
    """A function that kernels call; its body goes where it is called."""
    return cuda.jit(function, device=True, forceinline=True)


def types_of(parameters: str) -> tuple[Any, ...]:
    """The types that the letters of kernel.Kernel stand for: "FFu" is two pointers to float32 and a uint32.

    A pointer is one 64-bit number; an array would be seven, and cost the launch four microseconds each.
    """
    return tuple(types.CPointer(POINTERS[x]) if x in POINTERS else SCALARS[x] for x in parameters)
