"""A weight in int8: the codes of a matrix, a scale for each of its rows, and how exactly its inputs are rounded.

docs/precision.md has the scheme. quantization/ makes such weights, checkpoints/quantized.py stores them, and backends/cpu
multiplies by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.encoder import layer_name
from albert_np.ops import Array

TOP = 127  # the largest |code|: −128 is left out, so that a weight and its negative are rounded alike
MOST_INPUTS = 65_536  # K: sums of so many products of a uint8 and an int8 are exact in int32
# the products of a layer that are computed in int8, and the modules whose weights each of them reads
PRODUCTS: dict[str, tuple[str, ...]] = {
    "qkv": ("attention.query", "attention.key", "attention.value"),
    "dense": ("attention.dense",),
    "ffn": ("ffn",),
    "ffn_output": ("ffn_output",),
}


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A matrix (N,K) of codes · scale, in the place of a float32 array of that shape.

    codes: (N,K) int8, −127 … 127. scale: (N,) float32, positive. passes: the inputs of its product are rounded to 8 bits, in
    one pass over the weights, or with 2 to 16 bits, in two. `np.asarray` gives the float32 values that these are.
    Raises ValueError for anything else.
    """

    codes: Array
    scale: Array
    passes: int

    def __post_init__(self) -> None:
        codes, scale = self.codes, self.scale
        if not isinstance(codes, np.ndarray) or codes.dtype != np.int8 or codes.ndim != 2:
            raise ValueError(f"codes must be (N,K) int8; got {_described(codes)}")
        if not isinstance(scale, np.ndarray) or scale.dtype != np.float32 or scale.shape != codes.shape[:1]:
            raise ValueError(
                f"scale must be ({len(codes)},) float32, one for each row of codes; got {_described(scale)}"
            )
        if type(self.passes) is not int or self.passes not in (1, 2):
            raise ValueError(f"passes must be 1 or 2; got {self.passes!r:.80}")
        if codes.shape[1] > MOST_INPUTS:
            raise ValueError(f"int8 takes at most {MOST_INPUTS:,} inputs, whose sums are exact; got {codes.shape[1]:,}")
        if codes.size and codes.min() < -TOP:
            raise ValueError(f"codes must be −{TOP} to {TOP}; got −128")
        largest = np.float32(np.finfo(np.float32).max) / np.float32(TOP)
        wrong = ~((scale > 0) & (scale <= largest))  # NaN too
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"each scale must be positive, and {TOP} times it finite; got {scale[at]} at [{at}]")

    @property
    def shape(self) -> tuple[int, ...]:
        """(N,K)."""
        return self.codes.shape

    @property
    def size(self) -> int:
        """N·K."""
        return self.codes.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32, that of `np.asarray`."""
        return np.dtype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # -> (N,K)
        """codes · scale, in a new array. Raises ValueError for copy=False, which cannot be had."""
        if copy is False:
            raise ValueError("float32 values of a QuantizedWeight are always a new array")
        values = self.codes * self.scale[:, None]
        return values if dtype is None else values.astype(dtype, copy=False)

    def astype(self, dtype: Any) -> Array:  # -> (N,K)
        """codes · scale in that dtype."""
        return self.__array__(dtype)

    def __repr__(self) -> str:
        return f"QuantizedWeight({self.shape[0]} × {self.shape[1]}, passes={self.passes})"


def _described(x: Any) -> str:
    return f"{x.shape} {x.dtype}" if isinstance(x, np.ndarray) else f"{type(x).__name__}"


def weight_names(config: AlbertConfig) -> dict[str, str]:
    """Each weight that int8 rounds, by its name in checkpoints/names.py -> the product of PRODUCTS that reads it."""
    return {
        f"{layer_name(group, inner)}.{module}.weight": product
        for group in range(config.num_hidden_groups)
        for inner in range(config.inner_group_num)
        for product, modules in PRODUCTS.items()
        for module in modules
    }


def floats_of(x: Any) -> Array:
    """An array as it is; of a QuantizedWeight the float32 values, read-only, because a change of them would change no model."""
    if not isinstance(x, QuantizedWeight):
        return x
    values = np.asarray(x)
    values.flags.writeable = False
    return values


def as_floats(tensors: Mapping[str, Any], dtype: Any = np.float32) -> dict[str, Array]:
    """The same tensors without int8, in that dtype."""
    return {name: np.asarray(x, dtype) for name, x in tensors.items()}
