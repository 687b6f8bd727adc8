"""Locks that a fork waits for.

In a child, the locks of the import system, of LLVM and of Numba would stay as they were in the parent, and a thread that would
open them is not there: whatever needs the same module waits for ever. So whoever imports or compiles something when it is first
needed holds one of these meanwhile, and a fork takes them both.
"""

from __future__ import annotations

import logging  # noqa: F401  see _before_fork
import os
import threading

importing = threading.RLock()  # for a moment; who holds it takes no other lock of this project
loading = threading.RLock()  # for some seconds, where kernels are compiled


def _before_fork() -> None:
    """What was registered last is taken first. Numba logs, and so may modules when they are imported: therefore logging is
    imported above. Were its lock taken before these, the thread that holds one would wait for it, and the one that forks for
    that thread.
    """
    importing.acquire()
    loading.acquire()


def _after_fork_in_parent() -> None:
    loading.release()
    importing.release()


def _after_fork_in_child() -> None:
    global importing, loading
    importing, loading = threading.RLock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
