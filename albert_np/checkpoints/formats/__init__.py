"""Readers of checkpoint files, one module a format: a path in, `Tensor`s out, nothing read but the header until asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from albert_np.ops import Array


class Tensor(NamedTuple):
    """One stored tensor: what the file says of it, and how to get its values."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # in safetensors' words: "F32", "BF16", "I64" …
    load: Callable[[], Array]  # float32 for bfloat16, else the stored dtype
