"""What the notebooks on CUDA import: what the simulator's threads read and write, and which kernels a model launches.

Whoever imports it runs kernels in the simulator from then on, also where there is a GPU: nobody can watch a GPU's threads. So
it is to be imported before any kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from greenlet import getcurrent

from albert_np.kernels.cuda import simulator

simulator.install()


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal numbers in float32."""
    return rng.standard_normal(shape).astype(np.float32)


class Touch(NamedTuple):
    """One thread read or wrote float32 numbers of one array, with one instruction."""

    block: tuple[int, ...]  # its place in the grid
    thread: int  # its number in the block
    memory: str  # "global" or "shared"
    does: str  # "reads" or "writes"
    array: int  # the place of the kernel's argument among those that point to float32; -1 for shared memory
    index: Any  # of the numbers in an array of this shape
    shape: tuple[int, ...]
    x: Any  # they themselves

    @property
    def size(self) -> int:
        return int(np.size(self.x))

    @property
    def numbers(self) -> np.ndarray:
        """Their places in memory, counted from the array's first."""
        return np.ravel(np.arange(np.prod(self.shape)).reshape(self.shape)[self.index])

    @property
    def nan(self) -> bool:
        """One of them is NaN: in shared memory, nobody had written there before."""
        return bool(np.isnan(self.x).any())


class Watched(np.ndarray):
    """Memory that writes down who reads from it and writes to it."""

    plain: np.ndarray  # the same memory, which does not
    place: tuple[str, int]  # memory and array of a Touch
    touches: list[Touch]

    def __getitem__(self, index: Any) -> Any:
        found = self.plain[index]
        self._note("reads", index, found)
        return found

    def __setitem__(self, index: Any, x: Any) -> None:
        self.plain[index] = x
        self._note("writes", index, x)

    def _note(self, does: str, index: Any, x: Any) -> None:
        thread: Any = getcurrent()
        where = (thread.block.place, thread.number)
        self.touches.append(Touch(*where, self.place[0], does, self.place[1], index, self.plain.shape, x))


@contextmanager
def watching() -> Iterator[list[Touch]]:
    """Every touch of float32 numbers by the kernels that run meanwhile, in the order in which the simulator's threads run."""
    from albert_np.kernels.cuda.simulator import machine

    touches: list[Touch] = []
    plain = machine.poisoned
    given = 0

    def in_a_kernel() -> bool:  # where shared memory is made; pointers to global memory are there before
        return isinstance(getcurrent(), machine.Thread)

    def watched(array: np.ndarray) -> np.ndarray:
        nonlocal given
        if array.dtype != np.float32:
            return array
        found = array.view(Watched)
        found.plain, found.touches = array.view(np.ndarray), touches
        found.place = ("shared", -1) if in_a_kernel() else ("global", given)
        given += not in_a_kernel()
        return found

    class Pointer(machine.Pointer):
        def __init__(self, array: np.ndarray) -> None:
            super().__init__(watched(array))

    def poisoned(shape: Any, dtype: Any) -> np.ndarray:  # shared memory of two axes comes without a pointer
        array = plain(shape, dtype)
        return watched(array) if in_a_kernel() else array

    with patch.object(machine, "Pointer", Pointer), patch.object(machine, "poisoned", poisoned):
        yield touches


def touched(kernel: Any, grid: tuple[int, ...], *arguments: Any) -> list[Touch]:
    """Runs a kernel; what its threads touched."""
    from albert_np.kernels.cuda.run import run

    with watching() as touches:
        run(kernel, grid, *arguments)
    return touches


def count(touches: list[Touch]) -> dict[str, int]:
    """How many numbers were read and written, in global and in shared memory."""
    found: Counter[str] = Counter()
    for touch in touches:
        found[f"{touch.memory} {touch.does}"] += touch.size
    return dict(sorted(found.items()))


@contextmanager
def launches() -> Iterator[list[str]]:
    """The names of the kernels whose launches are prepared meanwhile, in order."""
    from albert_np.kernels.cuda import device

    names: list[str] = []
    plain = device.prepare

    def prepare(kernel: Any, *more: Any) -> Any:
        names.append(kernel.name)
        return plain(kernel, *more)

    with patch.object(device, "prepare", prepare):
        yield names
