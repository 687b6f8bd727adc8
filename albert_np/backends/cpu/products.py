"""The products of the encoder's linear layers while training, in float32; bfloat16_products.py has the same for that type.

For y = x·Wᵀ + b they are y itself; the gradient with respect to x, dy·W; and that with respect to W, dyᵀ·x.
"""

from __future__ import annotations

from dataclasses import dataclass

from albert_np.backends.cpu.ops import CpuOps
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.layout import padded
from albert_np.kernels.cpu.operands import Array, Packed, add_gemm, add_pack
from albert_np.kernels.cpu.program import Program
from albert_np.run import Weights


def weights_of(layers: tuple[Weights, ...]) -> tuple[Array, ...]:
    return tuple(one.weight for one in layers)


def biases_of(layers: tuple[Weights, ...]) -> tuple[Array, ...]:
    return tuple(one.bias for one in layers)


@dataclass(frozen=True)
class Products:
    """Layers side by side are one product. Rows have room behind them for whole vectors."""

    ops: CpuOps
    buffers: Buffers

    def start(self) -> Program:
        """A program that has these products' kernels."""
        return Program("training")

    def add_forward(  # (R,in) -> (R,out)
        self, program: Program, x: Array, layers: tuple[Weights, ...], out: Array, *, residual: Array | None = None
    ) -> None:
        """out = x·Wᵀ + b + residual."""
        packed, bias = self.ops.packed(weights_of(layers), biases_of(layers))
        add_gemm(program, x, packed, out, len(x), bias=bias, residual=residual)

    def add_activated(  # (R,in) -> (R,out), (R,out)
        self, program: Program, x: Array, layer: Weights, before: Array, out: Array, code: int
    ) -> None:
        """out = activation(before), before = x·Wᵀ + b."""
        packed, bias = self.ops.packed((layer.weight,), (layer.bias,))
        add_gemm(program, x, packed, out, len(x), bias=bias, activation=code, before=before)

    def add_back(  # (R,out) -> (R,in)
        self, program: Program, dy: Array, layers: tuple[Weights, ...], out: Array, *, residual: Array | None = None
    ) -> None:
        """out = dy·W + residual."""
        add_gemm(program, dy, self.ops.packed_straight(weights_of(layers)), out, len(dy), residual=residual)

    def add_back_activated(  # (R,out), (R,in) -> (R,in)
        self, program: Program, dy: Array, layer: Weights, before: Array, out: Array, code: int
    ) -> None:
        """out = dy·W · activation′(before)."""
        straight = self.ops.packed_straight((layer.weight,))
        add_gemm(program, dy, straight, out, len(dy), activation=code, before=before, slopes=True)

    def add_to_weight(  # (R,out), (R,in) -> (out, padded in)
        self, program: Program, dy: Array, x: Array, out: Array, into: int, *, add: bool
    ) -> None:
        """out = dyᵀ·x, or is what that is added to."""
        R = len(x)
        packed = Packed(self.buffers.numbers("packed", R * padded(into)), R, into)
        add_pack(program, x[:, :into], packed)
        add_gemm(program, dy[:, : len(out)].T, packed, out, len(out), add=add)
