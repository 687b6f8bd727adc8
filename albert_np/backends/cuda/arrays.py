"""Arrays in GPU memory, and the memory they lie in, which is kept for the next call."""

from __future__ import annotations

import threading
from math import prod
from typing import Any

import numpy as np

from albert_np.backends.cuda import dlpack
from albert_np.kernels.cuda import device
from albert_np.kernels.cuda.kernel import Buffer, OutOfMemoryError, ceil_div
from albert_np.ops import Array

ALIGNED = 256  # bytes: more than any load asks for
KEPT = 16  # blocks that wait for their next use
FLOAT = np.dtype(np.float32)


class Block:
    """Memory that goes back to its pool when nobody holds it any more."""

    def __init__(self, pool: Pool, memory: Any) -> None:
        self.pool, self.memory = pool, memory

    def __del__(self) -> None:
        self.pool.give_back(self.memory)


class Pool:
    """Blocks of GPU memory. The driver takes longer to give one than a small model to run."""

    def __init__(self) -> None:
        self._free: list[Any] = []
        self._lock = threading.RLock()  # also entered from a garbage collection inside

    def take(self, nbytes: int) -> Block:
        """At least so many bytes. Raises OutOfMemoryError, and is as before."""
        with self._lock:
            fitting = [memory for memory in self._free if nbytes <= memory.nbytes <= 2 * nbytes]
            if fitting:
                # in whatever order they came back: a call that is like another finds its memory, and a plan, where that did
                memory = min(fitting, key=lambda memory: (memory.nbytes, memory.address))
                self._free.remove(memory)
                if memory.lent:
                    device.synchronize_all()
                    memory.lent = False
                return Block(self, memory)
        try:
            return Block(self, device.Memory(nbytes))
        except OutOfMemoryError:
            with self._lock:
                self._free.clear()
            return Block(self, device.Memory(nbytes))

    def give_back(self, memory: Any) -> None:
        with self._lock:
            self._free.append(memory)
            del self._free[:-KEPT]


class Layout:
    """Arrays side by side in one block: first what there is, then where."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._places: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}

    def add(self, name: str, shape: tuple[int, ...], dtype: Any = FLOAT) -> None:
        if prod(shape) >= 2**32:
            raise ValueError(
                f"{name} would hold {prod(shape):,} numbers, and kernels count them in 32 bits: run fewer sequences at "
                "a time, or ask for fewer outputs"
            )
        self._places[name] = (self.nbytes, shape, np.dtype(dtype))
        self.nbytes += ceil_div(prod(shape) * np.dtype(dtype).itemsize, ALIGNED) * ALIGNED

    def buffers(self, block: Block) -> dict[str, Buffer]:
        return {name: Buffer(block.memory, *place) for name, place in self._places.items()}

    def packed(self, arrays: dict[str, Array]) -> Array:  # -> (bytes,) uint8: the first arrays, as they shall lie
        packed = np.zeros(self.nbytes, np.uint8)
        for name, x in arrays.items():
            offset, shape, dtype = self._places[name]
            assert x.shape == shape, (name, x.shape, shape)
            packed[offset : offset + x.size * dtype.itemsize].view(dtype)[:] = x.reshape(-1)
        return packed


class DeviceArray:
    """float32 numbers in GPU memory: what a call with output="device" returns.

    Other libraries read it in place through `__cuda_array_interface__` or DLPack; NumPy gets a copy, from numpy() or
    np.asarray. Indexing by integers and slices gives a view. It is complete when the call returns, and lives as long as it is
    held, here or there.
    """

    dtype = FLOAT

    def __init__(
        self, block: Block, offset: int, shape: tuple[int, ...], strides: tuple[int, ...] | None = None
    ) -> None:
        self.block, self.offset, self.shape = block, offset, tuple(shape)
        self.strides = _contiguous(self.shape) if strides is None else tuple(strides)  # bytes

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype=float32)"

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def is_contiguous(self) -> bool:
        return self.strides == _contiguous(self.shape)

    @property
    def buffer(self) -> Buffer:
        """From its first number to its last, whatever lies between."""
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        return Buffer(self.block.memory, self.offset, (last // FLOAT.itemsize + 1,), FLOAT)

    def numpy(self) -> Array:
        buffer = self.buffer
        flat = buffer.memory.read(buffer.offset, buffer.shape, FLOAT)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, self.strides))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a DeviceArray lies in GPU memory: NumPy cannot have it without a copy")
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def __getitem__(self, index: Any) -> DeviceArray:
        index = index if isinstance(index, tuple) else (index,)
        if not all(isinstance(i, (int, np.integer, slice)) or i is Ellipsis for i in index):
            raise IndexError(f"a DeviceArray is indexed by integers, slices and … alone; got {index!r}")
        # NumPy works out the view, on an array of that shape which takes no memory; … keeps it from reading a number
        shape = np.lib.stride_tricks.as_strided(np.zeros(1, FLOAT), self.shape, self.strides)
        view = shape[index if Ellipsis in index else (*index, ...)]
        if any(stride < 0 for stride in view.strides):
            raise IndexError(f"a DeviceArray is not read backwards; got {index!r}")
        offset = view.__array_interface__["data"][0] - shape.__array_interface__["data"][0]
        return DeviceArray(self.block, self.offset + offset, view.shape, view.strides)

    def reshape(self, *shape: int) -> DeviceArray:
        if not self.is_contiguous:
            raise ValueError(f"a DeviceArray whose rows lie apart keeps its shape; this one is {self.shape}")
        known = -prod(shape)
        shape = tuple(self.size // known if n == -1 else n for n in shape) if -1 in shape else shape
        if prod(shape) != self.size:
            raise ValueError(f"a DeviceArray of shape {self.shape} cannot take the shape {shape}")
        return DeviceArray(self.block, self.offset, shape)

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.block.memory.gpu

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """A capsule for one `from_dlpack`. No stream has anything to wait for; dl_device=(1, 0) is a copy on the CPU."""
        own = self.__dlpack_device__()
        dlpack.check_stream(stream)
        dlpack.check_version(max_version)
        device_asked = dlpack.asked_device(dl_device, own)
        if device_asked != own:
            if copy is False:
                raise BufferError("a DeviceArray lies in GPU memory: the CPU cannot have it without a copy")
            return dlpack.capsule(self.numpy(), device_asked, max_version=max_version, copied=True)
        lent = self._copied() if copy else self
        where = dlpack.placeholder(lent, lent._lend(), lent.shape, lent.strides, FLOAT)
        return dlpack.capsule(where, own, max_version=max_version, copied=bool(copy))

    def _copied(self) -> DeviceArray:
        """By way of the host: nobody asks for it often."""
        x = self.numpy()
        block = self.block.pool.take(x.nbytes)
        block.memory.write(0, x)
        return DeviceArray(block, 0, x.shape)

    def _lend(self) -> int:
        """The address, for somebody whose kernels may still read there when he has let go of it: see Pool.take."""
        self.block.memory.lent = True
        return self.block.memory.address + self.offset

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": FLOAT.str,
            "data": (self._lend(), False),
            "strides": None if self.is_contiguous else self.strides,
            "stream": None,  # nothing is left to wait for
            "version": 3,
        }


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(FLOAT.itemsize * prod(shape[i + 1 :]) for i in range(len(shape)))
