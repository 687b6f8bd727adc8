"""State dicts: a checkpoint's tensors in memory, as arrays or as the tensors of another library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.formats.values import FLOATS
from albert_np.checkpoints.spellings import by_plain_name
from albert_np.files import shown
from albert_np.ops import Array

SOURCE = "state_dict"  # what messages name
WORDS = {name: word for word, name in FLOATS.items()}


def read_state_dict(state_dict: Any) -> dict[str, Tensor]:
    """Every tensor by its name in names.py, under the same rules as a file. Its values are copied when they are loaded.

    state_dict: names to arrays, or to whatever NumPy makes arrays of, such as torch's tensors; float16, bfloat16, float32 or
    float64. Raises ValueError for anything else.
    """
    if not isinstance(state_dict, Mapping):
        raise ValueError(f"state_dict must map names to arrays; got {type(state_dict).__name__}")
    for name in state_dict:
        if not isinstance(name, str):
            raise ValueError(f"the names of a state_dict are str; got {shown(repr(name), 60)}")
    return by_plain_name([tensor_of(name, value, SOURCE) for name, value in state_dict.items()], SOURCE)


def tensor_of(name: str, value: Any, source: str) -> Tensor:
    """An array in memory as a stored tensor. `source` is what messages name. Raises ValueError as array_of."""
    x = array_of(name, value, source)
    dtype = WORDS.get(x.dtype.name, x.dtype.name)
    return Tensor(name, x.shape, dtype, lambda: x.astype(np.float32 if dtype == "BF16" else x.dtype))


def array_of(name: str, value: Any, source: str) -> Array:
    """The values, not copied if they can be shared. Raises ValueError for what NumPy makes no array of."""
    if isinstance(value, Mapping):
        raise ValueError(f"{source}: {shown(name)} holds names of its own: give that one, {source}[{shown(name)!r}]")
    if not hasattr(value, "__array__"):
        raise ValueError(f"{source}: {shown(name)} must be an array; got {type(value).__name__}")
    try:
        if hasattr(value, "detach"):  # torch's
            value = value.detach().cpu()
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return np.asarray(value)
    except (TypeError, RuntimeError, ValueError, NotImplementedError) as error:  # without values, sparse, quantised …
        reason = shown(" ".join(str(error).split()), 200)
        raise ValueError(f"{source}: NumPy makes no array of {shown(name)}: {reason}") from error
