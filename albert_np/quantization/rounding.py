"""Weights as int8 codes or as bfloat16, rounded so that later inputs make up for the errors of those before them.

Rounding to the nearest leaves each weight as near as it can be, and the product as far off as inputs happen to add up.
Compensated rounding minimises E‖x·(W' − W)ᵀ‖² for the second moments H = E[xᵀx] of the inputs: the columns of W are rounded one
after the other, and what is lost with one is added to those that are left, by the inverse of H.
Source: Frantar et al. 2022, GPTQ, arXiv:2210.17323, algorithm 1, with its "activation order" and lazy updates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from albert_np.kernels.cpu.bfloat16.emulation import round_to_bfloat16
from albert_np.ops import Array
from albert_np.quantized import TOP, QuantizedWeight

DAMPING = 0.01  # of the mean diagonal of H, added to it: the value of GPTQ, which keeps H well conditioned
# of W that make up for each other: the inverse of H takes K³, and a block of its diagonal is nearly as good
COLUMNS = 1024
LAZY = 32  # columns whose errors reach the later ones together, in one product
SMALLEST = np.finfo(np.float32).smallest_normal  # of a scale


@dataclass(frozen=True)
class Rounded:
    """codes (N,K) int8 and scale (N,) float32. error: E‖x·(W' − W)ᵀ‖², the mean over the inputs that H is from."""

    codes: Array
    scale: Array
    error: float

    def weight(self, passes: int, rows: slice = slice(None)) -> QuantizedWeight:
        """Some rows of it, as a weight of its own."""
        return QuantizedWeight(np.ascontiguousarray(self.codes[rows]), np.ascontiguousarray(self.scale[rows]), passes)

    @property
    def square(self) -> float:
        """‖W'‖², the sum of the squares of all weights."""
        squares = np.square(self.codes.astype(np.float64)).sum(axis=1)
        return float(squares @ np.square(self.scale.astype(np.float64)))


def scale_of(w: Array) -> Array:  # (N,K) float32 -> (N,) float32
    """The largest |w| of each row over 127."""
    return np.maximum(np.abs(w).max(axis=1, initial=0) / np.float32(TOP), SMALLEST).astype(np.float32)


def rounded(w: Array, moments: list[Array]) -> Rounded:  # (N,K) float32, blocks (k,k) float64
    """W in int8. moments: blocks that fill the diagonal of H, of finite numbers.

    Inputs that were always 0 have no moments, and their weights are rounded to the nearest.
    """
    scale = scale_of(w)
    exact = (w.astype(np.float64) / scale[:, None]).T  # (K,N), in units of a code
    codes = np.empty(exact.shape, np.int8)
    error, first = 0.0, 0
    for H in moments:
        some = slice(first, first + len(H))
        codes[some] = _compensated(exact[some], H, lambda v: np.clip(np.rint(v), -TOP, TOP))
        off = (codes[some] - exact[some]) * scale
        error += float(np.einsum("kn,kn->", H @ off, off))
        first += len(H)
    return Rounded(np.ascontiguousarray(codes.T), scale, error)


def rounded_to_bfloat16(w: Array, moments: list[Array]) -> Array:  # (N,K) float32, blocks as above -> (N,K) float32
    """The same with bfloat16 values in the place of codes. Weights must be far from the largest float32."""
    exact, values, first = w.T, np.empty(w.T.shape, np.float32), 0
    for H in moments:
        some = slice(first, first + len(H))
        values[some] = _compensated(exact[some].astype(np.float64), H, round_to_bfloat16)
        first += len(H)
    return np.ascontiguousarray(values.T)


def _compensated(exact: Array, H: Array, nearest: Callable[[Array], Array]) -> Array:  # (K,N), (K,K) -> (K,N)
    K = len(exact)
    # inputs that weigh most are rounded first, while others can make up
    order = np.argsort(-H.diagonal(), kind="stable")
    U = _factor(H[np.ix_(order, order)])
    v, codes = exact[order], np.empty_like(exact)
    for first in range(0, K, LAZY):
        last = min(first + LAZY, K)
        errors = np.empty((last - first, v.shape[1]))
        for k in range(first, last):
            codes[k] = nearest(v[k])
            errors[k - first] = (v[k] - codes[k]) / U[k, k]
            v[k + 1 : last] -= np.outer(U[k, k + 1 : last], errors[k - first])
        v[last:] -= U[first:last, last:].T @ errors
    unordered = np.empty_like(codes)
    unordered[order] = codes
    return unordered


def _factor(H: Array) -> Array:  # (K,K) -> (K,K) upper
    """U with UᵀU = H⁻¹, of H with damping. What has no moments stands alone, and takes and gives no error."""
    H = H.copy()
    diagonal = H.diagonal().copy()
    alone = ~(diagonal > 0)
    H[alone] = H[:, alone] = 0
    damping = DAMPING * float(diagonal.mean()) or 1.0
    eye = np.eye(len(H))
    while True:  # moments of few rows are far from full rank; more damping ends in rounding to the nearest
        try:
            L = np.linalg.cholesky(np.linalg.inv(H + damping * eye))
            return np.ascontiguousarray(L.T)
        except np.linalg.LinAlgError:
            damping *= 10
