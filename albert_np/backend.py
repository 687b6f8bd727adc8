"""Backend names to tables of ops. A backend that cannot run raises and says what to do; nothing falls back in silence."""

from __future__ import annotations

from typing import Any

import numpy as np

from albert_np import ops
from albert_np.run import Ops

BACKENDS = ("numpy", "numba", "cuda", "auto")
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


def resolve_dtype(dtype: Any) -> np.dtype:
    """A NumPy dtype from "float32", np.float64, "torch.float32" … Raises ValueError where no backend computes in it."""
    is_scalar_type = isinstance(dtype, type) and issubclass(dtype, np.generic)
    name = dtype.__name__ if is_scalar_type else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, the types models compute in; got {dtype!r}")
    return DTYPES[name]


def resolve_backend(name: str, dtype: np.dtype) -> str:
    """The backend that a name means for a dtype. "auto" chooses among those that run here and is never cuda."""
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {name!r}")
    if name in ("numba", "cuda"):
        raise ValueError(f"backend {name!r} is not in this version of albert_np, which has 'numpy'")
    return "numpy"


def ops_table(backend: str) -> Ops:
    """The functions of ops.py, as that backend computes them."""
    return {"numpy": ops}[backend]


def available() -> dict[str, str]:
    """Each backend and whether it runs here: "yes", or why not."""
    answers = {}
    for name in ("numpy", "numba", "cuda"):
        try:
            resolve_backend(name, DTYPES["float32"])
            answers[name] = "yes"
        except ValueError as error:
            answers[name] = f"no ({error})"
    return answers
