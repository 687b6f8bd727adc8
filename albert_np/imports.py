"""The lock under which modules are imported when they are first needed. A fork waits for it, as for that of kernels/forks.py.

Without it, a child may inherit the import lock of a module that another thread was importing. That thread does not exist in
the child, so whatever needs the module there would wait for ever.
"""

from __future__ import annotations

import contextlib
import logging  # noqa: F401  modules may log when they are imported: see kernels/forks.py
import os
import threading

lock = threading.RLock()  # for a moment; who holds it takes no other lock of this project


def _before_fork() -> None:
    lock.acquire()


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # not taken: a signal interrupted the wait
        lock.release()


def _after_fork_in_child() -> None:
    global lock
    lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)

with contextlib.suppress(ImportError):  # a bare checkout, not installed, has no kernels
    # its hooks must be there before a fork waits here, and come behind: then that of the kernels is taken first, for which a
    # fork may wait some seconds, and holds up no import meanwhile
    import albert_np.kernels.forks  # noqa: F401
