"""The engine of backend "numba", which runs the kernels of kernels/cpu. Importing this package imports none of them."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from albert_np import imports

if TYPE_CHECKING:
    from albert_np.backends.cpu.engine import CpuEngine
    from albert_np.config import AlbertConfig
    from albert_np.run import Weights

NAME = "numba"
DTYPES = ("float32", "bfloat16", "int8")


def missing(dtype: str) -> str:
    """Why the backend cannot run here and what to do about it, or "". Modules are only looked up: a warm start needs
    llvmlite alone."""
    for module in ("numba", "llvmlite", "albert_np.kernels"):  # the last is missing in a checkout that is not installed
        if importlib.util.find_spec(module) is None:
            return (
                f"backend 'numba' needs numba: no module named {module}; pip install numba, or choose backend='numpy'"
            )
    return ""


def make(w: Weights, config: AlbertConfig, dtype: str) -> CpuEngine:
    with imports.lock:
        from albert_np.backends.cpu.engine import CpuEngine

    return CpuEngine(w, config, dtype)
