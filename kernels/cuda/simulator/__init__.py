"""Runs the kernels for the GPU without one: in plain Python, a greenlet a thread, stricter than any GPU.

    from albert_np.kernels.cuda import simulator

    simulator.install()  # before a kernel is imported: it takes the place of numba.cuda and of the driver

    import numpy as np
    from albert_np.kernels.cuda.activations import naive_gelu_new
    from albert_np.kernels.cuda.run import get, put, run, unwritten

    x, out = np.linspace(-3, 3, 600, dtype=np.float32), unwritten(600)
    run(naive_gelu_new, (3,), put(x), out, 600)  # a grid of three blocks
    get(out)

Whole models run too, with backend="cuda"; a small one takes seconds. It needs greenlet and NumPy, no numba-cuda, and a process
that has imported no kernel yet. Importing this module loads none of it.

A green kernel computes what CUDA says it computes, and waits where it has to: machine.py says what is seen. What the compiler
makes of it is another question, which compiled.py answers.
"""

from __future__ import annotations

import sys
import types

import numpy as np

PACKAGE = "albert_np.kernels.cuda"
REPLACED = ("target", "intrinsics", "tensor_intrinsics", "device")  # modules of it


class Divergence(RuntimeError):  # noqa: N818
    """Threads that had to meet did not."""


def installed() -> bool:
    """Whether kernels of this process are simulated."""
    return sys.modules.get(f"{PACKAGE}.device") is sys.modules.get(f"{__name__}.device", ...)


def install() -> None:
    """From now on kernels are simulated in this process. A second call changes nothing.

    Raises ImportError without greenlet, and RuntimeError where a kernel or the driver has been imported already.
    """
    if installed():
        return
    if late := [name for name in REPLACED if f"{PACKAGE}.{name}" in sys.modules]:
        raise RuntimeError(
            f"{PACKAGE}.{late[0]} is imported already: call simulator.install() before anything imports a kernel"
        )
    try:
        import greenlet  # noqa: F401
    except ImportError as error:
        raise ImportError("the simulator runs each thread of a kernel as a greenlet: pip install greenlet") from error
    import albert_np.kernels.cuda as package
    from albert_np.kernels.cuda.simulator import device, intrinsics, machine, tensor_intrinsics

    target = types.ModuleType(f"{PACKAGE}.target", "The simulator, in the place of numba.cuda.")
    numba_cuda = {"cuda": machine.Cuda(), "f32": np.float32, "u32": machine.u32, "device": lambda function: function}
    vars(target).update(numba_cuda)
    for name, module in zip(REPLACED, (target, intrinsics, tensor_intrinsics, device), strict=True):
        sys.modules[f"{PACKAGE}.{name}"] = module
        setattr(package, name, module)


def order(seed: int | None) -> None:
    """The order in which threads and blocks run, and copies arrive, from now on. None is the order of their numbers.

    A kernel that waits for too little is right under some orders: try several.
    """
    from albert_np.kernels.cuda.simulator import machine

    machine.seed = seed
