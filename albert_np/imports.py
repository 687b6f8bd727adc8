"""The lock under which modules are imported when they are first needed. A fork waits for it.

In a child, a module that another thread was importing stays locked as it was, and that thread is not there: whatever needs the
module waits for ever.
"""

from __future__ import annotations

import logging  # noqa: F401  see _before_fork
import os
import threading

lock = threading.RLock()


def _before_fork() -> None:
    """What was registered last is taken first. Modules may log when they are imported, so logging is imported above: were its
    lock taken before this one, the thread that imports would wait for that, and the thread that forks for this.
    """
    lock.acquire()


def _after_fork_in_parent() -> None:
    lock.release()


def _after_fork_in_child() -> None:
    global lock
    lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
