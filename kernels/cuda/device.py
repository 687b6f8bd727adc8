"""The GPU as the engine sees it: memory, copies, launches, on one stream. tests/cuda_host.py is the same over NumPy.

A launch costs the host some microseconds for each array that numba.cuda takes apart, more than a small kernel takes to run. So
kernels are given raw addresses, and what can be worked out before a launch is (`prepare`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from albert_np.kernels.cuda.kernel import Buffer, Kernel, OutOfMemoryError
from albert_np.kernels.cuda.target import config, cuda, types, types_of

config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # grids of fewer blocks than the GPU could run are what one sentence needs
OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY


def missing() -> str:
    """Why nothing can run here, or nothing."""
    available, error = cuda.is_available(), cuda.cuda_error()
    if error is not None:
        return f"no NVIDIA driver answers ({str(error).strip().splitlines()[0]})"
    if not available:
        return "numba-cuda finds no NVVM, the compiler of its kernels"
    return "" if len(cuda.gpus) else "the driver finds no NVIDIA GPU"


def describe() -> str:
    """The GPU's name, and what kernels are compiled for."""
    gpu = cuda.get_current_device()
    name = gpu.name.decode() if isinstance(gpu.name, bytes) else gpu.name
    major, minor = gpu.compute_capability
    return f"{name}, compute capability {major}.{minor}"


@lru_cache
def multiprocessors() -> int:
    return cuda.get_current_device().MULTIPROCESSOR_COUNT


@lru_cache
def _stream() -> Any:
    return cuda.stream()


class Memory:
    """Bytes on the GPU, until the last reference to them goes."""

    def __init__(self, nbytes: int) -> None:
        try:
            self._bytes = cuda.device_array(max(nbytes, 1), np.uint8)
        except Exception as error:
            if getattr(error, "code", None) == OUT_OF_MEMORY or "OUT_OF_MEMORY" in str(error):
                raise OutOfMemoryError(nbytes) from error
            raise
        self.nbytes = nbytes
        self.address: int = self._bytes.__cuda_array_interface__["data"][0]

    def write(self, offset: int, x: np.ndarray) -> None:
        """A contiguous array from the host."""
        if x.nbytes:
            flat = x.reshape(-1).view(np.uint8)
            self._bytes[offset : offset + x.nbytes].copy_to_device(flat, stream=_stream())
            synchronize()  # the host's array may change or go as soon as this returns

    def read(self, offset: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        out = np.empty(shape, dtype)
        if out.nbytes:
            flat = out.reshape(-1).view(np.uint8)
            self._bytes[offset : offset + out.nbytes].copy_to_host(flat, stream=_stream())
            synchronize()
        return out


def synchronize() -> None:
    _stream().synchronize()


@cache
def compiled(kernel: Kernel) -> Any:
    threads = prod(np.atleast_1d(kernel.threads).tolist())
    jit = cuda.jit(types.void(*types_of(kernel.parameters)), launch_bounds=(threads, kernel.blocks))
    return jit(kernel.function)


def prepare(kernel: Kernel, grid: tuple[int, ...], *arguments: Any) -> Callable[[], None]:
    """A launch, to be called as often as it is wanted. Buffers go as addresses, None as 0."""
    launch = compiled(kernel)[grid, kernel.threads, _stream(), kernel.shared]
    return partial(launch, *(_number(x) for x in arguments))


def _number(x: Any) -> Any:
    if isinstance(x, Buffer):
        return x.memory.address + x.offset
    return 0 if x is None else x
