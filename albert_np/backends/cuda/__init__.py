"""The engine of backend "cuda": kernels/cuda, driven from here. Importing this imports none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from albert_np import imports

if TYPE_CHECKING:
    from albert_np.backends.cuda.engine import CudaEngine
    from albert_np.config import AlbertConfig
    from albert_np.run import Weights

NAME = "cuda"
ON_TENSOR_CORES = ("tf32", "bfloat16")
DTYPES = ("float32", *ON_TENSOR_CORES)
TENSOR_CORES = (8, 0)  # the compute capability from which on they take these


def missing(dtype: str) -> str:
    """Why it cannot run here and what to do, or nothing. The driver is asked only when somebody wants to know."""
    why = _device_is_missing()
    if why:
        return (
            f"backend 'cuda' needs an NVIDIA GPU, its driver and numba-cuda: {why}; pip install 'albert-np[cuda]' "
            "on a machine that has one, or choose backend='numba'"
        )
    return _tensor_cores_are_missing(dtype) if dtype in ON_TENSOR_CORES else ""


def _device_is_missing() -> str:
    try:
        with imports.lock:
            from albert_np.kernels.cuda import device

        return device.missing()
    except ModuleNotFoundError as error:
        return f"no module named {error.name}"
    except Exception as error:  # numba-cuda has errors of its own kinds for libraries that it does not find
        return f"numba-cuda does not load ({type(error).__name__}: {str(error).strip().splitlines()[0][:200]})"


def _tensor_cores_are_missing(dtype: str) -> str:
    from albert_np.kernels.cuda import device

    found = device.capability()
    if found >= TENSOR_CORES:
        return ""
    return (
        f"dtype {dtype!r} needs a GPU of compute capability {TENSOR_CORES[0]}.{TENSOR_CORES[1]} (A100, RTX 30) or newer; "
        f"this one has {found[0]}.{found[1]}: choose dtype='float32'"
    )


def describe() -> str | None:
    """The GPU that this backend would run on, in words; None where it cannot run."""
    if _device_is_missing():
        return None
    from albert_np.kernels.cuda import device

    return device.describe()


def make(w: Weights, config: AlbertConfig, dtype: str) -> CudaEngine:
    with imports.lock:
        from albert_np.backends.cuda.engine import CudaEngine

    return CudaEngine(w, config, dtype)
