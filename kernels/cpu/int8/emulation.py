"""The int8 products in NumPy, to the bit: the arithmetic that rows.py and product.py define, without any of their code.

Sums of integers are exact in float64 up to 2⁵³, so a product may be computed by NumPy's own. Everything else is a float32
operation that rounds once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
TOPS = {1: np.float32(255), 2: np.float32(65535)}  # passes -> the largest code
LEAST_SCALE = np.float32(2.0**-100)


class Codes(NamedTuple):
    """Rows, each (codes − zeros)·scales."""

    codes: Array  # (R,K) int64
    scales: Array  # (R,) float32
    zeros: Array  # (R,) int64
    passes: int


def quantised(x: Array, passes: int) -> Codes:  # (R,K) float32 -> (R,K)
    """What rows.quantise gives. passes: 1, for codes of 8 bits, or 2, for 16."""
    top = TOPS[passes]
    finite = np.isfinite(np.abs(x).max(axis=1))  # NaN is the largest of all
    whole = np.where(finite[:, None], x, np.float32(0))
    low, high = whole.min(axis=1, initial=0), whole.max(axis=1, initial=0)
    scales = np.maximum(high / top - low / top, LEAST_SCALE)
    inverse = np.float32(1) / scales
    zeros = np.minimum(np.rint(-low * inverse), top)
    codes = np.clip(np.rint(whole * inverse[:, None]) + zeros[:, None], 0, top)
    scales = np.where(finite, scales, np.float32(np.nan))
    return Codes(codes.astype(np.int64), scales, zeros.astype(np.int64), passes)


def product(rows: Codes, codes: Array, scale: Array, bias: Array) -> Array:  # (R,K), (N,K) int8, (N,), (N,) -> (R,N)
    """What product.gemm8 gives, before activation and residual: x·weightᵀ + bias."""
    weights = codes.astype(np.float64)
    column_sums = codes.sum(axis=1, dtype=np.int64)

    def centred(part: Array, zeros: Array) -> Array:  # (R,K), (R,) -> (R,N) float32
        sums = (part.astype(np.float64) @ weights.T).astype(np.int64)
        return (sums - zeros[:, None] * column_sums).astype(np.float32)

    if rows.passes == 1:
        t = centred(rows.codes, rows.zeros)
    else:
        high, low = (centred(part(rows.codes), part(rows.zeros)) for part in (lambda x: x >> 8, lambda x: x & 255))
        t = high * np.float32(256) + low
    with np.errstate(over="ignore", invalid="ignore"):
        return t * rows.scales[:, None] * scale + bias


def linear(x: Array, codes: Array, scale: Array, passes: int, bias: Array) -> Array:  # (R,K), … -> (R,N)
    """x·(codes·scale)ᵀ + bias, with x rounded to codes."""
    return product(quantised(x, passes), codes, scale, bias)
