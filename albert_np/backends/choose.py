"""From names of backends and dtypes to engines. A backend that cannot run raises and says what to do: nothing falls back."""

from __future__ import annotations

from typing import Any

import numpy as np

from albert_np.backends import cpu, cuda
from albert_np.backends import numpy as reference
from albert_np.backends.protocol import Engine, Room
from albert_np.config import AlbertConfig
from albert_np.files import shown
from albert_np.run import Weights

ROOMS: dict[str, Room] = {room.NAME: room for room in (reference, cpu, cuda)}
BACKENDS = (*ROOMS, "auto")
AUTO = (
    cpu,
    reference,
)  # what "auto" may mean: the first of these that computes in that dtype and runs here, never cuda
# the types models compute in, and those of their arrays: products round what they multiply, and nothing else is rounded
DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "tf32": np.dtype(np.float32),
    "bfloat16": np.dtype(np.float32),
    "int8": np.dtype(np.float32),
}


def resolve(backend: str, dtype: Any) -> tuple[str, str]:
    """What both mean for a model that is to be made: a backend, and one of DTYPES. Raises ValueError as the two below.

    Where the named backend does not run here at all, that is said before anything about a dtype that no backend has.
    """
    try:
        precision = resolve_precision(dtype)
    except ValueError:
        resolve_backend(backend, "float32")
        raise
    return resolve_backend(backend, precision), precision


def resolve_precision(dtype: Any) -> str:
    """A name of DTYPES from "float32", np.float64, "torch.bfloat16" … Raises ValueError if no backend computes in it.

    "auto" and None are float32, whatever the weights were stored in.
    """
    is_scalar_type = isinstance(dtype, type) and issubclass(dtype, np.generic)
    name = dtype.name if isinstance(dtype, np.dtype) else dtype.__name__ if is_scalar_type else str(dtype)
    name = "float32" if dtype is None or name == "auto" else name.removeprefix("torch.")
    if name not in DTYPES:
        half = ": choose dtype='float32', which holds all its values, or dtype='bfloat16'"
        raise ValueError(
            f"dtype must be one of {', '.join(DTYPES)}, the types models compute in; got {shown(repr(dtype), 80)}"
            + (half if name in ("float16", "half", "fp16") else "")
        )
    return name


def resolve_backend(name: str, dtype: str) -> str:
    """The backend that a name means for one of DTYPES. Raises ValueError if it does not exist or cannot run."""
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {name!r}")
    if name == "auto":
        runnable = [room.NAME for room in AUTO if dtype in room.DTYPES and not room.missing(dtype)]
        if not runnable:
            raise ValueError(f"backend 'auto' never means one that computes in {dtype}: {_instead(dtype)}")
        return runnable[0]
    room = ROOMS[name]
    if dtype not in room.DTYPES:
        computes = ", ".join(room.DTYPES)
        raise ValueError(f"backend {name!r} computes in {computes}; got {dtype}: {_instead(dtype)}")
    missing = room.missing(dtype)
    if missing:
        raise ValueError(missing)
    return name


def computes(name: str, dtype: str) -> bool:
    """Whether a backend computes in one of DTYPES and runs here; of "auto", whether one that it may mean does."""
    rooms = AUTO if name == "auto" else (ROOMS[name],)
    return any(dtype in room.DTYPES and not room.missing(dtype) for room in rooms)


def _instead(dtype: str) -> str:
    others = " or ".join(f"backend={room.NAME!r}" for room in ROOMS.values() if dtype in room.DTYPES)
    return f"choose {others}, or dtype='float32'"


def make(backend: str, w: Weights, config: AlbertConfig, dtype: str) -> Engine:
    """An engine for the model with these weights. Backend and dtype are resolved already."""
    return ROOMS[backend].make(w, config, dtype)


def available() -> dict[str, str]:
    """Each backend and whether it runs here: "yes", or why not."""
    answers = {}
    for name, room in ROOMS.items():
        missing = room.missing("float32")
        answers[name] = f"no ({missing})" if missing else "yes"
    return answers
