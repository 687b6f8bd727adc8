"""One kernel, run by hand on NumPy arrays: on the GPU, or in the simulator (simulator/), which is to be installed before."""

from __future__ import annotations

from typing import Any

import numpy as np

from albert_np.kernels.cuda import device
from albert_np.kernels.cuda.kernel import Buffer, Kernel


def put(x: Any, dtype: Any = None) -> Buffer:
    """An array on the GPU, in memory of its own. Raises OutOfMemoryError."""
    x = np.ascontiguousarray(x, dtype)
    memory = device.Memory(x.nbytes)
    memory.write(0, x)
    return Buffer(memory, 0, x.shape, x.dtype)


def unwritten(*shape: int) -> Buffer:
    """NaN in float32, for a kernel to write to: what it leaves out is seen."""
    return put(np.full(shape, np.nan, np.float32))


def get(x: Buffer) -> np.ndarray:
    """A copy of what is there, as an array."""
    return x.memory.read(x.offset, x.shape, x.dtype)


def run(kernel: Kernel, grid: tuple[int, ...], *arguments: Any) -> None:
    """Launches it once and waits for it. arguments: what its parameters say, buffers, numbers, or None for a null pointer."""
    device.prepare(kernel, grid, *arguments)()
    device.synchronize()
