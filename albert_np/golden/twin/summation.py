"""Sums and products of matrices in a stated order, with a stated accumulator.

A sum of K terms is cut into blocks, and the blocks' sums are added: in a chain, as a loop does; in a tree (pairwise); or in
several chains whose ends are added (split K, or the lanes of a vector). A block of one term is the loop itself. Inside a larger
block NumPy's float32 adds, in an order of its own: what is emulated there is the width of the accumulator. The chain or tree
over the blocks is rounded to the accumulator's format after each addition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from albert_np.golden.measures.formats import FLOAT32, FLOAT64, Format, Rounding
from albert_np.kernels.cpu.bfloat16 import emulation
from albert_np.ops import Array

Piece = Callable[[int], Array]  # the sum of block i


@dataclass(frozen=True)
class Order:
    """How the K terms of a sum are added.

    block: terms a block; None is one block of all. pairwise: the blocks in a tree. lanes: this many chains side by side, which
    the blocks join in turn. start: the order of the terms: "forward", "reversed", or the seed of a permutation.
    fused: in blocks of one, a product is not rounded before it is added (fused multiply-add).
    tiles: products of bfloat16 as AMX's TDPBF16PS adds them (kernels/cpu/bfloat16/emulation.py); the rest is of other sums.
    """

    block: int | None = None
    pairwise: bool = False
    lanes: int = 1
    start: str | int = "forward"
    fused: bool = False
    tiles: bool = False

    def places(self, K: int) -> Array | None:
        """Which term comes where; None if they stand as they are."""
        if self.start == "forward":
            return None
        if self.start == "reversed":
            return np.arange(K)[::-1]
        return np.random.default_rng(int(self.start)).permutation(K)


NUMPYS = Order()


@dataclass(frozen=True)
class Summation:
    """Sums in an accumulator of that format. Its arrays are float32, or float64 if the accumulator is."""

    accumulate: Format = FLOAT32
    order: Order = NUMPYS
    rounding: Rounding = "nearest"
    flush: bool = False

    @property
    def dtype(self) -> type[np.floating]:
        """Of all arrays here."""
        return np.float64 if self.accumulate == FLOAT64 else np.float32

    def dot(self, a: Array, b: Array) -> Array:  # (...,M,K), (...,K,N) -> (...,M,N)
        """a·b, of operands whose products the accumulator adds."""
        order, K = self.order, a.shape[-1]
        if order.tiles:
            return emulation.product(a, b)
        places = order.places(K)
        if places is not None:
            a, b = a[..., places], b[..., places, :]
        block = order.block or K
        wide = np.float64 if order.fused and block == 1 else self.dtype

        def piece(i: int) -> Array:
            of_a, of_b = a[..., i * block : (i + 1) * block], b[..., i * block : (i + 1) * block, :]
            product = of_a.astype(wide) * of_b.astype(wide) if block == 1 else of_a @ of_b
            return product if wide is np.float64 else self._round(product)

        return self._round(self._fold(piece, -(-K // block)))

    def total(self, x: Array) -> Array:  # (...,K) -> (...,1)
        """The sum over the last axis."""
        order, K = self.order, x.shape[-1]
        places = order.places(K)
        if places is not None:
            x = x[..., places]
        block = order.block or K

        def piece(i: int) -> Array:
            part = x[..., i * block : (i + 1) * block]
            return part if block == 1 else self._round(np.sum(part, axis=-1, keepdims=True))

        return self._round(self._fold(piece, -(-K // block)))

    def add(self, a: Array, b: Array) -> Array:  # (...), (...) -> (...)
        """a + b, rounded to the accumulator."""
        return self._round(a + b)

    def _round(self, x: Array) -> Array:
        if self.accumulate in (FLOAT32, FLOAT64) and not self.flush and self.rounding == "nearest":
            return x.astype(self.dtype, copy=False)
        return self.accumulate.round(x, self.rounding, flush=self.flush).astype(self.dtype, copy=False)

    def _fold(self, piece: Piece, count: int) -> Array:
        if self.order.pairwise:
            return self._tree(piece, 0, count)
        lanes = min(self.order.lanes, count)
        ends = [piece(lane) for lane in range(lanes)]
        for i in range(lanes, count):
            ends[i % lanes] = self.add(ends[i % lanes], piece(i))
        whole = ends[0]
        for end in ends[1:]:
            whole = self.add(whole, end)
        return whole

    def _tree(self, piece: Piece, first: int, end: int) -> Array:
        if end - first == 1:
            return piece(first)
        middle = (first + end) // 2
        return self.add(self._tree(piece, first, middle), self._tree(piece, middle, end))
