"""What kernels/cuda/device.py does, over NumPy and the simulator: memory that is poisoned, and launches that run at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from albert_np.kernels.cuda.kernel import Buffer, Kernel, OutOfMemoryError
from albert_np.kernels.cuda.simulator import machine

limit: int | None = None  # bytes of GPU memory; None: as many as there are
used = 0
launches: list[tuple[str, tuple[int, ...]]] = []  # names and grids, in order
copies: list[tuple[str, int]] = []  # "up" or "down", and bytes
waits = 0  # for the streams of others
recordings = 0  # of steps as one launch
replays: list[int] = []  # of so many steps, in order
unfinished = 0  # launches, and copies up, that nobody has waited for yet


def missing() -> str:
    return ""


def describe() -> str:
    return "the simulator, kernels/cuda/simulator"


def capability() -> tuple[int, int]:
    return 9, 0


def multiprocessors() -> int:
    return 132


class Memory:
    gpu, lent = 0, False

    def __init__(self, nbytes: int) -> None:
        global used
        self.nbytes = 0
        if limit is not None and used + nbytes > limit:
            raise OutOfMemoryError(nbytes)
        self.bytes = machine.poisoned(nbytes // 4 + 1, np.float32).view(np.uint8)
        self.address, self.nbytes = self.bytes.ctypes.data, nbytes
        used += nbytes

    def __del__(self) -> None:
        global used
        used -= self.nbytes

    def write(self, offset: int, x: np.ndarray, *, wait: bool = True) -> None:
        global unfinished
        assert x.flags.c_contiguous
        assert offset + x.nbytes <= self.nbytes
        copies.append(("up", x.nbytes))
        unfinished = 0 if wait else unfinished + 1
        self.bytes[offset : offset + x.nbytes] = x.reshape(-1).view(np.uint8)

    def read(self, offset: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert offset + count <= self.nbytes
        copies.append(("down", count))
        synchronize()
        return self.bytes[offset : offset + count].copy().view(dtype).reshape(shape)


def synchronize() -> None:
    global unfinished
    unfinished = 0


def synchronize_all() -> None:
    global waits
    waits += 1


POINTERS = {"F": np.float32, "I": np.int32, "B": np.uint8, "H": np.uint16, "W": np.uint32}
SCALARS = {"f": np.float32, "u": int, "i": int}


def prepare(kernel: Kernel, grid: tuple[int, ...], *arguments: Any) -> Callable[[], None]:
    """A launch, to be called as often as it is wanted."""
    assert len(arguments) == len(kernel.parameters), (
        f"{kernel.name} takes {len(kernel.parameters)}, got {len(arguments)}"
    )
    assert all(0 < n <= most for n, most in zip(grid, (2**31 - 1, 65535, 65535), strict=False)), (
        f"{kernel.name}: {grid}"
    )
    values = tuple(_argument(letter, x) for letter, x in zip(kernel.parameters, arguments, strict=True))

    def run() -> None:
        global unfinished
        unfinished += 1
        launches.append((kernel.name, grid))
        machine.launch(kernel.function, grid, kernel.threads, values, kernel.shared)

    return run


def recorded(steps: list[Callable[..., None]]) -> Callable[[], None]:
    """The steps as they are now, as one."""
    global recordings
    recordings += 1
    kept = tuple(steps)

    def run() -> None:
        replays.append(len(kept))
        for step in kept:
            step()

    return run


def _argument(letter: str, x: Any) -> Any:
    if letter not in POINTERS:
        assert isinstance(x, (int, float, np.number)), x
        assert letter != "u" or 0 <= x < 2**32
        return SCALARS[letter](x)
    if x is None:
        return None  # to read it is a TypeError
    assert isinstance(x, Buffer), (letter, x)
    assert x.dtype == POINTERS[letter], (letter, x.dtype)
    return machine.Pointer(x.memory.bytes[x.offset : x.offset + x.nbytes].view(x.dtype))
