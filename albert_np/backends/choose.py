"""Backend names to tables of ops. A backend that cannot run raises and says what to do; nothing falls back in silence."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from albert_np import imports, ops
from albert_np.run import Ops

BACKENDS = ("numpy", "numba", "cuda", "auto")
# the types models compute in, and those of their arrays: tensor cores round what they multiply, and nothing else is rounded
DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "tf32": np.dtype(np.float32),
    "bfloat16": np.dtype(np.float32),
}
ON_TENSOR_CORES = ("tf32", "bfloat16")
TENSOR_CORES = (8, 0)  # the compute capability from which on they take these


def resolve_precision(dtype: Any) -> str:
    """A name of DTYPES from "float32", np.float64, "torch.bfloat16" … Raises ValueError where no backend computes in it."""
    is_scalar_type = isinstance(dtype, type) and issubclass(dtype, np.generic)
    name = dtype.__name__ if is_scalar_type else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, the types models compute in; got {dtype!r}")
    return name


def resolve_backend(name: str, dtype: str) -> str:
    """The backend that a name means for one of DTYPES. "auto" chooses among those that run here and is never cuda."""
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {name!r}")
    if dtype in ON_TENSOR_CORES and name != "cuda":
        raise ValueError(
            f"only backend 'cuda' computes in {dtype}, on tensor cores; got {name!r}: choose backend='cuda', or dtype='float32'"
        )
    if name == "cuda":
        if dtype == "float64":
            raise ValueError(
                f"backend 'cuda' computes in float32; got {dtype}: choose backend='numpy', or dtype='float32'"
            )
        missing = _cuda_is_missing()
        if missing:
            raise ValueError(
                f"backend 'cuda' needs an NVIDIA GPU, its driver and numba-cuda: {missing}; pip install 'albert-np[cuda]' "
                "on a machine that has one, or choose backend='numba'"
            )
        if dtype in ON_TENSOR_CORES:
            _check_tensor_cores(dtype)
    if name == "numba":
        if dtype != "float32":
            raise ValueError(
                f"backend 'numba' computes in float32; got {dtype}: choose backend='numpy', or dtype='float32'"
            )
        missing = _numba_is_missing()
        if missing:
            raise ValueError(f"backend 'numba' needs numba: {missing}; pip install numba, or choose backend='numpy'")
    if name == "auto":
        return "numba" if dtype == "float32" and not _numba_is_missing() else "numpy"
    return name


def _numba_is_missing() -> str:
    """Why the numba backend cannot run, or nothing. Looked up, not imported: a warm start needs llvmlite alone."""
    for module in (
        "numba",
        "llvmlite",
        "albert_np.kernels",
    ):  # the last: a bare checkout, not installed, has no such name
        if importlib.util.find_spec(module) is None:
            return f"no module named {module}"
    return ""


def _cuda_is_missing() -> str:
    """Why the cuda backend cannot run, or nothing. The driver is asked only here, when somebody wants to know."""
    try:
        with imports.lock:
            from albert_np.kernels.cuda import device

        return device.missing()
    except ModuleNotFoundError as error:
        return f"no module named {error.name}"
    except Exception as error:  # numba-cuda has errors of its own kinds for libraries that it does not find
        return f"numba-cuda does not load ({type(error).__name__}: {str(error).strip().splitlines()[0][:200]})"


def _check_tensor_cores(dtype: str) -> None:
    from albert_np.kernels.cuda import device

    found = device.capability()
    if found < TENSOR_CORES:
        raise ValueError(
            f"dtype {dtype!r} needs a GPU of compute capability {TENSOR_CORES[0]}.{TENSOR_CORES[1]} (A100, RTX 30) or newer; "
            f"this one has {found[0]}.{found[1]}: choose dtype='float32'"
        )


def cuda_device() -> str | None:
    """The GPU that backend "cuda" would run on, in words; None where it cannot run."""
    if _cuda_is_missing():
        return None
    from albert_np.kernels.cuda import device

    return device.describe()


def ops_table(backend: str, dtype: str = "float32") -> Ops:
    """The functions that models call of ops.py, as that backend computes them in one of its DTYPES; for one model."""
    if backend == "numba":
        with imports.lock:
            from albert_np.backends.cpu.ops import CpuOps

        return CpuOps()
    if backend == "cuda":
        with imports.lock:
            from albert_np.backends.cuda import engine as cuda_engine  # noqa: F401
            from albert_np.backends.cuda.ops import CudaOps

        return CudaOps(dtype)
    return ops


def available() -> dict[str, str]:
    """Each backend and whether it runs here: "yes", or why not."""
    answers = {}
    for name in ("numpy", "numba", "cuda"):
        try:
            resolve_backend(name, "float32")
            answers[name] = "yes"
        except ValueError as error:
            answers[name] = f"no ({error})"
    return answers
