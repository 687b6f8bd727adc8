"""The lock under which kernels are compiled and loaded. A fork waits for it.

In a child, the locks of LLVM, of Numba and of the import system would stay as they were in the parent, and a thread that would
open them is not there: whatever needs them waits for ever.

This module is imported before anything is called (albert_np/imports.py): a fork that has begun runs no hook that comes later.
"""

from __future__ import annotations

import contextlib
import logging  # noqa: F401  see before
import os
import threading

lock = threading.RLock()


def before() -> None:
    """What was registered last is taken first. Numba logs, so logging is imported above: were its lock taken before this one,
    the thread that compiles would wait for that, and the thread that forks for this.
    """
    lock.acquire()


def after_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # not taken: a signal interrupted the wait
        lock.release()


def after_in_child() -> None:
    global lock
    lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before, after_in_parent=after_in_parent, after_in_child=after_in_child)
