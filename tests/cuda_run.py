"""Kernels on NumPy arrays: what the tests of tests/cuda share, in the simulator and on a GPU."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from albert_np.kernels.cuda import device
from albert_np.kernels.cuda.kernel import Buffer, Kernel

MODE = os.environ.get("ALBERT_NP_CUDA_TESTS")  # simulator, compiled, gpu; see tests/cuda/conftest.py


def put(x: Any, dtype: Any = None) -> Buffer:
    """An array on the GPU, in memory of its own."""
    x = np.ascontiguousarray(x, dtype)
    memory = device.Memory(x.nbytes)
    memory.write(0, x)
    return Buffer(memory, 0, x.shape, x.dtype)


def unwritten(*shape: int) -> Buffer:
    """NaN, to be written."""
    return put(np.full(shape, np.nan, np.float32))


def get(x: Buffer) -> np.ndarray:
    return x.memory.read(x.offset, x.shape, x.dtype)


def run(kernel: Kernel, grid: tuple[int, ...], *arguments: Any) -> None:
    device.prepare(kernel, grid, *arguments)()
    device.synchronize()


def floats(rng: np.random.Generator, *shape: int, scale: float = 1) -> np.ndarray:
    return (scale * rng.standard_normal(shape)).astype(np.float32)
