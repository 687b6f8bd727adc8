"""What numbers the products of a forward on the GPU are computed in, and arrays rounded to them.

    dtype        kind         operands of products                         everything else
    "float32"    "float32"    float32                                      float32
    "float32"    "tf32x3"     float32, as the sum of two tf32              float32; the same errors
    "tf32"       "tf32"       11 bits of fraction                          float32
    "bfloat16"   "bfloat16"   8 bits of fraction, attention's too          float32: sums, LayerNorm, softmax, residuals

The last three take tensor cores, of compute capability 8.0 or newer. "tf32x3" is CudaOps("tf32x3"), for tests and benchmarks:
on an H200 it is faster than float32's own multiply-adds for many rows, and slower for few, which must have the same bits.
"""

from __future__ import annotations

import numpy as np

from albert_np.ops import Array


def operand_dtype(kind: str) -> np.dtype:
    """As operands lie in memory."""
    return np.dtype(np.uint16 if kind == "bfloat16" else np.float32)


def row_of(kind: str, K: int) -> int:
    """Numbers from one row of operands to the next: multiples of 16 bytes."""
    each = 16 // operand_dtype(kind).itemsize
    return -(-K // each) * each


def bfloat16_of(x: Array) -> Array:  # (...,) float32 -> (...,) uint16
    """The nearest bfloat16, halves to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    return np.where(np.isnan(x), np.uint32(0x7FC0), rounded >> np.uint32(16)).astype(np.uint16)


def float32_of(x: Array) -> Array:  # (...,) uint16 -> (...,) float32
    """The numbers that these bfloat16 are."""
    return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)


def tf32_of(x: Array) -> Array:  # (...,) float32 -> (...,) float32
    """The nearest tf32, halves away from zero."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x1000) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(x), rounded, x).astype(np.float32)


def operands_of(kind: str, x: Array) -> Array:  # (N,K) float32 -> (N,row)
    """Weights, ready for the matmul of that kind on tensor cores; their rows filled up with zeros."""
    rounded = bfloat16_of(x) if kind == "bfloat16" else tf32_of(x) if kind == "tf32" else x
    out = np.zeros((len(x), row_of(kind, x.shape[1])), rounded.dtype)
    out[:, : x.shape[1]] = rounded
    return out
