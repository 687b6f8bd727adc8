"""How many threads compute, and the pool they come from.

The calling thread does the work; the pool's threads only help. They claim tiles of a program (walk.py) from when they wake
up until it is done, so a call never waits for a thread that has not come: not for one that the system holds back, not in a
forked child, which has none of its parent's threads, and not for threads that help another caller, who then works alone.
The bits are the same, whoever computed what.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from albert_np.kernels.cpu.layout import COUNTERS

MOST = 256


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked(n: Any, source: str) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= MOST:
        raise ValueError(f"{source} must be a whole number of threads from 1 to {MOST}; got {n!r}")
    return int(n)


def _default() -> int:
    """NUMBA_NUM_THREADS, as Numba reads it, or the cores."""
    text = os.environ.get("NUMBA_NUM_THREADS", "").strip()
    if not text:
        return min(_cores(), MOST)
    return _checked(int(text) if text.isdecimal() else text, "NUMBA_NUM_THREADS")


_everywhere: int | None = None
_here: ContextVar[int | None] = ContextVar("albert_np_threads", default=None)


def get_num_threads() -> int:
    """How many threads a call of the numba backend uses, from here."""
    return _here.get() or _everywhere or _default()


def set_num_threads(n: int) -> None:
    """Lets calls of the numba backend use n threads, in the whole process. Raises ValueError unless 1 ≤ n ≤ 256.

    At first it is NUMBA_NUM_THREADS, or the number of cores this process may use. Results do not depend on it. The numpy
    backend's threads are its BLAS's (OPENBLAS_NUM_THREADS or OMP_NUM_THREADS, set before NumPy is imported).
    """
    global _everywhere
    _everywhere = _checked(n, "set_num_threads")


@contextlib.contextmanager
def num_threads(n: int) -> Iterator[None]:
    """`with num_threads(n):` n threads inside the block, in this Python thread (or asyncio task) only."""
    token = _here.set(_checked(n, "num_threads"))
    try:
        yield
    finally:
        _here.reset(token)


class _Pool:
    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.jobs: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.helpers = 0
        # who is inside a program, and which: see walk.help
        self.gate = np.zeros(1, np.int64)
        self.number = 0

    def want(self, count: int) -> None:
        while self.helpers < count:
            self.helpers += 1
            threading.Thread(target=self._help, name="albert_np", daemon=True).start()

    def _help(self) -> None:
        while True:
            helper, arguments = self.jobs.get()
            helper(*arguments)


_pool = _Pool()


def _forget_threads() -> None:
    """In a forked child: the parent's threads are not here, and its locks may be held for ever."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def run(library: Any, table: np.ndarray) -> None:  # (steps, STEP) int64
    """Works through a program, with help where there is some to have."""
    steps, pool = len(table), _pool
    counters = np.zeros((steps, COUNTERS), np.int64)
    program, counting = table.ctypes.data, counters.ctypes.data
    helpers = get_num_threads() - 1
    if helpers == 0 or not pool.busy.acquire(blocking=False):
        library.walk(program, steps, counting, 0)
        return
    try:
        pool.want(helpers)
        gate = pool.gate.ctypes.data
        pool.number += 1
        number = pool.number
        library.open_gate(gate, number)
        try:
            for worker in range(1, helpers + 1):
                pool.jobs.put((library.help_out, (program, steps, counting, gate, number, worker)))
            library.walk(program, steps, counting, 0)
        finally:
            library.close_gate(gate, number)
    finally:
        pool.busy.release()
