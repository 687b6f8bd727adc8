"""Runs kernels of numba.cuda in plain Python, and is stricter than a GPU: what is a race there is an error here.

One greenlet a thread, one block after the other. What it does that a GPU may leave to luck:

- shared and local memory begin as NaN (or 0x7f7f…), and belong to one block;
- warps run in an order that a seed shuffles, each as far as it can, to the next barrier of the block, and so do threads, to the
  next exchange. So whoever needs a barrier that is not there reads NaN, or somebody's old or next number, under some seed;
- a barrier at which not every living thread of the block arrives, or threads arrive at different lines, is a Divergence; so is
  an exchange between lanes of which one has ended or stands elsewhere;
- a pointer knows its end: reading or writing beyond it, or before, is an IndexError; so is a load of 16 bytes that is not
  aligned to them. A uint32 below 0, or from 2³² on, is an OverflowError.

What it cannot know is what the compiler makes of the types: kernels/cuda/compiled.py shows that.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet

from albert_np.kernels.cuda.simulator import Divergence

seed: int | None = 0  # of the order in which threads run; None is the order of their numbers
POISON = 0x7F  # in each byte of whole numbers: 2139062143, which indexes nothing


def u32(x: Any) -> int:
    """A whole number that must be one of 32 bits without a sign. Between two of these the compiler counts in 64 bits."""
    x = int(x)
    if not 0 <= x < 2**32:
        raise OverflowError(f"{x} is no uint32")
    return x


class Dim3:
    def __init__(self, x: int, y: int = 0, z: int = 0) -> None:
        self.x, self.y, self.z = x, y, z


class Thread(greenlet):
    number: int
    threadIdx: Dim3  # noqa: N815
    block: Block
    waits: Any = None  # for what, at which place, with what in hand
    value: Any = None

    @property
    def lane(self) -> int:
        return self.number % 32

    @property
    def lines(self) -> tuple[tuple[str, int], ...]:
        """Where it waits, of the kernel and what it calls."""
        frame, found = self.gr_frame, []
        while frame is not None:
            if frame.f_globals is not globals():
                found.append((frame.f_code.co_name, frame.f_lineno))
            frame = frame.f_back
        return tuple(found)


class Pointer:
    """A stretch of memory that a kernel was given."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @cached_property
    def address(self) -> int:
        return self.array.ctypes.data

    def _checked(self, index: Any) -> int:
        index = int(index)
        if not 0 <= index < len(self.array):
            raise IndexError(f"number {index} of {len(self.array)}")
        return index

    def __getitem__(self, index: Any) -> Any:
        return self.array[self._checked(index)]

    def __setitem__(self, index: Any, x: Any) -> None:
        self.array[self._checked(index)] = x


def poison(memory: np.ndarray) -> np.ndarray:
    """What a kernel finds in memory that nobody wrote to: NaN, or numbers that index nothing."""
    memory.fill(np.nan if memory.dtype.kind == "f" else int.from_bytes(bytes([POISON] * memory.itemsize), "little"))
    return memory


def poisoned(shape: Any, dtype: Any) -> np.ndarray:
    """Such memory, aligned to 16 bytes."""
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.itemsize
    raw = np.empty(nbytes + 16, np.uint8)
    skip = -raw.ctypes.data % 16
    return poison(raw[skip : skip + nbytes].view(dtype).reshape(shape))


class Block:
    """Threads that share memory and barriers."""

    def __init__(self, place: tuple[int, ...], shape: tuple[int, ...], grid: tuple[int, ...], dynamic: int) -> None:
        self.blockIdx, self.blockDim, self.gridDim = Dim3(*place), Dim3(*shape), Dim3(*grid)
        self.place, self.shape = place, shape
        self.dynamic = poisoned(dynamic, np.uint8)
        self.shared: dict[Any, Any] = {}

    def run(self, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        def body() -> None:
            # what overflows float32 is an error of the test; an index that does is an error of the kernel
            with np.errstate(divide="ignore", invalid="ignore", under="ignore", over="raise"):
                function(*arguments)

        threads = []
        x, y, z = (*self.shape, 1, 1)[:3]
        for number, (k, j, i) in enumerate(product(range(z), range(y), range(x))):
            thread = Thread(body)
            thread.number, thread.threadIdx, thread.block = number, Dim3(i, j, k), self
            threads.append(thread)
        order = random.Random(f"{seed}{self.place}") if seed is not None else None
        warps = [threads[i : i + 32] for i in range(0, len(threads), 32)]
        at_barrier: list[Thread] = []
        exchanges: dict[Any, list[Thread]] = {}
        ready = set(threads)
        while any(not thread.dead for thread in threads):
            if order is not None:
                order.shuffle(warps)
            # one warp after the other as far as it can: nothing but a barrier keeps the first from being far ahead
            for warp in warps:
                while running := [thread for thread in warp if thread in ready]:
                    if order is not None:
                        order.shuffle(running)
                    ready.difference_update(running)
                    for thread in running:
                        self._resume(thread)
                        if thread.dead:
                            continue
                        kind, place, *rest = thread.waits
                        if kind == "barrier":
                            at_barrier.append(thread)
                        else:
                            ready.update(self._exchange(exchanges, thread, place, *rest))
            alive = sum(not thread.dead for thread in threads)
            if alive and len(at_barrier) < alive:
                raise Divergence(f"block {self.place}: {self._who_waits(threads)}")
            if at_barrier:
                if len({thread.waits[1] for thread in at_barrier}) > 1:
                    lines = sorted({thread.lines for thread in at_barrier})
                    raise Divergence(f"block {self.place}: one barrier was met at different lines, {lines}")
                if alive < len(threads):
                    ended = len(threads) - alive
                    raise Divergence(f"block {self.place}: {ended} threads ended before {at_barrier[0].lines}")
                ready, at_barrier = set(at_barrier), []

    def _resume(self, thread: Thread) -> None:
        try:
            thread.switch()
        except (IndexError, ValueError, ArithmeticError, TypeError, NotImplementedError) as error:
            who = (thread.threadIdx.x, thread.threadIdx.y, thread.threadIdx.z)
            raise type(error)(f"thread {who} of block {self.place}: {error}") from error

    def _exchange(
        self, exchanges: dict[Any, list[Thread]], thread: Thread, place: Any, mask: int, combine: Callable[..., Any]
    ) -> list[Thread]:
        """A thread comes to an exchange within its warp; those that may go on, once all lanes of the mask are there."""
        if not mask >> thread.lane & 1:
            raise Divergence(
                f"block {self.place}: lane {thread.lane} is not in the mask {mask:#x} of its exchange at {thread.lines}"
            )
        here = exchanges.setdefault((thread.number // 32, mask, place), [])
        here.append(thread)
        if len(here) < mask.bit_count():
            return []
        del exchanges[thread.number // 32, mask, place]
        here.sort(key=lambda one: one.lane)
        for one, value in zip(here, combine([one.lane for one in here], [one.value for one in here]), strict=True):
            one.value = value
        return here

    def _who_waits(self, threads: list[Thread]) -> str:
        waiting: dict[Any, list[int]] = {}
        for thread in threads:
            if not thread.dead:
                waiting.setdefault((thread.waits[0], thread.lines), []).append(thread.number)
        ended = sum(thread.dead for thread in threads)
        says = [f"{len(them)} threads wait for {kind} at {lines}" for (kind, lines), them in waiting.items()]
        return f"{'; '.join(says)}; {ended} have ended"


hub: greenlet | None = None


def wait(kind: str, value: Any = None, *more: Any, depth: int = 2) -> Any:
    """Stops this thread until the others it waits for are there; returns what it gets."""
    frame: Any = sys._getframe(depth)
    thread: Any = getcurrent()
    place = []  # in the kernel and what it calls: two calls of one device function are two places
    while frame is not None:
        place.append((frame.f_code.co_name, frame.f_lasti))
        frame = frame.f_back
    thread.waits, thread.value = (kind, tuple(place), *more), value
    assert hub is not None  # a simulated thread runs inside a launch
    hub.switch()
    return thread.value


def exchange(mask: int, value: Any, combine: Callable[..., Any]) -> Any:
    """combine: lanes, values -> what each lane gets."""
    return wait("exchange", value, int(mask), combine, depth=3)


def _shuffle(source: Callable[[int, int], int]) -> Callable[..., Any]:
    def shuffle(mask: int, value: Any, argument: int) -> Any:
        def combine(lanes: list[int], given: list[Any]) -> list[Any]:
            values = {lane: x for lane, (x, _) in zip(lanes, given, strict=True)}
            found = []
            for lane, (x, argument) in zip(lanes, given, strict=True):
                of = source(lane, int(argument))
                if 0 <= of < 32 and of not in values:
                    raise Divergence(f"lane {lane} asks for what lane {of} has, which takes no part")
                found.append(values[of] if 0 <= of < 32 else x)
            return found

        return exchange(mask, (value, argument), combine)

    return shuffle


class _Shared:
    def array(self, shape: Any, dtype: Any, alignment: int | None = None) -> Any:
        block = getcurrent().block
        if shape == 0:  # the size was given at launch
            return Pointer(block.dynamic.view(np.dtype(dtype)))
        frame = sys._getframe(1)
        key = (frame.f_code.co_filename, frame.f_lineno, frame.f_lasti)
        if key not in block.shared:
            memory = poisoned(shape, _of_numpy(dtype))
            block.shared[key] = Pointer(memory) if memory.ndim == 1 else memory
        return block.shared[key]


class _Local:
    def array(self, shape: Any, dtype: Any, alignment: int | None = None) -> np.ndarray:
        return poison(np.empty(shape, _of_numpy(dtype)))


def _of_numpy(dtype: Any) -> Any:
    return np.uint32 if dtype is u32 else dtype


class Cuda:
    """What kernels use of numba.cuda."""

    shared, local = _Shared(), _Local()
    shfl_xor_sync = staticmethod(_shuffle(lambda lane, x: lane ^ x))
    shfl_up_sync = staticmethod(_shuffle(lambda lane, x: lane - x))
    shfl_down_sync = staticmethod(_shuffle(lambda lane, x: lane + x))
    shfl_sync = staticmethod(_shuffle(lambda lane, x: x % 32))
    threadIdx = property(lambda self: getcurrent().threadIdx)  # noqa: N815
    blockIdx = property(lambda self: getcurrent().block.blockIdx)  # noqa: N815
    blockDim = property(lambda self: getcurrent().block.blockDim)  # noqa: N815
    gridDim = property(lambda self: getcurrent().block.gridDim)  # noqa: N815

    @staticmethod
    def syncthreads() -> None:
        wait("barrier")

    @staticmethod
    def syncwarp(mask: int = 0xFFFFFFFF) -> None:
        exchange(mask, None, lambda lanes, values: values)

    def grid(self, axes: int) -> Any:
        thread: Any = getcurrent()
        block = thread.block
        places = [
            getattr(block.blockIdx, axis) * getattr(block.blockDim, axis) + getattr(thread.threadIdx, axis)
            for axis in "xyz"[:axes]
        ]
        return places[0] if axes == 1 else tuple(places)


def launch(
    function: Callable[..., None], grid: tuple[int, ...], threads: Any, arguments: tuple[Any, ...], shared: int = 0
) -> None:
    """Every block of a grid, one after the other, in an order of its own."""
    global hub
    hub = getcurrent()
    shape = threads if isinstance(threads, tuple) else (threads,)
    blocks = list(_places(grid))
    if seed is not None:
        random.Random(seed).shuffle(blocks)
    for place in blocks:
        Block(place, shape, grid, shared).run(function, arguments)


def _places(grid: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    x, y, z = (*grid, 1, 1)[:3]
    return ((i, j, k) for k, j, i in product(range(z), range(y), range(x)))
