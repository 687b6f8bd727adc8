"""AMX tiles: whether this process may use them. Importing this imports no Numba.

Linux saves a thread's tiles at each switch only for processes that have asked (arch_prctl). What was found by trying, on one
Sapphire Rapids:

- The permission is the process's: any thread may ask, and those that run already have it too. A forked child inherits it; a
  new program (exec, multiprocessing's spawn) has it not, and asks again when it gets here.
- Without it, `ldtilecfg` works all the same, and the first instruction on a tile dies by SIGILL. So nothing is tried: the
  answer is what the system says when it is asked what it has granted.
- It is refused (ENOSPC) where a thread has a stack for signals that is too small for the tiles' 8 KB. Once it is granted,
  such a small stack is what is refused.
- A hypervisor may hide the tiles, or a part of them, and LLVM's name of the CPU does not tell: its features do. They hold
  only where the system saves tiles at all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys

from albert_np.kernels import forks
from albert_np.kernels.cpu import simd

ARCH_PRCTL, GET_PERMISSION, ASK_PERMISSION, TILES = 158, 0x1022, 0x1023, 18  # of x86-64 Linux, 5.16 and later
SMALLEST_SIGNAL_STACK = 51  # AT_MINSIGSTKSZ of getauxval

_answer: str | None = None  # of this process; a forked child has it, as it has the permission


def why_not() -> str:
    """Why this process may not use tiles, or "". The first call asks the system for them, and they stay granted.

    The answer never changes, also where the reason goes away: kernels and packed weights are made for it.
    """
    global _answer
    if _answer is None:
        with forks.lock:
            if _answer is None:
                _answer = _asked()
    return _answer


def _asked() -> str:
    if simd.are_tiles_emulated():
        return ""
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.maxsize < 2**32:
        return "tiles are used on x86-64 Linux only"
    _, features = simd.host()
    _, needs = simd.EXTENSIONS["amx"]
    missing = [name for name in needs if name not in features]
    if missing:
        return f"this CPU, or the hypervisor or system on it, shows no {', '.join(missing)}"
    system = ctypes.CDLL(None, use_errno=True)
    if system.syscall(ARCH_PRCTL, ASK_PERMISSION, TILES) != 0:
        return _refusal(system, ctypes.get_errno())
    granted = ctypes.c_uint64()
    if system.syscall(ARCH_PRCTL, GET_PERMISSION, ctypes.byref(granted)) != 0:
        return f"the system does not say whether it grants tiles ({_named(ctypes.get_errno())})"
    return "" if granted.value >> TILES & 1 else "the system grants no tiles, and gives no reason"


def _refusal(system: ctypes.CDLL, error: int) -> str:
    """What Linux means by an error, and what to do about it."""
    name = _named(error)
    if error == errno.ENOSPC:
        return (
            f"the system refuses the tiles ({name}): a thread's stack for signals (sigaltstack) is smaller than the "
            f"{system.getauxval(SMALLEST_SIGNAL_STACK)} bytes that a signal takes with them. Load the model before the "
            "library that sets up that stack, or give it a larger one"
        )
    if error == errno.EINVAL:
        return f"the system does not know of tiles ({name}): they need Linux 5.16 or later"
    if error == errno.EOPNOTSUPP:
        return f"the system has its support for tiles switched off ({name})"
    if error in (errno.EPERM, errno.ENOSYS, errno.EACCES):
        return f"the container or sandbox around this process forbids the question for tiles, arch_prctl ({name})"
    return f"the system refuses the tiles ({name})"


def _named(error: int) -> str:
    return f"{errno.errorcode.get(error, error)}: {os.strerror(error)}"
