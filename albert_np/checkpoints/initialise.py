"""Fresh weights from a seed, and the check that weights of the given sizes fit into this machine's memory."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from albert_np import imports
from albert_np.config import AlbertConfig
from albert_np.files import shown
from albert_np.ops import Array


def initialise(
    expected: Mapping[str, tuple[int, ...]], config: AlbertConfig, dtype: np.dtype, seed: int
) -> dict[str, Array]:
    """Truncated normal matrices and tables (the paper's initialiser), zero biases and pad row, unit LayerNorm weights.

    A tensor depends only on the seed and its own name, so a head can be added without changing the other tensors.
    Raises ValueError if the sizes cannot fit into this machine's memory.
    """
    check_seed(seed)
    with within_memory(expected, dtype):
        tensors = {name: _fresh(name, shape, config.initializer_range, dtype, seed) for name, shape in expected.items()}
    if "embeddings.word_embeddings.weight" in tensors and config.pad_token_id is not None:
        tensors["embeddings.word_embeddings.weight"][config.pad_token_id] = 0
    return tensors


def _fresh(name: str, shape: tuple[int, ...], deviation: float, dtype: np.dtype, seed: int) -> Array:
    if name.endswith("bias"):
        return np.zeros(shape, dtype)
    if "LayerNorm" in name or "layer_norm" in name:
        return np.ones(shape, dtype)
    return truncated_normal(shape, deviation, [int(seed), zlib.crc32(name.encode())], dtype)


def check_seed(seed: Any) -> None:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a whole number, 0 or more; got {shown(repr(seed), 80)}")


def truncated_normal(shape: tuple[int, ...], deviation: float, seed: list[int], dtype: np.dtype) -> Array:
    """Normal values; those beyond two deviations are drawn again (TensorFlow's truncated_normal_initializer)."""
    with imports.lock:  # NumPy imports numpy.random when it is first named
        rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    while (outside := np.abs(x) > 2).any():
        x[outside] = rng.standard_normal(int(outside.sum()))
    return (x * deviation).astype(dtype)


@contextlib.contextmanager
def within_memory(expected: Mapping[str, tuple[int, ...]], dtype: np.dtype) -> Iterator[None]:
    """Refuses sizes beyond this machine's memory at once. If the process may have less, it refuses when that runs out."""
    needed = sum(int(np.prod(shape, dtype=object)) for shape in expected.values()) * dtype.itemsize
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0  # 0: not known
    if 0 < present // 2 < needed:
        raise ValueError(f"these sizes make {needed:,} bytes of weights; this machine has {present:,} bytes of memory")
    try:
        yield
    except MemoryError as error:
        raise ValueError(
            f"these sizes make {needed:,} bytes of weights, more memory than this process may use"
        ) from error
