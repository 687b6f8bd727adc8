"""AMX tiles: whether this process may use them. Importing this imports no Numba.

Linux saves a thread's tiles at each switch only for processes that have asked (arch_prctl). The permission is the process's:
any thread may ask, a forked child has it, a new program has not. It is refused where a thread has a signal stack that is too
small for the tiles (8 KB of them), and by systems that do not know of it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys

from albert_np.kernels.cpu import simd

ARCH_PRCTL, GET_PERMISSION, ASK_PERMISSION, TILES = 158, 0x1022, 0x1023, 18  # of x86-64 Linux, 5.16 and later


@functools.cache
def why_not() -> str:
    """Why this process may not use tiles, or "". The first call asks the system for them, and they stay granted."""
    if simd.are_tiles_emulated():
        return ""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "tiles are used on x86-64 Linux only"
    _, features = simd.host()  # LLVM asks the CPU, and whether the system saves tiles at all
    _, needs = simd.EXTENSIONS["amx"]
    missing = [name for name in needs if name not in features]
    if missing:
        return f"this CPU, or the machine around it, has no {', '.join(missing)}"
    system = ctypes.CDLL(None, use_errno=True)
    if system.syscall(ARCH_PRCTL, ASK_PERMISSION, TILES) != 0:
        return f"the system refuses the tiles: {os.strerror(ctypes.get_errno())}"
    granted = ctypes.c_uint64()
    system.syscall(ARCH_PRCTL, GET_PERMISSION, ctypes.byref(granted))
    return "" if granted.value >> TILES & 1 else "the system grants no tiles"
