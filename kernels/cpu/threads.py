"""How many threads compute, and the pool they come from.

The calling thread does the work; the pool's threads only help. They claim tiles of a program (walk.py) from when they wake
up until it is done, so a call never waits for a thread that has not come: not for one that the system holds back or refuses
to start, not in a forked child, which has none of its parent's threads, and not for threads that help another caller, who
then works alone. The bits are the same, whoever computed what.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.kernels.cpu.layout import COUNTERS

MOST = 256
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "200000 100000" is two cores, "max 100000" is no limit


def checked(n: Any, source: str) -> int:
    """n as an int. Raises ValueError unless it is a number of threads."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= MOST:
        raise ValueError(f"{source} takes a whole number of threads from 1 to {MOST}; got {n!r}")
    return int(n)


@functools.cache
def _quota() -> int:
    """The cores' worth of time that a container is given. More threads than that would only be stopped in turn."""
    try:
        time, period = QUOTA.read_text().split()
        return max(1, -(-int(time) // int(period)))
    except (OSError, ValueError):  # no such file here, or no limit in it
        return MOST


def _cores() -> int:
    """The cores that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _quota(), MOST)


def _default() -> int:
    """NUMBA_NUM_THREADS, which is Numba's too, or the cores."""
    text = os.environ.get("NUMBA_NUM_THREADS", "").strip()
    return checked(int(text) if text.isdecimal() else text, "NUMBA_NUM_THREADS") if text else _cores()


_everywhere: int | None = None
_here: ContextVar[int | None] = ContextVar("albert_np_threads", default=None)


def get_num_threads() -> int:
    """How many threads a call of the numba backend uses, from here. Raises ValueError where NUMBA_NUM_THREADS is no number."""
    return _here.get() or _everywhere or _default()


def set_num_threads(n: int) -> None:
    """Lets calls of the numba backend use n threads, in the whole process. Raises ValueError unless 1 ≤ n ≤ 256.

    At first it is NUMBA_NUM_THREADS, or the number of cores this process may use. Results do not depend on it. The numpy
    backend's threads are its BLAS's (OPENBLAS_NUM_THREADS or OMP_NUM_THREADS, set before NumPy is imported).
    """
    global _everywhere
    _everywhere = checked(n, "set_num_threads")


@contextlib.contextmanager
def num_threads(n: int) -> Iterator[None]:
    """n threads inside the `with` block, in this Python thread (or asyncio task) only."""
    token = _here.set(checked(n, "num_threads"))
    try:
        yield
    finally:
        _here.reset(token)


class _Pool:
    def __init__(self) -> None:
        self.idle = [True]  # empty while the helpers have a program; see run
        self.jobs: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.helpers = 0
        # who is inside a program, and which: see walk.help_out
        self.gate = np.zeros(1, np.int64)
        self.number = 0

    def ready(self, count: int) -> int:
        """How many helpers there are, of the number wanted. They are started when first wanted."""
        while self.helpers < count:
            try:
                threading.Thread(target=self._help, name="albert_np", daemon=True).start()
            except (RuntimeError, MemoryError):  # the system has no thread for us, or the interpreter is about to end
                break
            self.helpers += 1
        return min(self.helpers, count)

    def forget_jobs(self) -> None:
        """What no helper came for. They would find it closed; but a hundred thousand small programs would pile up."""
        while True:
            try:
                self.jobs.get_nowait()
            except queue.Empty:
                return

    def _help(self) -> None:
        while True:
            help_out, arguments = self.jobs.get()
            help_out(*arguments)


_pool = _Pool()


def _forget_threads() -> None:
    """In a forked child: the parent's threads are not here, and one of them may have had the helpers."""
    global _pool
    _pool.gate[0] = 0  # nobody is inside, should this thread itself be about to close it (a signal handler that forks)
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def run(library: Any, table: np.ndarray, threads: int | None = None) -> None:  # (steps, STEP) int64
    """Works through a program, with help where there is some to have: workers are 0, the caller, to threads − 1.

    walk.py draws how they meet. What is done here, and undone in the opposite order:

        take the helpers (pool.idle), or work alone
            open the gate, put a job for each helper, walk the program oneself
            close the gate: when it returns, nobody reads the table any more
        give the helpers back

    An interrupt (Ctrl-C) waits until the program is done, and leaves nothing behind: the interpreter looks for one after a
    call, never between another statement and a try that follows it. Hence `del` for taking the helpers, and not a lock.
    """
    steps, pool = len(table), _pool
    counters = np.zeros((steps, COUNTERS), np.int64)
    program, counting, gate = table.ctypes.data, counters.ctypes.data, pool.gate.ctypes.data
    helpers = (threads or get_num_threads()) - 1
    if helpers == 0:
        library.walk(program, steps, counting, 0)
        return
    try:
        del pool.idle[0]
    except IndexError:  # another caller has the helpers
        library.walk(program, steps, counting, 0)
        return
    try:
        helpers = pool.ready(helpers)
        pool.forget_jobs()
        number = pool.number = pool.number + 1
        try:
            library.open_gate(gate, number)
            for worker in range(1, helpers + 1):
                pool.jobs.put((library.help_out, (program, steps, counting, gate, number, worker)))
            library.walk(program, steps, counting, 0)
        finally:
            library.close_gate(gate, number)
    finally:
        pool.idle.append(True)
