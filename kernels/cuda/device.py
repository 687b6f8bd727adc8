"""The GPU as the engine sees it: memory, copies, launches, on one stream. simulator/device.py is the same over NumPy.

A launch costs the host some microseconds for each array that numba.cuda takes apart, more than a small kernel takes to run. So
kernels are given raw addresses, and what can be worked out before a launch is (`prepare`). numba.cuda compiles them; they are
loaded and launched through cuda.core, its own way to the driver, whether this process has compiled them or finds them on disk.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from albert_np.kernels.cuda import cache as kept
from albert_np.kernels.cuda.kernel import Kernel, OutOfMemoryError
from albert_np.kernels.cuda.target import (
    Device,
    LaunchConfig,
    ObjectCode,
    Stream,
    config,
    cuda,
    driver,
    launch,
    types,
    types_of,
)

config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # grids of fewer blocks than the GPU could run are what one sentence needs
OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
SHARED = 48 * 1024  # bytes of shared memory given at launch: a kernel that takes more says so when it is loaded
SCALARS = {"f": ctypes.c_float, "u": ctypes.c_uint32, "i": ctypes.c_int32}


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


def capability() -> tuple[int, int]:
    return tuple(cuda.get_current_device().compute_capability)


@lru_cache
def multiprocessors() -> int:
    return cuda.get_current_device().MULTIPROCESSOR_COUNT


@lru_cache
def _stream() -> Any:
    return cuda.stream()


@lru_cache
def _core_stream() -> Any:
    """The same one, as cuda.core has it."""
    return Stream.from_handle(int(_stream()))


class Memory:
    """Bytes on the GPU, until the last reference to them goes."""

    def __init__(self, nbytes: int) -> None:
        try:
            self._bytes = cuda.device_array(max(nbytes, 1), np.uint8)
        except Exception as error:
            if getattr(error, "code", None) == OUT_OF_MEMORY or "OUT_OF_MEMORY" in str(error):
                raise OutOfMemoryError(nbytes) from error
            raise
        self.nbytes, self.gpu = nbytes, cuda.get_current_device().id
        self.address: int = self._bytes.__cuda_array_interface__["data"][0]
        self.lent = False  # to another library, whose kernels may read here on a stream that is not ours

    def write(self, offset: int, x: np.ndarray, *, wait: bool = True) -> None:
        """A contiguous array from the host, which may change or go as soon as this returns: if it waits."""
        if x.nbytes:
            cuda.current_context()  # this thread has one from here on, which the driver wants
            _ask(driver.cuMemcpyHtoDAsync, self.address + offset, _address(x), x.nbytes, int(_stream()))
            if wait:
                synchronize()

    def read(self, offset: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        out = np.empty(shape, dtype)
        if out.nbytes:
            cuda.current_context()
            _ask(driver.cuMemcpyDtoHAsync, _address(out), self.address + offset, out.nbytes, int(_stream()))
            synchronize()
        return out


def _address(x: np.ndarray) -> int:
    assert x.flags.c_contiguous
    return x.__array_interface__["data"][0]


def _ask(call: Callable[..., Any], *given: Any) -> None:
    """The driver itself: numba.cuda takes twenty times as long to find out what a copy needs."""
    (error,) = call(*given)
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"{call.__name__}: the NVIDIA driver answers {error.name}")


def synchronize() -> None:
    _stream().synchronize()


def synchronize_all() -> None:
    """Every stream, those of other libraries too."""
    cuda.synchronize()


def compiled(kernel: Kernel) -> tuple[str, bytes]:
    """For the GPU that is there: the kernel's name among those of the machine code, and that, from disk if it is there."""
    gpu = capability()
    found = kept.read(kernel, gpu)
    if found is None:
        found = _compile(kernel)
        kept.write(kernel, gpu, *found)
    return found


def _compile(kernel: Kernel) -> tuple[str, bytes]:
    threads = prod(np.atleast_1d(kernel.threads).tolist())
    jit = cuda.jit(types.void(*types_of(kernel.parameters)), launch_bounds=(threads, kernel.blocks))
    (overload,) = jit(kernel.function).overloads.values()
    return overload.entry_name, bytes(overload._codelibrary.get_cubin().code)


@cache
def _loaded(kernel: Kernel) -> Any:
    name, cubin = compiled(kernel)
    loaded = ObjectCode.from_cubin(cubin, name=kernel.name).get_kernel(name)
    if kernel.shared > SHARED:
        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        gpu = driver.CUdevice(cuda.get_current_device().id)
        _ask(driver.cuKernelSetAttribute, attribute, kernel.shared, loaded.handle, gpu)  # cuda.core only reads it
    return loaded


def prepare(kernel: Kernel, grid: tuple[int, ...], *arguments: Any) -> Callable[..., None]:
    """A launch, to be called as often as it is wanted; on the stream, or into="where a graph is recorded"."""
    shape = LaunchConfig(grid=grid, block=kernel.threads, shmem_size=kernel.shared)
    numbers = [_number(letter, x) for letter, x in zip(kernel.parameters, arguments, strict=True)]
    return partial(_launch, _loaded(kernel), shape, *numbers)


def _launch(kernel: Any, shape: LaunchConfig, *numbers: Any, into: Any = None) -> None:
    launch(_core_stream() if into is None else into, shape, kernel, *numbers)


def _number(letter: str, x: Any) -> Any:
    """As C has it; a pointer is a whole number, that of None 0."""
    if letter in SCALARS:
        return SCALARS[letter](x if letter == "f" else int(x))
    return 0 if x is None else x.memory.address + x.offset


def recorded(steps: Sequence[Callable[..., None]]) -> Callable[[], None]:
    """Launches that were run before, as one: a CUDA graph. Raises whatever the driver has against it.

    They are recorded on a stream of the graph's own, which does not wait for the default one: others may use that meanwhile.
    Nothing is forbidden to them, or to a garbage collection here ("relaxed"); the launches need nothing but what is there.
    """
    gpu = Device(cuda.get_current_device().id)
    gpu.set_current()
    builder = gpu.create_graph_builder()
    try:
        builder.begin_building("relaxed")
        for step in steps:
            step(into=builder)
        graph = builder.end_building().complete()
    finally:
        builder.close()
    graph.upload(_core_stream())
    return partial(graph.launch, _core_stream())
