"""The products of the encoder's linear layers while training, with operands rounded to bfloat16 and sums in float32.

kernels/cpu/bfloat16/operand.py says how products are computed. Here all operands are rounded by passes of their own: weights
once for each step of training, rows before each product that reads them. What is added, activations and their slopes are
float32, as is all that is kept for the way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from albert_np.backends.cpu.products import Products, biases_of, weights_of
from albert_np.kernels.cpu.bfloat16.steps import (
    Packed16,
    add_gemm16,
    add_multiply_slopes,
    add_pack_rows16,
    add_round_rows,
    add_turn16,
    operand_rows,
    strips_of,
)
from albert_np.kernels.cpu.operands import Array
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.steps import add_activation
from albert_np.run import Weights


@dataclass(frozen=True)
class Products16(Products):
    """products.Products with operands rounded."""

    def start(self) -> Program:
        return Program("bfloat16_training")

    def add_forward(
        self, program: Program, x: Array, layers: tuple[Weights, ...], out: Array, *, residual: Array | None = None
    ) -> None:
        packed, bias = self.ops.packed16(weights_of(layers), biases_of(layers))
        self._add_rounded(program, x, packed, out, bias=bias, residual=residual)

    def add_activated(self, program: Program, x: Array, layer: Weights, before: Array, out: Array, code: int) -> None:
        self.add_forward(program, x, (layer,), before)
        add_activation(program, before, out, len(x), len(layer.bias), code)

    def add_back(
        self, program: Program, dy: Array, layers: tuple[Weights, ...], out: Array, *, residual: Array | None = None
    ) -> None:
        self._add_rounded(program, dy, self.ops.packed_straight16(weights_of(layers)), out, residual=residual)

    def add_back_activated(
        self, program: Program, dy: Array, layer: Weights, before: Array, out: Array, code: int
    ) -> None:
        self.add_back(program, dy, (layer,), out)
        add_multiply_slopes(program, out, before, len(dy), layer.weight.shape[1], code)

    def add_to_weight(self, program: Program, dy: Array, x: Array, out: Array, into: int, *, add: bool) -> None:
        memory = self.buffers.numbers("packed16", strips_of(len(x), into))
        packed = add_pack_rows16(program, x, into, memory)
        turned = add_turn16(program, self.buffers, dy, len(out))
        add_gemm16(program, self.buffers, turned, packed, len(out), out=out, residual=out if add else None)

    def _add_rounded(self, program: Program, a: Array, b: Packed16, out: Array, **more: Any) -> None:
        """out = rounded(a)·b …, by a pass that rounds: each product's operand goes where the last one's was."""
        rounded = operand_rows(self.buffers, f"rounded {b.K}", len(a), b.K)
        add_round_rows(program, a, rounded, len(a), b.K)
        add_gemm16(program, self.buffers, rounded, b, len(a), out=out, **more)
